//! The way in, whole: a frame from Slack becomes a message on the app's channel `slack.<type>`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use djangobot_channels::ChannelName;
use djangobot_channels::name::MAX_NAME_LENGTH;
use djangobot_event::Event;
use djangobot_slack::{BadFrame, Frame, Incoming, Session};
use metrics::Counter;
use tokio::sync::{mpsc, watch};

use super::Tap;
use super::delivery::Deliveries;
use super::envelope::{Envelope, Receipt};
use super::roster::RosterKeeper;
use crate::listener::Readiness;
use crate::metrics::Metrics;

/// Distinct event types that get a channel of their own; Slack has about 120.
const MAX_TYPES: usize = 1_000;

/// Takes what a transport hands out and puts it on the layer.
pub(crate) struct Inbound {
    pub(crate) envelope: Envelope,
    pub(crate) deliveries: Deliveries,
    pub(crate) roster: Arc<RosterKeeper>,
    /// Told of each session with Slack.
    pub(crate) sessions: watch::Sender<Option<Session>>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    /// Where the app's messages for Slack come from, and so no event may go to.
    pub(crate) send_channel: ChannelName,
    /// By Slack's type.
    pub(crate) routes: HashMap<Box<str>, Route>,
    /// What was logged already and is from then on only counted.
    pub(crate) told: HashSet<String>,
}

/// Where events of one type go.
pub(crate) struct Route {
    channel: ChannelName,
    events: Counter,
}

/// Why a frame was not forwarded. The word is a label of a metric, the sentence is logged.
struct Unfit {
    reason: &'static str,
    sentence: String,
}

impl Inbound {
    /// Forwards until the transport ends, then returns what may still wait for the layer.
    pub(crate) async fn run(mut self, mut incoming: mpsc::Receiver<Incoming>) -> Deliveries {
        while let Some(arrival) = incoming.recv().await {
            match arrival {
                Incoming::Connected(session) => self.connected(session),
                Incoming::Frame(frame) => {
                    if let Err(unfit) = self.forward(frame).await {
                        self.refuse(&unfit);
                    }
                }
                Incoming::Disconnected { .. } => {
                    self.readiness.slack.store(false, Ordering::Relaxed);
                    self.metrics.connected().set(0.0);
                    self.metrics.reconnects().increment(1);
                }
            }
        }
        self.deliveries
    }

    /// One event's whole way in.
    async fn forward(&mut self, frame: Frame) -> Result<(), Unfit> {
        // Parsed once, by the transport; what is no JSON object ends here, the connection goes on.
        let event = frame.event.map_err(|error| Unfit {
            reason: match error {
                BadFrame::Unreadable { .. } => "unreadable",
                BadFrame::TooLong { .. } => "too_long",
            },
            sentence: error.to_string(),
        })?;
        let kind = match event.text("/type") {
            // No longer than a channel's name can be: it is a metric's label and a key of ours.
            Some(kind) if !kind.is_empty() => {
                kind.chars().take(MAX_NAME_LENGTH).collect::<String>()
            }
            _ => {
                return Err(Unfit {
                    reason: "no_type",
                    sentence: "a frame has no \"type\"".into(),
                });
            }
        };
        self.note_oddities(&kind, &event);
        self.roster.apply(&event);

        // Plugins, inbound, stand here: between what Slack said and where it goes.

        let route = self.route(&kind)?;
        route.events.increment(1);
        let channel = route.channel.clone();
        let receipt = Receipt {
            received: frame.received,
            attempt: 1,
        };
        let id = self.envelope.id(&kind, &event, &receipt);
        let message = self
            .envelope
            .wrap(event, &id, &channel, &receipt, &self.roster)
            .await
            .map_err(|error| Unfit {
                reason: "edit",
                sentence: error.to_string(),
            })?;
        tracing::debug!(%id, r#type = kind, %channel, "event received");
        if let Some(tap) = &self.tap {
            tap.event(&channel, message.event());
        }
        self.deliveries
            .push(&channel, &message, frame.arrived, id)
            .await;
        Ok(())
    }

    /// The channel for `kind`, found once for each type.
    fn route(&mut self, kind: &str) -> Result<&Route, Unfit> {
        if !self.routes.contains_key(kind) {
            if self.routes.len() >= MAX_TYPES {
                let sentence =
                    format!("there are over {MAX_TYPES} event types; {kind:.40?} gets no channel");
                return Err(Unfit {
                    reason: "too_many_types",
                    sentence,
                });
            }
            let (channel, exact) = channel_for(kind, &self.send_channel)?;
            if !exact {
                tracing::warn!(r#type = kind, %channel, "the type is no channel name; its events go to a name made of it");
            }
            let events = self.metrics.events(kind);
            self.routes.insert(kind.into(), Route { channel, events });
        }
        let route = self.routes.get(kind).ok_or_else(|| Unfit {
            reason: "no_route",
            sentence: kind.to_owned(),
        })?;
        if route.channel.as_str().strip_prefix("slack.") != Some(kind) {
            self.metrics.odd_events("type").increment(1);
        }
        Ok(route)
    }

    fn connected(&mut self, session: Session) {
        self.readiness.slack.store(true, Ordering::Relaxed);
        self.metrics.connected().set(1.0);
        self.envelope.set_team(&session.team_id);
        self.sessions.send_replace(Some(session));
    }

    /// What is odd in an event and is forwarded all the same is counted, and told once for each type.
    fn note_oddities(&mut self, kind: &str, event: &Event) {
        let notes = event.notes();
        let oddities = [
            (notes.duplicate_keys, "duplicate_keys"),
            (notes.big_integers, "big_integers"),
            (notes.lone_surrogates, "lone_surrogates"),
        ];
        for (_, oddity) in oddities.into_iter().filter(|(is, _)| *is) {
            self.metrics.odd_events(oddity).increment(1);
            if self.told.len() < MAX_TYPES && self.told.insert(format!("{oddity} {kind}")) {
                tracing::warn!(
                    r#type = kind,
                    oddity,
                    "an event has something odd in it; it is forwarded (told once)"
                );
            }
        }
    }

    /// What could not be forwarded is counted, and told once for each reason; debug logs tell each.
    fn refuse(&mut self, unfit: &Unfit) {
        self.metrics.bad_events(unfit.reason).increment(1);
        if self.told.insert(unfit.reason.to_owned()) {
            tracing::warn!(
                reason = unfit.reason,
                "a frame from Slack was not forwarded: {} (told once; djangobot_bad_events_total counts)",
                unfit.sentence
            );
        } else {
            tracing::debug!(
                reason = unfit.reason,
                "a frame from Slack was not forwarded: {}",
                unfit.sentence
            );
        }
    }
}

/// The channel of a Slack type, and whether it is the type's own name: what no channel may be called is made fit, and
/// what the app sends to Slack through is kept clear of events.
fn channel_for(kind: &str, send_channel: &ChannelName) -> Result<(ChannelName, bool), Unfit> {
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
        name.push('_');
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
}
