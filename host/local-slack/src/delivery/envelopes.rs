//! Delivery in envelopes of Socket Mode, and their acknowledgements.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::delivery::due::Due;
use crate::delivery::pending::Pending;
use crate::delivery::{Answerer, AppAnswer, Deliveries, State};
use crate::fault::{Happening, Occasion};
use crate::lock::lock;
use crate::socket;

/// Acknowledgements of this many bytes are dropped by Slack without a word.
const TOO_LARGE: usize = 20 * 1024;
/// How long an envelope is held back at most so that the next one overtakes it.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(50);

impl Deliveries {
    pub(super) fn attempt_in_socket_mode(
        &self,
        state: &mut State,
        mut pending: Pending,
    ) -> Option<Answerer> {
        let now = Instant::now();
        pending.sent = now;
        state.next += 1;
        let number = state.next;
        let turn = match self.sticky {
            true => pending.parcel.lane_number(),
            false => state.turn,
        };
        state.turn += 1;
        let socket = self.sockets.of_socket_mode(turn);
        if let Some(record) = pending.record {
            let connection = socket.as_ref().map(|socket| socket.id);
            self.records
                .attempted(record, self.envelope_id(number), connection, &pending);
        }
        let Some(socket) = socket else {
            // With no connection there is nobody to wait for.
            return self.failed(state, pending, "timeout", now);
        };
        let frame =
            pending
                .parcel
                .envelope(&self.envelope_id(number), pending.retry, pending.reason);
        let befell = lock(&self.faults).draw(Occasion::Send);
        let at = |ms: u64| now + Duration::from_millis(ms);
        match befell {
            Some(Happening::Lose) => {}
            Some(Happening::Delay { ms }) => {
                self.later(state, at(ms), Due::Send(socket.id, frame));
            }
            Some(Happening::Reorder) if state.held.is_none() => {
                state.held = Some((socket.id, frame));
                self.later(state, now + OVERTAKEN_WITHIN, Due::Release);
            }
            Some(Happening::Garble) => socket.send(socket::garbled(&frame)),
            Some(Happening::Duplicate) => {
                if let Some(tally) = &pending.tally {
                    tally.duplicated();
                }
                socket.send(frame.clone());
                socket.send(frame);
            }
            _ => socket.send(frame),
        }
        if let Some((_, held)) = state.held.take_if(|(connection, _)| {
            *connection == socket.id && befell != Some(Happening::Reorder)
        }) {
            socket.send(held);
        }
        match befell {
            Some(Happening::Drop) => socket.close.cancel(),
            Some(Happening::Freeze { ms }) => {
                socket.freeze(true);
                if ms > 0 {
                    self.later(state, at(ms), Due::Thaw(socket.id));
                }
            }
            Some(Happening::Disconnect { reason }) => {
                socket::disconnect(&socket, reason, self.warning_time)
            }
            _ => {}
        }
        state.in_flight.insert(number, pending);
        state.deadlines.push_back((now + self.ack_timeout, number));
        if state.deadlines.len() == 1 {
            self.wake.notify_one();
        }
        None
    }

    pub(super) fn envelope_id(&self, number: u64) -> String {
        let run = self.run;
        format!("{run:08x}-0000-4000-8000-{number:012x}")
    }

    /// The number of the attempt that an envelope's id names.
    fn number_of(&self, envelope_id: &str) -> Option<u64> {
        let (run, number) = envelope_id.split_once("-0000-4000-8000-")?;
        let ours = u32::from_str_radix(run, 16).ok()? == self.run;
        ours.then(|| u64::from_str_radix(number, 16).ok())?
    }

    /// Reads a client's message on a socket of Socket Mode; the answer in it, where somebody waits for one.
    pub(crate) fn heard(&self, payload: &[u8], fragmented: bool) -> Option<AppAnswer> {
        let now = Instant::now();
        // Slack drops these without a word.
        if fragmented || payload.len() >= TOO_LARGE {
            self.stray.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let Ok(Value::Object(mut ack)) = serde_json::from_slice::<Value>(payload) else {
            self.stray.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let number = ack.get("envelope_id").and_then(Value::as_str);
        let Some(number) = number.and_then(|id| self.number_of(id)) else {
            self.stray.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let response = ack.remove("payload").filter(|response| {
            // SDKs send an empty object where there is nothing to say.
            !response.is_null() && response.as_object().is_none_or(|fields| !fields.is_empty())
        });
        let befell = lock(&self.faults).draw(Occasion::Ack);
        match befell {
            Some(Happening::LoseAck) => None,
            Some(Happening::LateAck { ms }) => {
                let mut state = lock(&self.state);
                let due = Due::Ack(number, response);
                self.later(&mut state, now + Duration::from_millis(ms), due);
                None
            }
            _ => self.acknowledged(number, response, now),
        }
    }

    pub(super) fn acknowledged(
        &self,
        number: u64,
        response: Option<Value>,
        now: Instant,
    ) -> Option<AppAnswer> {
        let found = lock(&self.state).in_flight.remove(&number);
        let Some(pending) = found else {
            self.stray.fetch_add(1, Ordering::Relaxed);
            if self.records.late(&self.envelope_id(number)) {
                self.journal.happened();
            }
            return None;
        };
        self.finish(pending, response, None, now)
    }
}
