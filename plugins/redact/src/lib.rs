//! Redacts secrets and personal data in messages, in both directions. It logs nothing of what it found.

mod checks;
mod finder;

use std::collections::BTreeMap;

use djangobot_plugin::{Edits, Error, Event, Plugin, Value, Verdict, pointer, warn};
use serde::Deserialize;

use finder::{Finder, Known};

/// The fields with texts that people write, also in the messages that an edit or a broadcast to a thread contains.
const TEXTS: [&str; 15] = [
    "/text",
    "/markdown_text",
    "/blocks",
    "/attachments",
    "/files",
    "/file",
    "/username",
    "/topic",
    "/purpose",
    "/metadata",
    "/unfurls",
    "/message",
    "/previous_message",
    "/root",
    "/comment",
];

/// The keys of values that Slack makes, such as ids and times. They match a pattern only by chance, and must stay as
/// they are.
const STRUCTURE: [&str; 18] = [
    "action_id",
    "block_id",
    "bot_id",
    "channel",
    "channel_id",
    "client_msg_id",
    "event_ts",
    "id",
    "latest_reply",
    "parent_user_id",
    "style",
    "subtype",
    "team",
    "thread_ts",
    "ts",
    "type",
    "user",
    "user_id",
];

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    find: Vec<Known>,
    custom: BTreeMap<String, String>,
    replacement: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            find: Known::DEFAULT.to_vec(),
            custom: BTreeMap::new(),
            replacement: "[redacted {name}]".into(),
        }
    }
}

struct Redact {
    finder: Finder,
    pointers: Vec<String>,
}

impl Plugin for Redact {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        Ok(Redact {
            finder: Finder::new(&config.find, &config.custom, &config.replacement)?,
            pointers: TEXTS.map(str::to_owned).to_vec(),
        })
    }

    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
        let mut edits = Edits::new();
        for (pointer, value) in self.pointers.iter().zip(event.select_all(&self.pointers)) {
            match value {
                Some(Value::Text(text)) => self.redact(pointer, &text, &mut edits),
                Some(value @ Value::Json(_)) => match value.parse() {
                    Ok(value) => pointer::each_text(pointer, &value, &mut |pointer, text| {
                        self.redact(pointer, text, &mut edits);
                    }),
                    // A value that can't be searched must not pass.
                    Err(_) => {
                        warn!(
                            "{pointer} can't be read, and was removed from event {}",
                            event.id()
                        );
                        edits.remove(pointer.as_str());
                    }
                },
                _ => {}
            }
        }
        Ok(edits.into())
    }
}

impl Redact {
    fn redact(&self, pointer: &str, text: &str, edits: &mut Edits) {
        let key = pointer.rsplit('/').next().unwrap_or_default();
        if STRUCTURE.contains(&key) {
            return;
        }
        if let Some(redacted) = self.finder.redact(text) {
            edits.set(pointer, redacted);
        }
    }
}

djangobot_plugin::export!(Redact);

#[cfg(test)]
mod tests;
