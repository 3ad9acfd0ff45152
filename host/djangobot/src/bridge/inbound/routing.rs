//! Routing: the type by which an event is routed, and the channel of a type.

use std::collections::HashMap;

use djangobot_channels::ChannelName;
use djangobot_channels::name::MAX_NAME_LENGTH;
use djangobot_event::Event;
use djangobot_slack::{BadFrame, Origin};

use crate::bridge::inbound::types::{MAX_ODD, is_documented};

/// A frame that is not forwarded. The reason is a label of a metric, the sentence is logged.
pub(crate) struct RejectedFrame {
    pub(crate) reason: &'static str,
    pub(crate) sentence: String,
}

/// The channel of a type.
pub(crate) struct Route {
    pub(crate) channel: ChannelName,
    /// Whether the channel has the type's own name.
    pub(crate) is_exact: bool,
}

/// The routes of the types that came, remembered.
pub(crate) struct Routes {
    /// The channel of the app's messages for Slack, to which no event may go.
    send_channel: ChannelName,
    /// Channels by Slack's type.
    channels: HashMap<Box<str>, ChannelName>,
}

impl Routes {
    pub(crate) fn new(send_channel: ChannelName) -> Self {
        Self {
            send_channel,
            channels: HashMap::new(),
        }
    }

    /// The channel of Slack's type `kind`. Those of odd types are remembered until there are too many.
    ///
    /// # Errors
    ///
    /// Fails if no channel's name can be made of the type.
    pub(crate) fn channel(&mut self, kind: &str) -> Result<ChannelName, RejectedFrame> {
        if let Some(channel) = self.channels.get(kind) {
            return Ok(channel.clone());
        }
        let Route { channel, is_exact } = channel_for(kind, &self.send_channel)?;
        if !is_exact {
            tracing::warn!(r#type = kind, %channel, "the event type is not a valid channel name; its events go to {channel}");
        }
        if self.channels.len() >= MAX_ODD {
            self.channels.retain(|kind, _| is_documented(kind));
        }
        self.channels.insert(kind.into(), channel.clone());
        Ok(channel)
    }
}

/// Reads the event of a frame, and the type by which it is routed. The type is cut to the length of a channel's name,
/// because it becomes a label of metrics and a key of maps.
///
/// # Errors
///
/// Fails if the frame is not a JSON object, or if it has no type.
pub(crate) fn classify(
    event: Result<Event, BadFrame>,
    origin: &Origin,
) -> Result<(String, Event), RejectedFrame> {
    let event = event.map_err(|error| RejectedFrame {
        reason: match error {
            BadFrame::Unreadable { .. } => "unreadable",
            BadFrame::TooLong { .. } => "too_long",
        },
        sentence: error.to_string(),
    })?;
    let kind = origin.kind.clone().or_else(|| event.text("/type"));
    match kind {
        Some(kind) if !kind.is_empty() => Ok((kind.chars().take(MAX_NAME_LENGTH).collect(), event)),
        _ => Err(RejectedFrame {
            reason: "no_type",
            sentence: "a frame has no \"type\"".into(),
        }),
    }
}

/// The channel of Slack's type `kind`. Characters that a channel's name can't have become underscores. No event goes to
/// `send_channel`: the app would send it back to Slack.
///
/// # Errors
///
/// Fails if no channel's name can be made of the type.
pub(crate) fn channel_for(kind: &str, send_channel: &ChannelName) -> Result<Route, RejectedFrame> {
    if let Ok(channel) = ChannelName::new(&format!("slack.{kind}"))
        && !channel.is_process_local()
        && channel != *send_channel
    {
        return Ok(Route {
            channel,
            is_exact: true,
        });
    }
    let valid = |c: char| match c {
        '-' | '_' | '.' => c,
        _ if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    let mut name: String = "slack."
        .chars()
        .chain(kind.chars().map(valid))
        .take(MAX_NAME_LENGTH)
        .collect();
    if name == send_channel.as_str() {
        name.truncate(MAX_NAME_LENGTH - 1);
        // If the name was cut, the character that was cut off may be an underscore, which would make it the same again.
        name.push(match send_channel.as_str().ends_with('_') {
            true => '-',
            false => '_',
        });
    }
    match ChannelName::new(&name) {
        Ok(channel) => Ok(Route {
            channel,
            is_exact: false,
        }),
        Err(error) => Err(RejectedFrame {
            reason: "type",
            sentence: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_not_a_channel_name_becomes_one() {
        let check = |kind: &str, expect: &str, exact: bool| {
            let send = ChannelName::new("slack.send").unwrap();
            let Ok(route) = channel_for(kind, &send) else {
                panic!("{kind:?} got no channel")
            };
            let found = (route.channel.as_str(), route.is_exact);
            assert_eq!(found, (expect, exact), "{kind:?}");
        };
        check("message", "slack.message", true);
        check("we/ird type", "slack.we_ird_type", false);
        check("a!b", "slack.a_b", false);
        check("send", "slack.send_", false);
        check("étoile", "slack._toile", false);
        check(
            &"x".repeat(200),
            &format!("slack.{}", "x".repeat(93)),
            false,
        );
    }

    #[test]
    fn no_event_goes_where_the_app_sends_however_long_that_name_is() {
        let send = ChannelName::new(&format!("slack.{}_", "x".repeat(92))).unwrap();
        for kind in ["x".repeat(92) + "_", "x".repeat(92) + "!", "x".repeat(93)] {
            let Ok(route) = channel_for(&kind, &send) else {
                panic!("{kind:?} got no channel")
            };
            assert_ne!(route.channel, send, "{kind:?}");
        }
    }
}
