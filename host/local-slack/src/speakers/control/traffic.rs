//! Numbered events for the app, through Socket Mode or HTTP, and how they were acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::delivery::{Latency, Parcel, Route, Tally, wrapper};
use crate::lock::lock;
use crate::speakers::control::handle::Control;
use crate::speakers::control::template::{self, Template};
use crate::state::ts::now;
use crate::state::workspace::Post;

/// The traffic to send: messages whose texts begin with `message 0000000000`, and count up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traffic {
    /// How many.
    pub events: u64,
    /// The first one's number.
    pub first: u64,
    /// About how many bytes of JSON each event has, without its wrapper; never less than about 300.
    pub bytes: usize,
    /// Over how many channels they go in turn; no more than the bot is in.
    pub channels: usize,
    /// At most so many a second; `None` for as fast as they are acknowledged.
    pub per_second: Option<u64>,
    /// So many at most are neither acknowledged nor given up; 0 for no limit.
    pub open: u64,
    /// How they reach the app; `None` for as other events do.
    pub through: Option<Through>,
    /// Whether they are posted as a person's messages are: `conversations.history` has them, and sockets of RTM get
    /// them, too. `through` does not matter then, and the bytes are those of the text.
    pub posted: bool,
}

/// How events reach the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// In envelopes, to its connections in turn.
    SocketMode,
    /// In requests to its URL.
    Http,
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic {
            events: 10_000,
            first: 0,
            bytes: 500,
            channels: 1,
            per_second: None,
            open: 10_000,
            through: None,
            posted: false,
        }
    }
}

/// The outcome of traffic. Moments are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How many were sent.
    pub events: u64,
    /// The app has acknowledged them.
    pub acknowledged: u64,
    /// All attempts failed.
    pub given_up: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Envelopes that a fault has sent twice.
    pub duplicates: u64,
    /// Acknowledgements that nothing waited for, of whatever was sent meanwhile.
    pub stray_acks: u64,
    /// When the first was sent.
    pub started_at: f64,
    /// When the last was sent, for the first time.
    pub sent_at: f64,
    /// From the first one's sending to the last one's acknowledgement or end, in seconds.
    pub seconds: f64,
    /// How long acknowledgements took, of the attempts that were acknowledged.
    pub latency: Latency,
}

impl Control {
    /// Sends numbered events to the app, and returns once each is acknowledged or given up.
    pub async fn traffic(&self, traffic: Traffic) -> Report {
        send(&self.core, traffic).await
    }
}

async fn send(core: &Core, traffic: Traffic) -> Report {
    let tally = Arc::new(Tally::default());
    let strays = core.deliveries.stray_acks();
    let source = Source::new(core, &traffic);
    let (started_at, start) = (now(), Instant::now());
    let mut sent = 0;
    while sent < traffic.events && !source.is_empty() {
        let due = match traffic.per_second {
            None => traffic.events,
            Some(rate) => {
                let rate = rate.max(1) as f64;
                let at = start + Duration::from_secs_f64(sent as f64 / rate);
                tokio::time::sleep_until(at.into()).await;
                (start.elapsed().as_secs_f64() * rate) as u64 + 1
            }
        };
        let until = traffic.events.min(due.max(sent + 1));
        while sent < until {
            if traffic.open > 0 {
                tally.at_most(traffic.open - 1).await;
            }
            source.send(core, traffic.first + sent, &tally);
            sent += 1;
            // Others have a turn, the sockets' writers among them.
            if sent.is_multiple_of(64) {
                tokio::task::yield_now().await;
            }
        }
    }
    let sent_at = now();
    tally.at_most(0).await;
    let sums = tally.sums();
    Report {
        events: sent,
        acknowledged: sums.acknowledged,
        given_up: sums.given_up,
        retries: sums.retries,
        duplicates: sums.duplicates,
        stray_acks: core.deliveries.stray_acks() - strays,
        started_at,
        sent_at,
        seconds: start.elapsed().as_secs_f64(),
        latency: sums.latency,
    }
}

/// Where the events come from.
enum Source {
    /// Posts in these conversations, with words of so many bytes.
    Posts(Vec<usize>, usize),
    /// Events in their wrappers, in the channels with these ids.
    Events(Vec<(String, Template)>, Route),
}

impl Source {
    fn new(core: &Core, traffic: &Traffic) -> Self {
        // The text that Socket Mode and HTTP add to a message.
        let added = r#","channel_type":"channel""#.len();
        let bytes = traffic.bytes.saturating_sub(added);
        let mut workspace = lock(&core.workspace);
        let messages = template::messages(&workspace, traffic.channels, bytes);
        if traffic.posted {
            let found = messages
                .iter()
                .filter_map(|(id, _)| workspace.conversation(id));
            return Source::Posts(found.collect(), traffic.bytes);
        }
        let route = match traffic.through {
            Some(Through::SocketMode) => Route::SocketMode,
            Some(Through::Http) => Route::Http,
            None => core.deliveries.route(),
        };
        let events = messages.into_iter().map(|(id, mut message)| {
            message["channel_type"] = "channel".into();
            let event_id = workspace.next_event_id();
            let whole = wrapper::event_callback_json(&workspace, &event_id, message);
            (id, Template::new(whole.to_string().into_bytes()))
        });
        Source::Events(events.collect(), route)
    }

    fn is_empty(&self) -> bool {
        match self {
            Source::Posts(conversations, _) => conversations.is_empty(),
            Source::Events(templates, _) => templates.is_empty(),
        }
    }

    fn send(&self, core: &Core, number: u64, tally: &Arc<Tally>) {
        match self {
            Source::Posts(conversations, bytes) => {
                let conversation = conversations[(number % conversations.len() as u64) as usize];
                core.change_counted(Some(tally), |workspace| {
                    let user = workspace.installer;
                    workspace.conversations[conversation].join(user);
                    workspace.post(Post {
                        user,
                        conversation,
                        text: template::text(number, *bytes),
                        ..Post::default()
                    });
                });
            }
            Source::Events(templates, route) => {
                let (channel, template) = &templates[(number % templates.len() as u64) as usize];
                let (ts, event_id) = {
                    let mut workspace = lock(&core.workspace);
                    (workspace.tick(), workspace.next_event_number())
                };
                let mut payload = BytesMut::with_capacity(template.len());
                template.write(number, ts, event_id, &mut payload);
                let parcel = Parcel::event(payload.freeze()).in_lane(channel.clone());
                core.deliveries
                    .submit_tallied(parcel, *route, tally.clone());
            }
        }
    }
}
