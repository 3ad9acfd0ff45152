//! `djangobot dead-letters`: messages for Slack that could not be sent and that nobody was told about.

use std::io::Write;

use djangobot_channels::ChannelName;
use djangobot_event::Event;
use miette::Diagnostic;
use serde_json::json;
use thiserror::Error;

use crate::cli::{DeadLettersCommand, LogFormat, SlackArgs, TargetArgs};
use crate::config::{ConfigError, Settings};
use crate::failure::Failure;
use crate::state::{DeadLetter, State};
use crate::target;
use crate::telemetry::Terminal;

#[derive(Debug, Error, Diagnostic)]
enum LetterError {
    #[error("there is no dead letter {0}")]
    #[diagnostic(help("djangobot dead-letters list shows those that there are"))]
    Missing(i64),
    #[error("dead letter {id} can't be sent again: {reason}")]
    #[diagnostic(help(
        "djangobot dead-letters show {id} prints it; mend it and let the app send it, then djangobot dead-letters drop {id}"
    ))]
    Unsendable { id: i64, reason: String },
    #[error("dead letter {id} is kept: {reason}")]
    #[diagnostic(help(
        "is the channel layer the one that the bridge uses, and is the bridge running? Try again then"
    ))]
    NotTaken { id: i64, reason: String },
}

/// Lists, shows, sends again or drops. Works beside a running bridge.
pub(crate) async fn dead_letters(
    command: DeadLettersCommand,
    terminal: Terminal,
) -> Result<(), Failure> {
    let (host, target) = match &command {
        DeadLettersCommand::List { host, .. } => (host, TargetArgs::default()),
        DeadLettersCommand::Show { letter } | DeadLettersCommand::Drop { letter } => {
            (&letter.host, TargetArgs::default())
        }
        DeadLettersCommand::Retry { letter, target } => (&letter.host, target.clone()),
    };
    let settings = Settings::read(&target, &SlackArgs::default(), host).map_err(Failure::usage)?;
    terminal
        .start_logs(
            &settings.log,
            settings.log_format.or(Some(LogFormat::Human)),
        )
        .map_err(Failure::usage)?;
    let state = State::beside(&settings.state_dir).map_err(Failure::failed)?;
    match &command {
        DeadLettersCommand::List { json, .. } => list(&state, *json),
        DeadLettersCommand::Show { letter } => show(&find(&state, letter.id)?),
        DeadLettersCommand::Retry { letter, .. } => {
            retry(&state, &settings, &find(&state, letter.id)?).await
        }
        DeadLettersCommand::Drop { letter } => {
            find(&state, letter.id)?;
            state.unbury(letter.id).map_err(Failure::failed)
        }
    }
}

fn find(state: &State, id: i64) -> Result<DeadLetter, Failure> {
    let found = state.dead_letter(id).map_err(Failure::failed)?;
    found.ok_or_else(|| Failure::failed(LetterError::Missing(id)))
}

fn list(state: &State, as_json: bool) -> Result<(), Failure> {
    let letters = state.dead_letters().map_err(Failure::failed)?;
    if as_json {
        let all: Vec<_> = letters.iter().map(in_json).collect();
        return print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&all).map_err(Failure::plain)?
        ));
    }
    if letters.is_empty() {
        return print("There are none.\n");
    }
    let lines = letters
        .iter()
        .map(|letter| format!("{:>6}  {:<20} {}\n", letter.id, letter.error, letter.detail));
    print(&lines.collect::<String>())
}

fn show(letter: &DeadLetter) -> Result<(), Failure> {
    print(&format!(
        "{}\n",
        serde_json::to_string_pretty(&in_json(letter)).map_err(Failure::plain)?
    ))
}

/// Puts the message back where it came from, for a bridge to take.
async fn retry(state: &State, settings: &Settings, letter: &DeadLetter) -> Result<(), Failure> {
    let unsendable = |reason: String| {
        Failure::failed(LetterError::Unsendable {
            id: letter.id,
            reason,
        })
    };
    let message =
        Event::parse(letter.message.clone()).map_err(|error| unsendable(error.to_string()))?;
    let channel =
        ChannelName::new(&letter.channel).map_err(|error| unsendable(error.to_string()))?;
    let target = settings
        .layer
        .target
        .as_ref()
        .ok_or_else(|| Failure::usage(ConfigError::NoTarget))?;
    let open = target::join(&settings.layer, target)
        .await
        .map_err(Failure::from)?;
    let sent = open
        .layer
        .send(&channel, &[open.layer.encode(&channel, &message)])
        .await;
    let outcome = match sent {
        // A broadcast that nobody heard is gone.
        Ok(sent) if sent.receivers == Some(0) => Err(format!("nobody reads {channel}")),
        Ok(sent) if sent.accepted == 0 => Err(format!("{channel} is full")),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    // Forgotten before anything else is waited for: an interruption then does not send it twice.
    let forgotten = outcome
        .map_err(|reason| {
            Failure::failed(LetterError::NotTaken {
                id: letter.id,
                reason,
            })
        })
        .and_then(|()| state.unbury(letter.id).map_err(Failure::failed));
    open.layer.close().await;
    forgotten?;
    print(&format!(
        "Dead letter {} is on {channel} again.\n",
        letter.id
    ))
}

fn in_json(letter: &DeadLetter) -> serde_json::Value {
    // What is no JSON is shown as the bytes that came, in hexadecimal.
    let message = serde_json::from_slice(&letter.message).unwrap_or_else(|_| {
        let hex: String = letter
            .message
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        json!({ "undecodable": hex })
    });
    json!({
        "id": letter.id, "at": letter.at, "channel": letter.channel, "error": letter.error,
        "detail": letter.detail, "message": message,
    })
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::plain)
}
