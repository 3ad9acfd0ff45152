//! The envelope: Slack's object as the app gets it, with the channel's name as `type`, a `reply_channel`, and the key
//! `djangobot`.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use djangobot_channels::{ChannelLayer, ChannelName, Member, Serializer};
use djangobot_event::{EditError, Event};
use djangobot_slack::{Origin, Roster};

use crate::bridge::roster::RosterKeeper;
use crate::config::values::BodyFormat;
use crate::fingerprint::fingerprint;

/// Wraps the events of one connection.
pub(crate) struct Envelope {
    format: BodyFormat,
    send_channel: String,
    transport: &'static str,
    /// Empty until Slack has said who we are.
    team_id: String,
    /// Counts events that have no time of their own.
    untimed: u64,
}

/// The time of an event's arrival, and its origin.
pub(crate) struct Receipt {
    pub(crate) received: SystemTime,
    pub(crate) origin: Origin,
}

/// The facts that the app gets about an event next to the event itself.
#[derive(Clone, Copy)]
pub(crate) struct AppContext<'a> {
    pub(crate) receipt: &'a Receipt,
    /// The channel for the app's answer, if the event has one of its own.
    pub(crate) reply_channel: Option<&'a ChannelName>,
}

/// A message for the layer.
pub(crate) enum LayerMessage {
    /// Slack's object, flat.
    Flat(Event),
    /// The body of djangobot 0.1: its one key, `text`, holds this event's JSON as bytes.
    V01(Event),
}

impl Envelope {
    pub(crate) fn new(format: BodyFormat, send_channel: String, transport: &'static str) -> Self {
        Self {
            format,
            send_channel,
            transport,
            team_id: String::new(),
            untimed: 0,
        }
    }

    /// Sets the team whose events come from now on.
    pub(crate) fn set_team(&mut self, team_id: &str) {
        team_id.clone_into(&mut self.team_id);
    }

    /// Whether the body has a `reply_channel`.
    pub(crate) fn has_reply_channel(&self) -> bool {
        match self.format {
            BodyFormat::Flat => true,
            BodyFormat::V01 => false,
        }
    }

    /// Makes the message of `event`, which has the id `id` and goes to `channel`.
    ///
    /// # Errors
    ///
    /// Fails if the event can't take the keys, because it would become too large.
    pub(crate) async fn wrap(
        &self,
        mut event: Event,
        id: &str,
        channel: &ChannelName,
        context: AppContext<'_>,
        roster: &RosterKeeper,
    ) -> Result<LayerMessage, EditError> {
        match self.format {
            BodyFormat::Flat => {
                event.set("/type", channel.as_str())?;
                let reply_channel = context
                    .reply_channel
                    .map_or(&*self.send_channel, ChannelName::as_str);
                event.set("/reply_channel", reply_channel)?;
                event.set("/djangobot", self.djangobot_key(id, context.receipt))?;
                Ok(LayerMessage::Flat(event))
            }
            BodyFormat::V01 => {
                roster.ready().await;
                for (pointer, name) in names(&event, roster.roster()) {
                    event.set(pointer, name.as_str())?;
                }
                Ok(LayerMessage::V01(event))
            }
        }
    }

