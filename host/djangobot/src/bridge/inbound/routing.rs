//! Where an event goes: the type that it is routed by, and the channel of a type.

use djangobot_channels::ChannelName;
use djangobot_channels::name::MAX_NAME_LENGTH;
use djangobot_event::Event;
use djangobot_slack::{BadFrame, Origin};

/// Why a frame was not forwarded. The word is a label of a metric, the sentence is logged.
pub(crate) struct Unfit {
    pub(crate) reason: &'static str,
    pub(crate) sentence: String,
}

/// An event and the type that it is routed by; no longer than a channel's name can be: it is a metric's label and a key of
/// ours.
pub(crate) fn fit(
    event: Result<Event, BadFrame>,
    origin: &Origin,
) -> Result<(String, Event), Unfit> {
    let event = event.map_err(|error| Unfit {
        reason: match error {
            BadFrame::Unreadable { .. } => "unreadable",
            BadFrame::TooLong { .. } => "too_long",
        },
        sentence: error.to_string(),
    })?;
    let kind = origin.kind.clone().or_else(|| event.text("/type"));
    match kind {
        Some(kind) if !kind.is_empty() => Ok((kind.chars().take(MAX_NAME_LENGTH).collect(), event)),
        _ => Err(Unfit {
            reason: "no_type",
            sentence: "a frame has no \"type\"".into(),
        }),
    }
}

/// The channel of a Slack type, and whether it is the type's own name: what no channel may be called is made fit, and
/// what the app sends to Slack through is kept clear of events.
pub(crate) fn channel_for(
    kind: &str,
    send_channel: &ChannelName,
) -> Result<(ChannelName, bool), Unfit> {
    if let Ok(channel) = ChannelName::new(&format!("slack.{kind}"))
        && !channel.is_process_local()
        && channel != *send_channel
    {
        return Ok((channel, true));
    }
    let fit = |c: char| match c {
        '-' | '_' | '.' => c,
        _ if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    let mut name: String = "slack."
        .chars()
        .chain(kind.chars().map(fit))
        .take(MAX_NAME_LENGTH)
        .collect();
    if name == send_channel.as_str() {
        name.truncate(MAX_NAME_LENGTH - 1);
        // Of the longest name, an underscore may be what was just cut off.
        name.push(match send_channel.as_str().ends_with('_') {
            true => '-',
            false => '_',
        });
    }
    match ChannelName::new(&name) {
        Ok(channel) => Ok((channel, false)),
        Err(error) => Err(Unfit {
            reason: "type",
            sentence: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_no_channel_name_is_made_one() {
        let check = |kind: &str, expect: &str, exact: bool| {
            let send = ChannelName::new("slack.send").unwrap();
            let Ok((channel, was)) = channel_for(kind, &send) else {
                panic!("{kind:?} got no channel")
            };
            assert_eq!((channel.as_str(), was), (expect, exact), "{kind:?}");
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
            let Ok((channel, _)) = channel_for(&kind, &send) else {
                panic!("{kind:?} got no channel")
            };
            assert_ne!(channel, send, "{kind:?}");
        }
    }
}
