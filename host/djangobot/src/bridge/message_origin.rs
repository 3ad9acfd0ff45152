//! The plugin that made a message for Slack, and the event by which it learns the outcome.

use djangobot_event::Event;
use djangobot_plugins::{HostKind, PluginEvent};
use serde_json::Value;

/// The plugin that made a message, with its name for the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MessageOrigin {
    pub(crate) plugin: String,
    pub(crate) id: String,
    /// The hops of the message.
    hops: u8,
}

impl MessageOrigin {
    /// Reads it from the key `djangobot` of a message.
    pub(crate) fn read(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name)?.as_str().map(str::to_owned);
        Some(Self {
            plugin: text("plugin")?,
            id: text("id")?,
            hops: key.get("hops")?.as_u64()?.try_into().ok()?,
        })
    }

    /// The event by which the plugin learns the outcome of its message; `outcome` is what an app would get. `None` if it
    /// can't be written.
    pub(crate) fn outcome(&self, kind: HostKind, outcome: &Value) -> Option<PluginEvent> {
        let mut body = outcome.clone();
        let keys = body.as_object_mut()?;
        keys.remove("request");
        keys.insert("type".into(), kind.name().into());
        keys.insert("id".into(), self.id.as_str().into());
        let event = Event::from_value(&body).ok()?;
        let id = format!("{}.{}", self.id, kind.name());
        Some(PluginEvent {
            hops: self.hops,
            ..PluginEvent::of_host(&id, kind, event, &self.plugin)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plugin_learns_the_outcome_under_its_own_name_for_the_message() {
        let key = json!({"plugin": "guard", "id": "Ev1.guard.send.1", "hops": 2});
        let origin = MessageOrigin::read(&key).unwrap();
        let sent = json!({"type": "slack.sent", "ok": true, "ts": "1.2", "request": null});
        let event = origin.outcome(HostKind::Sent, &sent).unwrap();
        assert_eq!((event.recipient.as_deref(), event.hops), (Some("guard"), 2));
        assert_eq!(&*event.kind, "djangobot.sent");
        let text = |pointer| event.body.text(pointer).unwrap().into_owned();
        assert_eq!(
            (text("/type"), text("/id"), text("/ts")),
            (
                "djangobot.sent".into(),
                "Ev1.guard.send.1".into(),
                "1.2".into()
            )
        );
        assert!(event.body.get("/request").is_none());
        for key in [
            json!(null),
            json!("guard"),
            json!({"plugin": "guard", "hops": 1}),
            json!({"plugin": "g", "id": "1", "hops": 999}),
        ] {
            assert_eq!(MessageOrigin::read(&key), None, "{key}");
        }
    }
}
