//! The workspace in a terminal: typed lines are posted as a user, and what the bot posts is shown.

mod element;
mod person;
mod upload;

use std::io;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::local_slack::LocalSlack;
use crate::lock::lock;
use crate::speakers::control::Control;
use crate::state::feed::NOTE;
use crate::state::ts::Ts;

use person::{CommandResult, Person, SPEAKER};

/// The help text of the prompt, as `/help` shows it.
pub const HELP: &str = "\
text                  is posted to #general as alice
#channel text         is posted to that channel as alice
@user text            is a direct message from that user to the bot
/name text            is a slash command of the app, typed as alice
/edit text            changes the last message of whoever wrote last
/delete               deletes it
/file path [comment]  shares a file of this machine: its name and size, not what is in it
/react eyes           reacts to the last message there; /react -eyes takes it back
/click [name]         clicks the button of that name (or text) in the last message that has any; name=choice chooses from a menu
/shortcut id          is a shortcut of the app, by its callback_id; /menu id is one in the menu of the last message
/submit [name=text; ...]  submits the dialog that the app opened; /close closes it
//name text           is the slash command /name, where /name is one of these
/help                 shows this
";

/// Posts each line of `input` as a user and shows on `output` what the bot does, until either ends or `cancel`.
///
/// A plain line goes to #general as alice, `#channel text` to a channel, `@user text` is a direct message from that
/// user to the bot, `/name text` is a slash command of the app; [`HELP`] says what else there is. Escape sequences in
/// what is shown are taken out.
///
/// # Errors
/// When `input` cannot be read or `output` cannot be written.
pub async fn terminal(
    slack: &LocalSlack,
    input: impl AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    cancel: CancellationToken,
) -> io::Result<()> {
    let mut events = slack.core.feed.subscribe();
    let mut lines = input.lines();
    let (control, mut person) = (slack.control(), Person::new());
    let mut submitted = JoinSet::new();
    loop {
        let shown = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            line = lines.next_line() => match line? {
                Some(line) => match typed(&control, &mut person, &line) {
                    Ok(CommandResult::Silent) => None,
                    Ok(CommandResult::Shown(text)) => Some(text),
                    Ok(CommandResult::Submitted(number)) => {
                        let control = control.clone();
                        submitted.spawn(async move { control.settled(number).await });
                        None
                    }
                    Err(why) => Some(format!("{}\n", why.trim_end())),
                },
                None => return Ok(()),
            },
            Some(Ok(delivery)) = submitted.join_next() => person::answered(&slack.core, &delivery),
            event = events.recv() => match event {
                Ok(event) => seen(&slack.core, &event).map(|line| line + "\n"),
                Err(RecvError::Lagged(count)) => Some(format!("({count} events went by too fast to be shown)\n")),
                Err(RecvError::Closed) => return Ok(()),
            },
        };
        if let Some(shown) = shown {
            output.write_all(shown.as_bytes()).await?;
            output.flush().await?;
        }
    }
}

/// Carries out a line.
fn typed(control: &Control, person: &mut Person, line: &str) -> Result<CommandResult, String> {
    let line = line.trim();
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim_start();
    if line.is_empty() {
        return Ok(CommandResult::Silent);
    }
    if first == "/help" {
        return Ok(CommandResult::Shown(HELP.to_owned()));
    }
    if let Some(user) = first.strip_prefix('@').filter(|_| !rest.is_empty()) {
        return person.say(control, user, user, rest);
    }
    if let Some(channel) = first.strip_prefix('#').filter(|_| !rest.is_empty()) {
        return person.say(control, SPEAKER, channel, rest);
    }
    if first.len() < 2 || !first.starts_with('/') {
        return person.say(control, SPEAKER, "general", line);
    }
    if let Some(done) = person.act(control, first, rest) {
        return done;
    }
    let command = match first.strip_prefix('/') {
        Some(escaped) if escaped.starts_with('/') => escaped,
        _ => first,
    };
    person.command(control, command, rest)
}

