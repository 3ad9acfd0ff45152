//! Drops the bot's own messages, so that it never answers itself.

use djangobot_plugin::{Error, Event, Plugin, Verdict, roster};
use serde::Deserialize;

/// The fields that name the author of a message. Depending on how it was posted, Slack sets some of them.
const AUTHORS: [&str; 4] = ["/user", "/bot_id", "/app_id", "/bot_profile/app_id"];
/// The same fields of the message that was edited or deleted.
const CHANGED: [&str; 8] = [
    "/message/user",
    "/message/bot_id",
    "/message/app_id",
    "/message/bot_profile/app_id",
    "/previous_message/user",
    "/previous_message/bot_id",
    "/previous_message/app_id",
    "/previous_message/bot_profile/app_id",
];

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    changes: bool,
    reactions: bool,
    also: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            changes: true,
            reactions: false,
            also: Vec::new(),
        }
    }
}

struct IgnoreSelf {
    config: Config,
    /// The fields that are read of an event: the subtype, then [`AUTHORS`], then [`CHANGED`].
    pointers: Vec<String>,
}

impl Plugin for IgnoreSelf {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        let pointers = ["/subtype"].iter().chain(&AUTHORS).chain(&CHANGED);
        let pointers = pointers.map(|pointer| (*pointer).to_owned()).collect();
        Ok(IgnoreSelf { config, pointers })
    }

    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
        if event.kind().starts_with("reaction_") && !self.config.reactions {
            return Ok(Verdict::Keep);
        }
        let mut values = event.select_all(&self.pointers).into_iter();
        let subtype = values.next().flatten();
        let subtype = subtype.as_ref().and_then(|value| value.as_text());
        let ids: Vec<String> = values
            .map(|value| {
                value
                    .and_then(|value| value.into_text())
                    .unwrap_or_default()
            })
            .collect();
        let (author, changed) = ids.split_at(AUTHORS.len());
        let (ids, reason) = match subtype {
            // The author of the change itself says nothing: Slack sets it differently for each kind of change. The
            // author of the changed message counts.
            Some("message_changed" | "message_deleted") => {
                if !self.config.changes {
                    return Ok(Verdict::Keep);
                }
                (changed, "it changes the bot's own message")
            }
            _ => (author, "the bot itself wrote it"),
        };
        Ok(match self.is_own(ids) {
            true => Verdict::drop(reason),
            false => Verdict::Keep,
        })
    }
}

impl IgnoreSelf {
    /// Whether one of the ids is the bot's, or one that the operator listed.
    fn is_own(&self, ids: &[String]) -> bool {
        let ids: Vec<&str> = ids
            .iter()
            .map(String::as_str)
            .filter(|id| !id.is_empty())
            .collect();
        if ids.is_empty() {
            return false;
        }
        let me = roster::me();
        ids.iter().any(|id| {
            self.config.also.iter().any(|own| own == id)
                || me
                    .as_ref()
                    .is_some_and(|me| me.user_id == *id || me.bot_id.as_deref() == Some(*id))
        })
    }
}

djangobot_plugin::export!(IgnoreSelf);

#[cfg(test)]
mod tests {
    use djangobot_plugin::testing::{Host, TestPlugin};
    use serde_json::{Value, json};

    use super::IgnoreSelf;

    fn load(config: Value) -> TestPlugin<IgnoreSelf> {
        Host::new()
            .manifest(include_str!("../plugin.toml"))
            .me("U0", "B0", "djangobot")
            .user("U1", "alice")
            .load(config)
    }

    #[test]
    fn the_bots_own_messages_are_dropped_and_all_others_kept() {
        let mut plugin = load(json!({}));
        let mut check = |event: Value, dropped: bool| {
            let outcome = plugin.inbound("message", event.clone());
            assert_eq!(outcome.dropped().is_some(), dropped, "{event}");
            assert!(
                outcome.called && outcome.calls.len() <= 3,
                "{:?}",
                outcome.calls
            );
        };
        check(json!({"user": "U1", "text": "hi", "channel": "C1"}), false);
        check(json!({"user": "U0", "text": "hi", "channel": "C1"}), true);
        check(
            json!({"user": "U0", "bot_id": "B0", "app_id": "A0", "text": "hi"}),
            true,
        );
        check(
            json!({"subtype": "bot_message", "bot_id": "B0", "text": "hi"}),
            true,
        );
        check(
            json!({"subtype": "bot_message", "bot_id": "B7", "text": "hi"}),
            false,
        );
        check(
            json!({"user": "U1", "text": "<@U0> hi", "parent_user_id": "U0"}),
            false,
        );
        check(json!({}), false);
        check(json!({"user": {"id": "U0"}}), false);
    }

    #[test]
    fn edits_and_deletions_belong_to_the_author_of_the_message() {
        let own =
            json!({"type": "message", "user": "U0", "bot_id": "B0", "text": "hi", "ts": "1.2"});
        let other = json!({"type": "message", "user": "U1", "text": "hi", "ts": "1.2"});
        let cases = [
            (
                json!({"subtype": "message_changed", "message": own, "previous_message": own}),
                true,
            ),
            (
                json!({"subtype": "message_changed", "message": other, "previous_message": other}),
                false,
            ),
            (
                json!({"subtype": "message_deleted", "deleted_ts": "1.2", "previous_message": own}),
                true,
            ),
            (
                json!({"subtype": "message_deleted", "deleted_ts": "1.2", "previous_message": other}),
                false,
            ),
            (json!({"subtype": "message_replied", "message": own}), false),
        ];
        let mut strict = load(json!({}));
        let mut lax = load(json!({"changes": false}));
        for (event, dropped) in cases {
            let outcome = strict.inbound("message", event.clone());
            assert_eq!(outcome.dropped().is_some(), dropped, "{event}");
            assert!(lax.inbound("message", event).kept());
        }
    }

    #[test]
    fn reactions_are_dropped_if_the_operator_sets_it() {
        let event =
            json!({"user": "U0", "reaction": "eyes", "item": {"type": "message", "ts": "1.2"}});
        assert!(
            load(json!({}))
                .inbound("reaction_added", event.clone())
                .kept()
        );
        let mut strict = load(json!({"reactions": true}));
        assert!(strict.inbound("reaction_added", event).dropped().is_some());
        let of_own = json!({"user": "U1", "reaction": "eyes", "item_user": "U0"});
        assert!(strict.inbound("reaction_removed", of_own).kept());
    }

    #[test]
    fn further_ids_count_as_own() {
        let mut plugin = load(json!({"also": ["A5", "U9"]}));
        let mut dropped = |event| plugin.inbound("message", event).dropped().is_some();
        assert!(dropped(
            json!({"user": "U3", "bot_profile": {"app_id": "A5"}})
        ));
        assert!(dropped(json!({"user": "U9"})));
        assert!(!dropped(json!({"user": "U1"})));
        let error = Host::new()
            .manifest(include_str!("../plugin.toml"))
            .try_load::<IgnoreSelf>(json!({"also": ["alice"]}))
            .unwrap_err();
        assert!(error.starts_with("/also/0"), "{error}");
    }

    #[test]
    fn before_the_first_connection_nothing_is_dropped() {
        let mut plugin = Host::new().load::<IgnoreSelf>(json!({}));
        assert!(plugin.inbound("message", json!({"user": "U0"})).kept());
    }
}
