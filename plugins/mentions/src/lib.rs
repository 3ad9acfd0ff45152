//! Emits a `mention` for each message that addresses the bot: a copy of the message, whose text lacks the address.

mod address;

use djangobot_plugin::{Emission, Error, Event, Plugin, Verdict, emit, roster};
use serde::Deserialize;
use serde_json::{Map, Value};

use address::Position;

/// The subtypes of messages that somebody wrote. The others are notices of Slack, which may mention the bot without
/// anybody addressing it.
const WRITTEN: [&str; 5] = [
    "",
    "bot_message",
    "file_share",
    "me_message",
    "thread_broadcast",
];

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    position: Position,
    direct_messages: bool,
    aliases: Vec<String>,
    bots: bool,
    only: bool,
    fields: Option<Vec<String>>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            position: Position::Anywhere,
            direct_messages: true,
            aliases: Vec::new(),
            bots: false,
            only: false,
            fields: None,
        }
    }
}

struct Mentions(Config);

impl Plugin for Mentions {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        Ok(Mentions(config))
    }

    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
        let pointers = ["/text", "/channel", "/user", "/bot_id", "/subtype"];
        let [text, channel, user, bot, subtype] = event.select(pointers).map(|value| {
            value
                .and_then(|value| value.into_text())
                .unwrap_or_default()
        });
        let direct = self.0.direct_messages && channel.starts_with('D');
        // Most messages address nobody. They are done here, before a call of the roster.
        let may_address = direct || !self.0.aliases.is_empty() || text.contains("<@");
        if !may_address || !WRITTEN.contains(&subtype.as_str()) {
            return Ok(Verdict::Keep);
        }
        let Some(me) = roster::me() else {
            return Ok(Verdict::Keep);
        };
        let own = user == me.user_id || (!bot.is_empty() && me.bot_id.as_deref() == Some(&bot));
        if own || (!bot.is_empty() && !self.0.bots) {
            return Ok(Verdict::Keep);
        }
        let stripped = address::strip(&text, &me.user_id, self.0.position, &self.0.aliases);
        let Some(stripped) = stripped.or_else(|| direct.then(|| text.trim().to_owned())) else {
            return Ok(Verdict::Keep);
        };
        let mention = self.mention(event, stripped)?;
        if self.0.only {
            return Ok(Verdict::Replace(vec![Emission::new("mention", &mention)?]));
        }
        emit("mention", &mention)?;
        Ok(Verdict::Keep)
    }
}

impl Mentions {
    /// A copy of the message, with another text.
    fn mention(&self, event: &Event, text: String) -> Result<Map<String, Value>, Error> {
        let mut message: Map<String, Value> = event.read("")?.unwrap_or_default();
        if let Some(fields) = &self.0.fields {
            message.retain(|key, _| fields.contains(key));
        }
        message.insert("type".into(), "mention".into());
        message.insert("text".into(), text.into());
        Ok(message)
    }
}

djangobot_plugin::export!(Mentions);

#[cfg(test)]
mod tests;
