//! Delivery by signed requests to the app's URL (<https://docs.slack.dev/authentication/verifying-requests-from-slack>).
//!
//! What has the same lane, a conversation for example, is posted one after another; retries may come between.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use serde_json::Value;
use tokio::sync::Notify;

use super::{Deliveries, Parcel, Pending};
use crate::core::Core;
use crate::fault::{Happening, Occasion};
use crate::lock;
use crate::state::workspace::now_micros;

mod line;

pub(crate) use line::{Answer, Line, Refused, Target};

/// So many requests are under way at a time.
pub(crate) const LANES: usize = 16;
/// By so much the next one in the lane overtakes one that is to be reordered.
const OVERTAKEN_BY: Duration = Duration::from_millis(20);

/// The app's side of HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    target: Mutex<Option<Target>>,
    secret: String,
    lanes: Vec<Lane>,
    queued: AtomicUsize,
}

#[derive(Debug, Default)]
struct Lane {
    queue: Mutex<VecDeque<Pending>>,
    pushed: Notify,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Posted {
    Taken {
        status: u16,
        body: Option<Value>,
    },
    Failed {
        reason: &'static str,
        status: Option<u16>,
        /// Whether it is to be tried again; the app can forbid it.
        again: bool,
    },
}

/// A body and its type.
pub(crate) struct Content {
    pub(crate) kind: &'static str,
    pub(crate) body: Bytes,
}

impl Content {
    pub(crate) fn json(body: Bytes) -> Content {
        let kind = "application/json";
        Content { kind, body }
    }

    pub(crate) fn form(fields: &[(&str, &str)]) -> Content {
        let mut form = Serializer::new(String::new());
        form.extend_pairs(fields);
        Content {
            kind: "application/x-www-form-urlencoded",
            body: Bytes::from(form.finish()),
        }
    }

    fn of(parcel: &Parcel) -> Content {
        match &*parcel.kind {
            "slash_commands" => {
                let fields: Value = serde_json::from_slice(&parcel.payload).unwrap_or_default();
                let fields = fields.as_object().into_iter().flatten();
                let fields: Vec<(&str, &str)> = fields
                    .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
                    .collect();
                Content::form(&fields)
            }
            "interactive" => {
                let payload = String::from_utf8_lossy(&parcel.payload);
                Content::form(&[("payload", &payload)])
            }
            _ => Content::json(parcel.payload.clone()),
        }
    }

    fn broken_off(self) -> Content {
        let half = self.body.len() / 2;
        Content {
            body: self.body.slice(..half),
            ..self
        }
    }
}

impl Http {
    pub(super) fn new(secret: &str) -> Http {
        Http {
            target: Mutex::default(),
            secret: secret.to_owned(),
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            queued: AtomicUsize::new(0),
        }
    }

    /// Where requests go from now on.
    pub(crate) fn aim(&self, target: Option<Target>) {
        *lock(&self.target) = target;
    }

    pub(crate) fn target(&self) -> Option<Target> {
        lock(&self.target).clone()
    }

    pub(crate) fn is_used(&self) -> bool {
        lock(&self.target).is_some()
    }

    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn post(&self, pending: Pending) {
        let lane = &self.lanes[(pending.parcel.lane_number() % LANES as u64) as usize];
        self.queued.fetch_add(1, Ordering::Relaxed);
        lock(&lane.queue).push_back(pending);
        lane.pushed.notify_one();
    }

    async fn next(&self, lane: usize) -> Pending {
        let lane = &self.lanes[lane];
        loop {
            if let Some(pending) = lock(&lane.queue).pop_front() {
                return pending;
            }
            lane.pushed.notified().await;
        }
    }
}

/// Posts what comes into a lane, for as long as the server runs.
pub(super) async fn work(core: Arc<Core>, lane: usize) {
    let mut line = Line::default();
    loop {
        let pending = core.deliveries.http.next(lane).await;
        carry(&core, &mut line, pending).await;
        core.deliveries.http.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn carry(core: &Core, line: &mut Line, mut pending: Pending) {
    let deliveries = &core.deliveries;
    let befell = match pending.was_delayed {
        true => None,
        false => lock(&deliveries.faults).draw(Occasion::Send),
    };
    let delay = match befell {
        Some(Happening::Delay { ms }) => Some(Duration::from_millis(ms)),
        Some(Happening::Reorder) => Some(OVERTAKEN_BY),
        _ => None,
    };
    if let Some(delay) = delay {
        pending.was_delayed = true;
        return deliveries.post_later(pending, delay);
    }
    deliveries.posting(&mut pending);
    let lost = || Posted::Failed {
        reason: "http_timeout",
        status: None,
        again: true,
    };
    let mut content = Content::of(&pending.parcel);
    let retry = (pending.retry > 0).then_some((pending.retry, pending.reason));
    let outcome = match befell {
        Some(Happening::Lose) => lost(),
        Some(Happening::Drop) => {
            line::post_and_leave(core, &content, retry).await;
            lost()
        }
        _ => {
            if befell == Some(Happening::Garble) {
                content = content.broken_off();
            }
            let twice = befell == Some(Happening::Duplicate);
            if twice {
                Deliveries::note_duplicate(&pending);
                // What became of the first of two does not matter.
                line.post(core, &content, retry).await.ok();
            }
            let answered = line.post(core, &content, retry).await;
            let ack = lock(&deliveries.faults).draw(Occasion::Ack);
            match (answered, befell, ack) {
                (_, Some(Happening::Freeze { .. }), _) | (Ok(_), _, Some(_)) => lost(),
                (answered, ..) => judged(answered),
            }
        }
    };
    deliveries.posted(core, pending, outcome);
}

/// What an answer means.
fn judged(answered: Result<Answer, Refused>) -> Posted {
    let answer = match answered {
        Ok(answer) => answer,
        Err(refused) => {
            return Posted::Failed {
                reason: refused.reason(),
                status: None,
                again: true,
            };
        }
    };
    if !(200..300).contains(&answer.status) {
        return Posted::Failed {
            reason: "http_error",
            status: Some(answer.status),
            again: !answer.no_retry,
        };
    }
    let text = || Value::String(String::from_utf8_lossy(&answer.body).into_owned());
    Posted::Taken {
        status: answer.status,
        body: (!answer.body.is_empty())
            .then(|| serde_json::from_slice(&answer.body).unwrap_or_else(|_| text())),
    }
}

/// Seconds since 1970, as a request's timestamp has them.
pub(crate) fn timestamp() -> u64 {
    now_micros() / 1_000_000
}
