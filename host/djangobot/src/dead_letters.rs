//! `djangobot dead-letters`: lists, shows, retries and drops messages that could not be sent to Slack, and events that
//! the channel layer refuses.

use std::io::Write;

use djangobot_channels::ChannelName;
use djangobot_event::{CleanText, Event};
use miette::Diagnostic;
use serde_json::{Value, json};
use thiserror::Error;

use crate::cli::{DeadLettersCommand, HostArgs, LettersArgs, SlackArgs, TargetArgs};
use crate::config::Settings;
use crate::config::values::LogFormat;
use crate::failure::Failure;
use crate::masking;
use crate::state::{DeadLetter, State};
use crate::target::{self, OpenLayer};
use crate::telemetry::Terminal;

/// The part of a message's text that a line of the list shows, in characters.
const TEXT: usize = 40;
/// The longest line of the list, in bytes.
const LINE: usize = 2_000;
/// The part of the destination's name that a line shows, in characters.
const DESTINATION: usize = 30;

#[derive(Debug, Error, Diagnostic)]
enum LetterError {
    #[error("there is no dead letter {0}")]
    #[diagnostic(help("djangobot dead-letters list shows the dead letters with their numbers"))]
    Missing(i64),
    #[error("dead letter {id} can't be sent again: {reason}")]
    #[diagnostic(help(
        "print it with djangobot dead-letters show {id}, let the app send a corrected message, then djangobot dead-letters drop {id}"
    ))]
    Unsendable { id: i64, reason: String },
    #[error("dead letter {id} was not put back, and is still there: {reason}")]
    #[diagnostic(help(
        "check that the channel layer is the one that the bridge uses and that the bridge is running, then try again"
    ))]
    NotPutBack { id: i64, reason: String },
    #[error("no dead letter is named")]
    #[diagnostic(help("give numbers, as djangobot dead-letters list shows them, or --all"))]
    NoneNamed,
    #[error("{failed} of {all} dead letters were not put back, and are still there")]
    #[diagnostic(help("the lines above say why"))]
    SomeFailed { failed: usize, all: usize },
}

/// Runs a command of `dead-letters`. A bridge may be running on the same state.
pub(crate) async fn dead_letters(
    command: DeadLettersCommand,
    terminal: Terminal,
) -> Result<(), Failure> {
    let (files, target) = match &command {
        DeadLettersCommand::List { files, .. } | DeadLettersCommand::Drop { files, .. } => {
            (files, TargetArgs::default())
        }
        DeadLettersCommand::Show { letter } => (&letter.files, TargetArgs::default()),
        DeadLettersCommand::Retry(retry) => (&retry.files, retry.read().1),
    };
    let host = HostArgs::of(files);
    let settings = Settings::read(&target, &SlackArgs::default(), &host).map_err(Failure::usage)?;
    terminal
        .start_logs(
            &settings.log,
            settings.log_format.or(Some(LogFormat::Human)),
        )
        .map_err(Failure::usage)?;
    // The lock is not taken: an operator looks at dead letters while the bridge runs.
    let state = State::open_shared(&settings.state_dir).map_err(Failure::failed)?;
    match &command {
        DeadLettersCommand::List { json, .. } => list(&state, *json),
        DeadLettersCommand::Show { letter } => show(&find(&state, letter.id)?),
        DeadLettersCommand::Retry(retry) => {
            retry_all(&state, &settings, &ids(&state, &retry.read().0)?).await
        }
        DeadLettersCommand::Drop { letters, .. } => {
            for id in ids(&state, letters)? {
                // Deleting a number that does not exist would succeed and hide a typing mistake.
                find(&state, id)?;
                state.forget_dead_letter(id).map_err(Failure::failed)?;
            }
            Ok(())
        }
    }
}

/// The numbers of the dead letters that the command line chooses.
fn ids(state: &State, letters: &LettersArgs) -> Result<Vec<i64>, Failure> {
    if letters.all {
        let all = state.dead_letters().map_err(Failure::failed)?;
        return Ok(all.iter().map(|letter| letter.id).collect());
    }
    match letters.ids.is_empty() {
        true => Err(Failure::usage(LetterError::NoneNamed)),
        false => Ok(letters.ids.clone()),
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
        return print("There are no dead letters.\n");
    }
    print(&letters.iter().map(line).collect::<String>())
}

