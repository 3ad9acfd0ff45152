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
        let wrapper = origin.wrapper.as_ref().map(without_our_keys);
        if let Some(wrapper) = wrapper.as_deref().and_then(|it| it.strip_prefix(b"{"))
            && !wrapper.trim_ascii_start().starts_with(b"}")
            && about.pop().is_some()
        {
            about.push(b',');
            about.extend_from_slice(wrapper);
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
fn without_our_keys(wrapper: &Bytes) -> Cow<'_, [u8]> {
    let has = |key: &&str| {
        let mut words = wrapper.split(|byte| *byte == b'"');
        words.any(|word| word == key.as_bytes())
    };
    if !OUR_KEYS.iter().any(has) {
        return Cow::Borrowed(wrapper);
    }
    // The word may also be a key further in, or a value: parse to know.
    let Ok(mut members) = Event::parse(wrapper.clone()) else {
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
mod tests;