    /// The id of `event`, the key for deduplication: the same one each time the event comes, on each transport.
    ///
    /// A message or a mention of the app has an id of its conversation and `ts`, which Slack's history has too. The id
    /// of a change of a message (edited, deleted, replied to) has its subtype as well. Other events have the id that
    /// Slack gave the event or its envelope. RTM gives none: there a hash of the frame stands in. An event without a
    /// time has the time of its arrival instead, because one `user_typing` has the same bytes as the next, and RTM
    /// gives no event twice.
    pub(crate) fn id(&mut self, kind: &str, event: &Event, receipt: &Receipt) -> String {
        let origin = &receipt.origin;
        let team = origin.team_id.as_ref().unwrap_or(&self.team_id);
        let channel = event
            .text("/channel")
            .or_else(|| event.text("/item/channel"));
        let ts = event.text("/ts").or_else(|| event.text("/event_ts"));
        let given = origin.event_id.as_ref().or(origin.envelope_id.as_ref());
        match (channel, ts) {
            (Some(channel), Some(ts)) if kind == "message" => match change_subtype(event) {
                None => message_id(team, kind, &channel, &ts),
                Some(subtype) => format!("{team}.{subtype:.40}.{channel:.40}.{ts:.40}"),
            },
            (Some(channel), Some(ts)) if kind == "app_mention" => {
                message_id(team, kind, &channel, &ts)
            }
            _ if let Some(id) = given => format!("{id:.120}"),
            // A slash command or an interaction over HTTP.
            _ if let Some(trigger) = event.text("/trigger_id") => {
                format!("{team}.{kind:.40}.{trigger:.80}")
            }
            (channel, Some(ts)) => {
                let channel = channel.unwrap_or_default();
                let print = fingerprint(event.raw());
                format!("{team}.{kind:.40}.{channel:.40}.{ts:.40}.{print:016x}")
            }
            // A request with the same signature is the same request, sent again.
            _ if let Some(signature) = &origin.signature => {
                format!("{team}.{kind:.40}.{signature:.24}")
            }
            (channel, None) => {
                let channel = channel.unwrap_or_default();
                // Frames that were read in one go have the same time of arrival.
                self.untimed += 1;
                let at = micros(receipt.received);
                format!("{team}.{kind:.40}.{channel:.40}.{at:x}.{:x}", self.untimed)
            }
        }
    }

    /// The id that `event` has in Slack's history; `None` for events that no history has. It has our own team, where a
    /// live event may have another one: that of a user of another workspace, in a shared conversation.
    pub(crate) fn id_in_history(&self, kind: &str, event: &Event) -> Option<String> {
        let is_in_history =
            kind == "app_mention" || kind == "message" && change_subtype(event).is_none();
        let (channel, ts) = (event.text("/channel")?, event.text("/ts")?);
        is_in_history.then(|| message_id(&self.team_id, kind, &channel, &ts))
    }

    /// The `djangobot` key, as JSON.
    fn djangobot_key(&self, id: &str, receipt: &Receipt) -> Vec<u8> {
        let received_at = micros(receipt.received);
        let origin = &receipt.origin;
        let about = DjangobotKey {
            id,
            team_id: origin.team_id.as_ref().unwrap_or(&self.team_id),
            transport: self.transport,
            // A double holds microseconds of this century exactly.
            received_at: received_at as f64 / 1e6,
            attempt: origin.attempt,
            retry_reason: origin.retry_reason.as_deref(),
        };
        // Texts and finite numbers always have a JSON form.
        let mut about = serde_json::to_vec(&about).unwrap_or_else(|_| b"{}".to_vec());
        // Two objects become one: the keys that stood next to the event in Slack's wrapper follow ours.
        let beside = origin.wrapper.as_ref().map(without_our_keys);
        if let Some(beside) = beside.as_deref().and_then(|it| it.strip_prefix(b"{"))
            && !beside.trim_ascii_start().starts_with(b"}")
            && about.pop().is_some()
        {
            about.push(b',');
            about.extend_from_slice(beside);
        }
        about
    }
}

/// The id of a message, or of a mention made of one.
fn message_id(team: &str, kind: &str, channel: &str, ts: &str) -> String {
    format!("{team}.{kind}.{channel:.40}.{ts:.40}")
}

/// The subtype of a message that reports a change of another one: that it was edited, deleted or replied to.
fn change_subtype(event: &Event) -> Option<Cow<'_, str>> {
    let is_hidden = event.get("/hidden").and_then(|it| it.as_bool());
    event
        .text("/subtype")
        .filter(|subtype| is_hidden == Some(true) || subtype.starts_with("message_"))
}

/// The keys of [`DjangobotKey`], but for `team_id`, which Slack's wrapper never has here. If Slack's wrapper has one of
/// them, ours wins: an app that reads `id` must get our id.
const OUR_KEYS: &[&str] = &["id", "transport", "received_at", "attempt", "retry_reason"];

