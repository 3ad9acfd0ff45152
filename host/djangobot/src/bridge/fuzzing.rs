//! Entry points for the fuzz targets: reading messages and answers, routing events, and merging history.

use bytes::Bytes;
use djangobot_channels::ChannelName;
use djangobot_event::Event;
use serde_json::Value;

use crate::bridge::inbound::gaps::forms::Forms;
use crate::bridge::inbound::gaps::gap_fill;
use crate::bridge::inbound::{answers, routing};
use crate::bridge::outbound::post::destination::Destination;
use crate::bridge::outbound::request::Rules;
use crate::bridge::reply::SendFailure;
use crate::config::HistoryEvent;

/// A call of the Web API that a message asks for.
#[derive(Debug, PartialEq)]
pub struct RequestedCall {
    /// The name of the method.
    pub method: &'static str,
    /// The arguments, as an object.
    pub arguments: Value,
    /// The conversation, as the message named it.
    pub channel: Option<String>,
}

/// The refusal of a message or an answer.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    /// The code.
    pub error: String,
    /// The sentence for the app's developer.
    pub detail: String,
}

impl From<SendFailure> for Refusal {
    fn from(SendFailure { error, detail }: SendFailure) -> Self {
        Self { error, detail }
    }
}

/// The call that a message of the app asks for.
///
/// # Errors
///
/// Fails if the message is refused.
pub fn request(message: &Event) -> Result<RequestedCall, Refusal> {
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
    let (_, request) = rules.read(message);
    let request = request?;
    Ok(RequestedCall {
        method: request.method.name,
        arguments: Value::Object(request.arguments),
        channel: request.channel,
    })
}

/// The JSON that Slack gets of an answer to a command or a click.
///
/// # Errors
///
/// Fails if the answer is refused.
pub fn answer(message: &Event) -> Result<Bytes, Refusal> {
    Ok(answers::body_of(message)?)
}

/// The channel of events of Slack's type `kind`, if the app sends through `send_channel`.
pub fn channel_of(kind: &str, send_channel: &ChannelName) -> Option<ChannelName> {
    let found = routing::channel_for(kind, send_channel);
    found.ok().map(|route| route.channel)
}

/// The one spelling for all ways to write a conversation or a user.
pub fn destination(text: &str) -> String {
    Destination::read(text).key()
}

/// The events that would have come live of messages of a history, for an app that gets messages and mentions of this
/// bot.
pub fn events_of_history(messages: Vec<Event>, me: &str) -> Vec<Event> {
    let forms = Forms {
        events: vec![HistoryEvent::Channels, HistoryEvent::Mention],
        has_channel_type: true,
        me: me.to_owned(),
    };
    forms.events(messages, HistoryEvent::Channels)
}

/// Messages of a history and live events in one order, each with whether it is from the history.
pub fn merged_with_history(history: Vec<Event>, live: Vec<Event>) -> Vec<(Event, bool)> {
    let live = live.into_iter().map(gap_fill::frame_from_history).collect();
    let merged = gap_fill::merge(history, live).into_iter();
    merged
        .filter_map(|it| Some((it.frame.event.ok()?, it.is_from_history)))
        .collect()
}
