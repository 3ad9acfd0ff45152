//! The records of deliveries, kept to be listed and awaited.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::delivery::parcel::Parcel;
use crate::delivery::pending::{Pending, Route};
use crate::lock::lock;
use crate::state::connection::ConnectionId;
use crate::state::ts::now;

/// A delivery to the app.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivery {
    /// Counts up from 0 over the server's life.
    pub number: u64,
    /// `socket-mode` or `http`.
    pub through: &'static str,
    /// The envelope's type: `events_api`, `slash_commands`, `interactive`.
    pub kind: String,
    /// `Ev...`, where it is an event; the same in each attempt.
    pub event_id: Option<String>,
    /// As Slack's envelope or request holds it.
    pub payload: Value,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    /// Its outcome.
    pub outcome: Outcome,
}

/// One attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    /// The id of its envelope; over HTTP it stands in no request.
    pub envelope_id: String,
    /// Which socket it was sent on; `None` over HTTP, and where none was open.
    pub connection: Option<ConnectionId>,
    /// 0 for the first.
    pub retry: u32,
    /// When it was sent, in seconds since 1970.
    pub sent_at: f64,
    /// The time to the acknowledgement, in milliseconds, where it came in time.
    pub latency_ms: Option<f64>,
    /// How many acknowledgements came when this was acknowledged, or had failed, before.
    pub late_acks: u64,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// The app's answer: the acknowledgement's payload, or the body; JSON is parsed.
    pub response: Option<Value>,
    /// Why it failed: `timeout`; over HTTP `http_timeout`, `http_error` or `connection_failed`.
    pub failed: Option<&'static str>,
}

/// The outcome of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It waits for an acknowledgement or for its next attempt.
    Open,
    /// The app has it.
    Acknowledged,
    /// All attempts failed.
    GivenUp,
}

#[derive(Debug)]
pub(crate) struct Records {
    kept: Mutex<VecDeque<Record>>,
    keep: usize,
    next: std::sync::atomic::AtomicU64,
}

#[derive(Debug)]
struct Record {
    /// Without its payload, which is read only when it is asked for.
    delivery: Delivery,
    payload: Bytes,
}

impl Records {
    pub(super) fn new(keep: usize) -> Self {
        Records {
            kept: Mutex::default(),
            keep: keep.max(1),
            next: Default::default(),
        }
    }

    pub(super) fn begin(&self, parcel: &Parcel, route: Route) -> u64 {
        let mut kept = lock(&self.kept);
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if kept.len() == self.keep {
            kept.pop_front();
        }
        kept.push_back(Record {
            delivery: Delivery {
                number,
                through: route.name(),
                kind: parcel.kind.clone().into_owned(),
                event_id: parcel.event_id.clone(),
                payload: Value::Null,
                attempts: Vec::new(),
                outcome: Outcome::Open,
            },
            payload: parcel.payload.clone(),
        });
        number
    }

    pub(super) fn attempted(
        &self,
        number: u64,
        envelope_id: String,
        connection: Option<ConnectionId>,
        pending: &Pending,
    ) {
        self.change(number, |delivery| {
            delivery.attempts.push(Attempt {
                envelope_id,
                connection,
                retry: pending.retry,
                sent_at: now(),
                latency_ms: None,
                late_acks: 0,
                status: None,
                response: None,
                failed: None,
            });
        });
    }

    pub(super) fn acknowledged(
        &self,
        number: u64,
        latency: Duration,
        status: Option<u16>,
        response: Option<Value>,
    ) {
        self.change(number, |delivery| {
            delivery.outcome = Outcome::Acknowledged;
            if let Some(attempt) = delivery.attempts.last_mut() {
                attempt.latency_ms = Some(latency.as_secs_f64() * 1000.0);
                attempt.status = status;
                attempt.response = response;
            }
        });
    }

    pub(super) fn answered(&self, number: u64, status: Option<u16>) {
        self.change(number, |delivery| {
            if let Some(attempt) = delivery.attempts.last_mut() {
                attempt.status = status;
            }
        });
    }

    pub(super) fn failed(&self, number: u64, reason: &'static str) {
        self.change(number, |delivery| {
            if let Some(attempt) = delivery.attempts.last_mut() {
                attempt.failed = Some(reason);
            }
        });
    }

    pub(super) fn given_up(&self, number: u64) {
        self.change(number, |delivery| delivery.outcome = Outcome::GivenUp);
    }

    /// Notes an acknowledgement that nobody waited for; returns whether its delivery has a record.
    pub(super) fn late(&self, envelope_id: &str) -> bool {
        let mut kept = lock(&self.kept);
        // It is likely one of the newest.
        let attempts = kept.iter_mut().rev();
        let mut attempts = attempts.flat_map(|record| record.delivery.attempts.iter_mut());
        match attempts.find(|attempt| attempt.envelope_id == envelope_id) {
            Some(attempt) => {
                attempt.late_acks += 1;
                true
            }
            None => false,
        }
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Delivery)) {
        let mut kept = lock(&self.kept);
        let first = kept.front().map_or(0, |record| record.delivery.number);
        let place = number.checked_sub(first).map(|place| place as usize);
        if let Some(record) = place.and_then(|place| kept.get_mut(place)) {
            change(&mut record.delivery);
        }
    }

    pub(crate) fn all(&self) -> Vec<Delivery> {
        lock(&self.kept).iter().map(Record::whole).collect()
    }

    /// The one with this number, once it is settled.
    pub(crate) fn settled(&self, number: u64) -> Option<Delivery> {
        let kept = lock(&self.kept);
        let first = kept.front()?.delivery.number;
        let record = kept.get(number.checked_sub(first)? as usize)?;
        (record.delivery.outcome != Outcome::Open).then(|| record.whole())
    }

    pub(crate) fn clear(&self) {
        lock(&self.kept).clear();
    }
}

impl Record {
    fn whole(&self) -> Delivery {
        Delivery {
            payload: serde_json::from_slice(&self.payload).unwrap_or_default(),
            ..self.delivery.clone()
        }
    }
}