/// The line for an event, if the bot caused it.
fn seen(core: &Core, event: &Value) -> Option<String> {
    if event["type"] == NOTE {
        return event["text"].as_str().map(plain);
    }
    let workspace = lock(&core.workspace);
    let bot = &workspace.users[workspace.bot];
    let bot_id = bot.bot().map(|bot| &*bot.bot_id);
    let by_bot = |message: &Value| {
        message["user"] == bot.id.as_str()
            || message["bot_id"]
                .as_str()
                .is_some_and(|id| Some(id) == bot_id)
    };
    let text = |value: &Value| plain(value.as_str().unwrap_or_default());
    let (message, said) = match event["type"].as_str()? {
        "message" => match event["subtype"].as_str() {
            Some("message_changed") => (
                &event["message"],
                format!("(changed) {}", text(&event["message"]["text"])),
            ),
            Some("message_deleted") => (
                &event["previous_message"],
                format!("(deleted) {}", text(&event["previous_message"]["text"])),
            ),
            _ => {
                let thread = if event["thread_ts"].is_string() {
                    "(in thread) "
                } else {
                    ""
                };
                let ephemeral = if event["is_ephemeral"] == true {
                    "(only you see this) "
                } else {
                    ""
                };
                let files = event["files"].as_array().into_iter().flatten();
                let files: String = files
                    .map(|file| format!(" [file {}, {} bytes]", text(&file["name"]), file["size"]))
                    .collect();
                let blocks = match event["text"].as_str() {
                    Some("") | None if files.is_empty() => "(a message of blocks or attachments)",
                    _ => &files,
                };
                let buttons = match event.as_object().map(element::clickable) {
                    Some(names) if !names.is_empty() => {
                        format!("  [/click {}]", plain(&names.join(", ")))
                    }
                    _ => String::new(),
                };
                (
                    event,
                    format!(
                        "{thread}{ephemeral}{}{blocks}{buttons}",
                        text(&event["text"])
                    ),
                )
            }
        },
        "reaction_added" => (
            event,
            format!("reacted with :{}:", text(&event["reaction"])),
        ),
        "reaction_removed" => (event, format!("took back :{}:", text(&event["reaction"]))),
        "user_typing" => (event, "is typing".to_owned()),
        _ => return None,
    };
    if !by_bot(message) {
        return None;
    }
    let channel = event["channel"]
        .as_str()
        .or(event["item"]["channel"].as_str())?;
    let index = workspace.conversation(channel)?;
    let place = match (
        workspace.im_partner(index, workspace.bot),
        &workspace.conversations[index].name,
    ) {
        (Some(partner), _) => format!("@{}", workspace.users[partner].name),
        (None, Some(name)) => format!("#{name}"),
        (None, None) => channel.to_owned(),
    };
    let name = message["username"]
        .as_str()
        .map_or_else(|| bot.name.clone(), plain);
    let seconds = Ts::parse(event["event_ts"].as_str().unwrap_or_default())
        .map_or(0, |ts| ts.0 / 1_000_000)
        % 86_400;
    let clock = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    let name = if event["type"] == "message" {
        format!("{name}:")
    } else {
        name
    };
    Some(format!("[{clock}] {place} {name} {said}"))
}

/// Text that cannot do anything to a terminal: control characters are taken out, with the sequences that they begin.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        // The sequences' beginnings are one character of the C1 set, or an escape and a character of ASCII.
        let begins = match char {
            '\u{1b}' => chars.next(),
            '\u{9b}' => Some('['),
            '\u{9d}' => Some(']'),
            _ => None,
        };
        match (begins, char) {
            // A control sequence ends with a letter or the like.
            (Some('['), _) => {
                while chars
                    .next()
                    .is_some_and(|char| !('@'..='~').contains(&char))
                {}
            }
            (Some(']'), _) => skip_command(&mut chars),
            (Some(_), _) => {}
            (None, '\n') => out.push_str("\n    "),
            (None, '\t') => out.push(' '),
            // These change the order in which a line is shown.
            (
                None,
                '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}',
            ) => {}
            (None, char) if char.is_control() => {}
            (None, char) => out.push(char),
        }
    }
    out
}

/// Passes over an operating system command, which ends with BEL or ST.
fn skip_command(chars: &mut Peekable<Chars<'_>>) {
    while let Some(char) = chars.next() {
        match char {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                chars.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn escape_sequences_are_taken_out() {
        let check = |input: &str, expect: &str| assert_eq!(plain(input), expect, "{input:?}");
        check("plain é 🎉", "plain é 🎉");
        check("\u{1b}[1;31mred\u{1b}[0m", "red");
        check("\u{9b}2Jcleared", "cleared");
        check(
            "\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b\u{9d}x\u{9c}c",
            "abc",
        );
        check("\u{1b}c\u{1b}", "");
        check("a\rb\u{8}\u{7f}c\td", "abc d");
        check("\u{202e}evil\u{2066}", "evil");
        check("one\ntwo", "one\n    two");
        check("\u{1b}[31", "");
    }
}