/// The keys that stood next to an event in Slack's wrapper, without those that are ours.
fn without_our_keys(beside: &Bytes) -> Cow<'_, [u8]> {
    let has = |key: &&str| {
        let mut words = beside.split(|byte| *byte == b'"');
        words.any(|word| word == key.as_bytes())
    };
    if !OUR_KEYS.iter().any(has) {
        return Cow::Borrowed(beside);
    }
    // The word may also be a key further in, or a value: parse to know.
    let Ok(mut members) = Event::parse(beside.clone()) else {
        return Cow::Borrowed(b"{}");
    };
    for key in OUR_KEYS {
        while members.field(key).is_some() && members.remove(&format!("/{key}")).is_ok() {}
    }
    let mut text = Vec::new();
    members.write_json(&mut text);
    Cow::Owned(text)
}

/// The value of the key `djangobot`.
#[derive(serde::Serialize)]
struct DjangobotKey<'a> {
    id: &'a str,
    team_id: &'a str,
    transport: &'a str,
    /// In Unix seconds.
    received_at: f64,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_reason: Option<&'a str>,
}

impl LayerMessage {
    /// The member that goes into the queue of `channel`.
    pub(crate) fn encode(&self, layer: &dyn ChannelLayer, channel: &ChannelName) -> Member {
        match self {
            Self::Flat(event) => layer.encode(channel, event),
            Self::V01(_) => layer.seal(&self.payload(layer.serializer())),
        }
    }

    /// The message as `serializer` writes it, without encryption and random prefix.
    pub(crate) fn payload(&self, serializer: Serializer) -> Vec<u8> {
        match self {
            Self::Flat(event) => {
                let mut payload = Vec::with_capacity(event.raw().len() + 256);
                serializer.write(event, &mut payload);
                payload
            }
            Self::V01(event) => v01_payload(serializer, event),
        }
    }

    /// The event in it, for people to look at.
    pub(crate) fn event(&self) -> &Event {
        match self {
            Self::Flat(event) | Self::V01(event) => event,
        }
    }
}

/// `{"text": <the event's JSON>}`: bytes in msgpack, as djangobot 0.1 sent them, a text in JSON, which has no bytes.
fn v01_payload(serializer: Serializer, event: &Event) -> Vec<u8> {
    let mut json = Vec::with_capacity(event.raw().len() + 64);
    event.write_json(&mut json);
    match serializer {
        Serializer::Json => {
            serde_json::to_vec(&serde_json::json!({ "text": String::from_utf8_lossy(&json) }))
                .unwrap_or_default()
        }
        Serializer::Msgpack => {
            let mut payload = Vec::with_capacity(json.len() + 12);
            payload.extend_from_slice(b"\x81\xa4text");
            // bin 8, bin 16, bin 32 of the MessagePack specification.
            match json.len() {
                length @ 0..=0xff => payload.extend_from_slice(&[0xc4, length as u8]),
                length @ 0x100..=0xffff => {
                    payload.push(0xc5);
                    payload.extend_from_slice(&(length as u16).to_be_bytes());
                }
                length => {
                    payload.push(0xc6);
                    payload.extend_from_slice(&(length as u32).to_be_bytes());
                }
            }
            payload.extend_from_slice(&json);
            payload
        }
    }
}

/// The names that djangobot 0.1 put in place of ids. Unknown ids stay, and the roster asks Slack for them, so that the
/// next event has the name.
fn names(event: &Event, roster: &Roster) -> Vec<(&'static str, String)> {
    let user = |id: &str| roster.user(id).map(|user| user.name().to_owned());
    let conversation = |id: &str| {
        roster
            .conversation(id)
            .map(|found| found.name().to_owned())
            .filter(|name| !name.is_empty())
    };
    let mut names = Vec::new();
    for (pointer, name) in [
        ("/user", &user as &dyn Fn(&str) -> Option<String>),
        ("/channel", &conversation),
    ] {
        let Some(id) = event.text(pointer) else {
            continue;
        };
        match name(&id) {
            Some(name) => names.push((pointer, name)),
            None => roster.want(&id),
        }
    }
    names
}

