//! For the fuzz targets: what a message asks for, where it goes, and where an event goes.

use bytes::Bytes;
use djangobot_channels::ChannelName;
use djangobot_event::Event;
use serde_json::Value;

use crate::bridge::inbound::gaps::forms::Forms;
use crate::bridge::inbound::gaps::gap_fill;
use crate::bridge::inbound::{answers, routing};
use crate::bridge::outbound::post::destination::Destination;
use crate::bridge::outbound::request::Rules;
use crate::config::HistoryEvent;

/// A call of the Web API: method, arguments, and the conversation as it was named.
pub type Asked = (&'static str, Value, Option<String>);

/// What a message of the app asks for, or the code and the sentence with which it is refused; and where that goes.
pub fn request(message: &Event) -> (Option<ChannelName>, Result<Asked, (String, String)>) {
    let rules = Rules {
        methods: vec![
            "chat.*".into(),
            "conversations.open".into(),
            "files.*".into(),
        ],
        default_channel: "general".into(),
        max_age: None,
        max_file_bytes: 1 << 20,
    };
    let (reply, request) = rules.read(message);
    let asked = request
        .map(|it| (it.method.name, Value::Object(it.arguments), it.channel))
        .map_err(|refusal| (refusal.error, refusal.detail));
    (reply.channel, asked)
}

/// What Slack gets of an answer to a command or a click, as JSON, or the code and the sentence with which it is
/// refused.
pub fn answer(message: &Event) -> Result<Bytes, (String, String)> {
    answers::body_of(message).map_err(|refusal| (refusal.error, refusal.detail))
}

/// The channel of a Slack type where the app sends through `send_channel`.
pub fn channel_of(kind: &str, send_channel: &ChannelName) -> Option<ChannelName> {
    let found = routing::channel_for(kind, send_channel);
    found.ok().map(|route| route.channel)
}

/// The one text for all the ways in which a conversation or a user is written.
pub fn destination(text: &str) -> String {
    Destination::read(text).key()
}

/// What would have come live of messages of a history, where the app is given messages and mentions of this bot.
pub fn events_of_history(messages: Vec<Event>, me: &str) -> Vec<Event> {
    let forms = Forms {
        events: vec![HistoryEvent::Channels, HistoryEvent::Mention],
        has_channel_type: true,
        me: me.to_owned(),
    };
    forms.events(messages, HistoryEvent::Channels)
}

/// What a history has and what came live meanwhile, in one order, and which of it is the history's.
pub fn merged_with_history(history: Vec<Event>, live: Vec<Event>) -> Vec<(Event, bool)> {
    let live = live.into_iter().map(gap_fill::frame_from_history).collect();
    let merged = gap_fill::merge(history, live).into_iter();
    merged
        .filter_map(|it| Some((it.frame.event.ok()?, it.is_from_history)))
        .collect()
}
