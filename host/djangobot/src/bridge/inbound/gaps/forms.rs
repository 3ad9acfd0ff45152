//! Events made of the messages of a history: those that Slack would have given live.

use djangobot_event::Event;

use crate::config::HistoryEvent;

/// The forms in which the messages of a history would have come live.
pub(crate) struct Forms {
    /// The kinds of events that are made.
    pub(crate) events: Vec<HistoryEvent>,
    /// Whether live messages have a `channel_type`: RTM gives none.
    pub(crate) has_channel_type: bool,
    /// The bot's user.
    pub(crate) me: String,
}

impl Forms {
    /// Whether any event is made of the messages of a conversation whose messages come as `kind`.
    pub(super) fn wants(&self, kind: HistoryEvent) -> bool {
        self.events.contains(&kind) || self.makes_mentions(kind)
    }

    /// Slack makes no `app_mention` in a direct message.
    fn makes_mentions(&self, kind: HistoryEvent) -> bool {
        kind != HistoryEvent::Im && self.events.contains(&HistoryEvent::Mention)
    }

    /// The events that would have come live of these messages, in their order. The mention of a message comes before
    /// the message itself, as Slack gives them.
    pub(crate) fn events(&self, messages: Vec<Event>, kind: HistoryEvent) -> Vec<Event> {
        let (has_messages, has_mentions) = (self.events.contains(&kind), self.makes_mentions(kind));
        let mut events = Vec::with_capacity(messages.len());
        for message in messages {
            let mention = has_mentions && is_mention(&message, &self.me);
            if mention && let Some(mention) = with(&message, "/type", "app_mention") {
                events.push(mention);
            }
            if has_messages {
                let whole = match self.has_channel_type {
                    true => with(&message, "/channel_type", channel_type(kind)),
                    false => None,
                };
                events.push(whole.unwrap_or(message));
            }
        }
        events
    }
}

/// Whether Slack makes an `app_mention` of a message: somebody else said it, and it names the bot. The message that a
/// bot joined names it too, but nobody said it.
fn is_mention(message: &Event, me: &str) -> bool {
    let is_said = match message.text("/subtype").as_deref() {
        None => true,
        Some(subtype) => [
            "bot_message",
            "file_share",
            "me_message",
            "thread_broadcast",
        ]
        .contains(&subtype),
    };
    let is_own = message.text("/user").is_some_and(|user| user == me);
    let names = |text: &str| {
        let mut places = text.split("<@").skip(1);
        places.any(|it| {
            it.strip_prefix(me)
                .is_some_and(|it| it.starts_with(['>', '|']))
        })
    };
    is_said && !is_own && message.text("/text").is_some_and(|text| names(&text))
}

fn channel_type(kind: HistoryEvent) -> &'static str {
    match kind {
        HistoryEvent::Groups => "group",
        HistoryEvent::Im => "im",
        HistoryEvent::Mpim => "mpim",
        HistoryEvent::Channels | HistoryEvent::Mention => "channel",
    }
}

/// The event with `value` at `pointer`.
fn with(event: &Event, pointer: &str, value: &str) -> Option<Event> {
    let mut event = event.clone();
    event.set(pointer, value).ok()?;
    let mut text = Vec::new();
    event.write_json(&mut text);
    Event::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mention_is_a_message_in_which_somebody_else_names_the_bot() {
        let check = |message: &'static str, expect| {
            let event = Event::parse(message).unwrap();
            assert_eq!(is_mention(&event, "U1"), expect, "{message}");
        };
        check(r#"{"text":"hi <@U1>","user":"U2"}"#, true);
        check(r#"{"text":"<@U1|djangobot>: hi","user":"U2"}"#, true);
        check(r#"{"text":"hi <@U12>","user":"U2"}"#, false);
        check(r#"{"text":"I am <@U1>","user":"U1"}"#, false);
        check(
            r#"{"text":"<@U1> has joined","subtype":"channel_join"}"#,
            false,
        );
        check(r#"{"text":"<@U1> look","subtype":"file_share"}"#, true);
        check(r#"{"blocks":[]}"#, false);
        check(r#"{"text":"<@U2> or <@U1>?","user":"U3"}"#, true);
    }
}