/// Describes a dead letter in one line: its number, time, destination, content and error.
fn line(letter: &DeadLetter) -> String {
    let shown = in_json(letter);
    let message = &shown["message"];
    let text = |key: &str| message.get(key).and_then(Value::as_str);
    let keys = ["channel", "channel_id", "user", "users", "response_url"];
    let (destination, method) = match letter.serializer {
        // An event is for a channel of the layer, a message for a conversation or a user in Slack.
        Some(_) => (&*letter.channel, "event"),
        None => (
            keys.iter().find_map(|key| text(key)).unwrap_or("-"),
            text("method").unwrap_or("chat.postMessage"),
        ),
    };
    let mut what = match text("text").filter(|text| !text.is_empty()) {
        Some(text) => format!("{method} \"{}\"", shortened(text, TEXT)),
        None if message.get("undecodable").is_none() => method.to_owned(),
        None => "undecodable message".to_owned(),
    };
    what = format!("{what}: {} ({})", letter.error, letter.detail);
    format!(
        "{:>6}  {}  {:<16} {}\n",
        letter.id,
        time(letter.at),
        shortened(destination, DESTINATION),
        CleanText::within(&what, LINE)
    )
}

/// Writes Unix seconds as `2026-11-28 09:30:00Z`.
fn time(at: f64) -> String {
    let seconds = at.max(0.0) as u64;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The calendar's date from a count of days. Years begin in March here, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

fn shortened(text: &str, limit: usize) -> String {
    // A character has at most four bytes in UTF-8.
    let text = CleanText::within(text, 4 * limit + 8);
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}

fn show(letter: &DeadLetter) -> Result<(), Failure> {
    print(&format!(
        "{}\n",
        serde_json::to_string_pretty(&in_json(letter)).map_err(Failure::plain)?
    ))
}

/// Puts dead letters back on their channels, in their order. One that can't be read is left out, and the others go on;
/// a layer that takes none ends the command, since it would take no other either.
async fn retry_all(state: &State, settings: &Settings, ids: &[i64]) -> Result<(), Failure> {
    if let [id] = ids {
        // Looked up before the layer is opened: a mistyped number must not be reported as an error of the layer.
        find(state, *id)?;
    }
    let target = settings.layer.target().map_err(Failure::usage)?;
    let open = target::join(&settings.layer, &target)
        .await
        .map_err(Failure::from)?;
    let mut failed = 0;
    let mut outcome = Ok(());
    for id in ids {
        outcome = retry(state, &open, *id).await;
        match &outcome {
            Ok(()) => {}
            Err(error @ LetterError::Unsendable { .. } | error @ LetterError::Missing(_))
                if ids.len() > 1 =>
            {
                failed += 1;
                tracing::error!("{error}");
                outcome = Ok(());
            }
            Err(_) => break,
        }
    }
    open.layer.close().await;
    outcome.map_err(Failure::failed)?;
    match (failed, ids.len()) {
        (0, _) => Ok(()),
        (failed, all) => Err(Failure::failed(LetterError::SomeFailed { failed, all })),
    }
}

async fn retry(state: &State, open: &OpenLayer, id: i64) -> Result<(), LetterError> {
    let not_put_back = |reason: String| LetterError::NotPutBack {
        id,
        reason: CleanText::new(&reason).into(),
    };
    let found = state.dead_letter(id);
    let found = found.map_err(|error| not_put_back(error.to_string()))?;
    let letter = found.ok_or(LetterError::Missing(id))?;
    let unsendable = |reason: String| LetterError::Unsendable {
        id,
        reason: CleanText::new(&reason).into(),
    };
    let channel =
        ChannelName::new(&letter.channel).map_err(|error| unsendable(error.to_string()))?;
    let member = match letter.serializer {
        // The payload goes as it was: the body of djangobot 0.1 has raw bytes in it, which would be lost in JSON.
        Some(serializer) if serializer == open.layer.serializer() => {
            open.layer.seal(&letter.message)
        }
        _ => {
            let message = read(&letter).map_err(unsendable)?;
            open.layer.encode(&channel, &message)
        }
    };
    let sent = open.layer.send(&channel, &[member]).await;
    let taken = match sent {
        // A broadcast layer keeps nothing: a message that nobody receives is lost.
        Ok(sent) if sent.receivers == Some(0) => Err(format!("nobody reads {channel}")),
        Ok(sent) if sent.accepted == 0 => Err(format!("{channel} is full")),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    // Deleted before anything else is awaited: a command that is interrupted later then does not put it back twice.
    taken
        .and_then(|()| {
            state
                .forget_dead_letter(id)
                .map_err(|error| error.to_string())
        })
        .map_err(not_put_back)?;
    let printed = print(&format!("Dead letter {id} is on {channel} again.\n"));
    if printed.is_err() {
        tracing::debug!("stdout can't be written; dead letter {id} is on {channel} again");
    }
    Ok(())
}

/// Decodes the message or the event.
///
/// # Errors
/// It can't be decoded. The error is a clause that says why.
fn read(letter: &DeadLetter) -> Result<Event, String> {
    match letter.serializer {
        Some(serializer) => serializer
            .read(&letter.message)
            .map_err(|error| error.to_string()),
        None => Event::parse(letter.message.clone()).map_err(|error| error.to_string()),
    }
}

fn in_json(letter: &DeadLetter) -> serde_json::Value {
    let json = |event: Event| {
        let mut json = Vec::new();
        event.write_json(&mut json);
        serde_json::from_slice(&json).ok()
    };
    let readable = match letter.serializer {
        Some(_) => read(letter).ok().and_then(json),
        None => serde_json::from_slice(&letter.message).ok(),
    };
    // A message that can't be decoded is shown as its bytes, in hexadecimal.
    let message = readable.unwrap_or_else(|| {
        let hex: String = masking::without_tokens(&letter.message)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        json!({ "undecodable": hex })
    });
    let mut message = message;
    masking::mask_tokens(&mut message);
    json!({
        "id": letter.id, "at": letter.at, "channel": letter.channel,
        "for": if letter.serializer.is_some() { "channel layer" } else { "Slack" }, "error": letter.error,
        "detail": letter.detail, "message": message,
    })
}

/// Prints a text; escape sequences in it are written out, because a message must not control the terminal.
fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(CleanText::json(text).as_bytes())
        .map_err(Failure::plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_number_time_destination_content_and_error() {
        let letter = |message: &[u8]| DeadLetter {
            id: 7,
            at: 1_790_000_000.5,
            channel: "slack.send".into(),
            error: "channel_not_found".into(),
            detail: "There is no channel #ops.\nAsk".into(),
            message: message.to_vec(),
            serializer: None,
        };
        let line = |message: &[u8]| line(&letter(message));
        assert_eq!(
            line(br#"{"text": "hi\nthere", "channel": "ops"}"#),
            "     7  2026-09-21 14:13:20Z  ops              chat.postMessage \"hi\\nthere\": channel_not_found (There is no channel #ops.\\nAsk)\n"
        );
        let pins = line(br#"{"method": "pins.add", "channel": "C1\u001b[2J"}"#);
        assert!(
            pins.contains("  C1  ") && pins.contains("pins.add: channel_not_found"),
            "{pins}"
        );
        let odd = line(b"\xc1");
        assert!(
            odd.contains("undecodable message: ") && odd.lines().count() == 1,
            "{odd}"
        );
        let long = line(format!(r#"{{"text": "{}"}}"#, "ä".repeat(500)).as_bytes());
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn a_time_is_written_as_people_read_it() {
        assert_eq!(time(0.0), "1970-01-01 00:00:00Z");
        assert_eq!(time(951_782_400.0), "2000-02-29 00:00:00Z");
        assert_eq!(time(4_102_444_799.0), "2099-12-31 23:59:59Z");
        assert_eq!(time(f64::NAN), "1970-01-01 00:00:00Z");
    }
}