/// Microseconds since the Unix epoch.
fn micros(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        let mut envelope = Envelope::new(BodyFormat::Flat, "slack.send".into(), "rtm");
        envelope.set_team("T1");
        envelope
    }

    fn ids(frames: [&'static str; 2]) -> [String; 2] {
        let mut envelope = envelope();
        frames.map(|json| {
            let event = Event::parse(json).unwrap();
            let receipt = Receipt {
                received: UNIX_EPOCH,
                origin: Origin::default(),
            };
            envelope.id(&event.text("/type").unwrap(), &event, &receipt)
        })
    }

    #[test]
    fn a_message_is_named_by_its_conversation_and_ts_alone() {
        let [live, from_history] = ids([
            r#"{"type":"message","channel":"C1","ts":"1.2","text":"a"}"#,
            r#"{"type":"message","ts":"1.2","channel":"C1","team":"T1"}"#,
        ]);
        assert_eq!(live, "T1.message.C1.1.2");
        assert_eq!(live, from_history);
    }

    #[test]
    fn a_change_of_a_message_is_not_the_message() {
        let [changed, deleted] = ids([
            r#"{"type":"message","channel":"C1","ts":"1.2","subtype":"message_changed"}"#,
            r#"{"type":"message","channel":"C1","ts":"1.2","subtype":"message_deleted"}"#,
        ]);
        assert_eq!(changed, "T1.message_changed.C1.1.2");
        assert_eq!(deleted, "T1.message_deleted.C1.1.2");
    }

    #[test]
    fn slacks_own_id_is_the_events_where_it_gives_one() {
        let check = |json: &'static str, kind: &str, origin: Origin, expect: &str| {
            let receipt = Receipt {
                received: UNIX_EPOCH,
                origin,
            };
            let event = Event::parse(json).unwrap();
            assert_eq!(envelope().id(kind, &event, &receipt), expect);
        };
        let origin = Origin {
            event_id: Some("Ev1".into()),
            envelope_id: Some("e1".into()),
            ..Origin::default()
        };
        check(
            r#"{"type":"pin_added"}"#,
            "pin_added",
            origin.clone(),
            "Ev1",
        );
        let message = r#"{"type":"message","channel":"C1","ts":"1.2"}"#;
        check(message, "message", origin.clone(), "T1.message.C1.1.2");
        let mention = r#"{"type":"app_mention","channel":"C1","ts":"1.2"}"#;
        check(
            mention,
            "app_mention",
            origin.clone(),
            "T1.app_mention.C1.1.2",
        );
        let command = r#"{"command":"/deploy","trigger_id":"9.9"}"#;
        let envelope = Origin {
            event_id: None,
            ..origin
        };
        check(command, "slash_commands", envelope, "e1");
        check(
            command,
            "slash_commands",
            Origin::default(),
            "T1.slash_commands.9.9",
        );
    }

    #[test]
    fn other_events_are_told_apart_by_their_bytes() {
        let [one, again] =
            ids([r#"{"type":"pin_added","event_ts":"1.2","item":{"channel":"C1"}}"#; 2]);
        assert_eq!(one, again);
        assert!(one.starts_with("T1.pin_added.C1.1.2."), "{one}");
        let [one, other] = ids([
            r#"{"type":"pin_added","event_ts":"1.2","user":"U1"}"#,
            r#"{"type":"pin_added","event_ts":"1.2","user":"U2"}"#,
        ]);
        assert_ne!(one, other);
    }

    #[test]
    fn events_without_a_time_are_each_their_own() {
        let [one, next] = ids([r#"{"type":"user_typing","channel":"C1","user":"U1"}"#; 2]);
        assert_ne!(one, next);
        assert!(one.starts_with("T1.user_typing.C1."), "{one}");
    }

    #[test]
    fn the_djangobot_key_has_the_documented_shape() {
        let receipt = Receipt {
            received: UNIX_EPOCH + std::time::Duration::from_micros(1_795_345_843_830_000),
            origin: Origin::default(),
        };
        let about: serde_json::Value =
            serde_json::from_slice(&envelope().djangobot_key("x", &receipt)).unwrap();
        let expect = serde_json::json!(
            {"id": "x", "team_id": "T1", "transport": "rtm", "received_at": 1795345843.83, "attempt": 1});
        assert_eq!(about, expect);

        let again = Receipt {
            origin: Origin {
                attempt: 2,
                retry_reason: Some("timeout".into()),
                team_id: Some("T2".into()),
                wrapper: Some(r#"{"event_time": 7}"#.into()),
                ..Origin::default()
            },
            ..receipt
        };
        let about: serde_json::Value =
            serde_json::from_slice(&envelope().djangobot_key("x", &again)).unwrap();
        let expect = serde_json::json!(
            {"id": "x", "team_id": "T2", "transport": "rtm", "received_at": 1795345843.83, "attempt": 2,
             "retry_reason": "timeout", "event_time": 7});
        assert_eq!(about, expect);
    }

    #[test]
    fn our_keys_win_over_slacks_of_the_same_names() {
        let check = |beside: &'static str, expect: serde_json::Value| {
            let receipt = Receipt {
                received: UNIX_EPOCH,
                origin: Origin {
                    wrapper: Some(beside.into()),
                    ..Origin::default()
                },
            };
            let about = envelope().djangobot_key("ours", &receipt);
            let text = String::from_utf8(about).unwrap();
            let about: serde_json::Value = serde_json::from_str(&text).unwrap();
            let ours = serde_json::json!(
                {"id": "ours", "team_id": "T1", "transport": "rtm", "received_at": 0.0, "attempt": 1});
            let mut all = ours.as_object().unwrap().clone();
            all.extend(expect.as_object().unwrap().clone());
            assert_eq!(about, serde_json::Value::Object(all), "{text}");
            assert_eq!(text.matches("\"attempt\"").count(), 1, "{text}");
        };
        check("{}", serde_json::json!({}));
        check(
            r#"{"id":"theirs","attempt":[9],"transport":null,"received_at":{},"retry_reason":"x","event_time":7.10}"#,
            serde_json::json!({"event_time": 7.10}),
        );
        check(r#"{"id":1}"#, serde_json::json!({}));
        let deeper = r#"{"authorizations":[{"id":5,"team_id":"T9"}],"word":"transport"}"#;
        check(deeper, serde_json::from_str(deeper).unwrap());
    }

    #[test]
    fn a_signed_request_that_comes_again_is_the_same_event() {
        let mut envelope = envelope();
        let mut id = |signature: &str, received| {
            let receipt = Receipt {
                received: UNIX_EPOCH + std::time::Duration::from_secs(received),
                origin: Origin {
                    signature: Some(signature.into()),
                    ..Origin::default()
                },
            };
            let event = Event::parse(r#"{"type":"view_closed","view":{"id":"V1"}}"#).unwrap();
            envelope.id("view_closed", &event, &receipt)
        };
        assert_eq!(id("a2114d57", 1), id("a2114d57", 2));
        assert_ne!(id("a2114d57", 1), id("b2114d57", 1));
    }

    #[test]
    fn the_body_of_djangobot_0_1_has_its_bytes() {
        let check = |filler: usize, head: &[u8]| {
            let event = Event::parse(format!("{{\"type\":\"{}\"}}", "x".repeat(filler))).unwrap();
            let payload = v01_payload(Serializer::Msgpack, &event);
            assert!(payload.starts_with(b"\x81\xa4text"));
            assert!(payload[6..].starts_with(head), "{:02x?}", &payload[..12]);
            assert!(payload.ends_with(event.raw()));
        };
        check(0, &[0xc4, 11]);
        check(245, &[0xc5, 1, 0]);
        check(0x10000, &[0xc6, 0, 1, 0, 11]);
    }
}
