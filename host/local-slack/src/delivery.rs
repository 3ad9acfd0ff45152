//! Deliveries to the app through Socket Mode or HTTP, until they are acknowledged or given up.
//!
//! The rules are Slack's (<https://docs.slack.dev/apis/events-api/#retries>): a delivery that is not acknowledged
//! within three seconds has failed, and an event that failed is redelivered three times: at once, after a minute and
//! after five. A retry comes in an envelope of its own; the event's id stays. Slash commands and interactions are
//! delivered once.
//!
//! In Socket Mode the first attempt is sent by the task that makes the change, so that the order of events is that of
//! the changes. [`worker::run`] handles deadlines, retries and HTTP.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::fault::Faults;
use crate::lock::lock;
use crate::options::Options;
use crate::socket::Sockets;
use crate::state::connection::ConnectionId;
use crate::state::feed::Feed;
use crate::state::journal::Journal;

mod due;
mod envelopes;
pub(crate) mod http;
mod parcel;
mod pending;
mod record;
mod tally;
pub(crate) mod worker;
pub(crate) mod wrapper;

pub(crate) use parcel::{Answerer, Parcel};
pub(crate) use pending::Route;
pub use record::{Attempt, Delivery, Outcome};
pub use tally::Latency;
pub(crate) use tally::Tally;

use due::{Appointment, Due};
use http::{Http, PostOutcome};
use pending::Pending;
use record::Records;

/// So many wait at most; beyond it a delivery is given up at once.
const MOST_OPEN: usize = 2_000_000;

/// An answer of the app to a command or an interaction, in its acknowledgement.
#[derive(Debug)]
pub(crate) struct AppAnswer {
    /// The response URL whose place the answer goes to.
    pub(crate) response_url: String,
    pub(crate) response: Value,
}

#[derive(Debug)]
pub(crate) struct Deliveries {
    journal: Arc<Journal>,
    sockets: Arc<Sockets>,
    feed: Arc<Feed>,
    state: Mutex<State>,
    pub(crate) records: Records,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) http: Http,
    /// There is something that is due earlier than all before.
    wake: Notify,
    /// The app has asked for a connection, or was said to use Socket Mode.
    socket_mode: AtomicBool,
    /// Acknowledgements that nothing waited for: late, repeated, unknown, or dropped.
    stray: AtomicU64,
    sticky: bool,
    ack_timeout: Duration,
    retry_delays: [Duration; 3],
    /// How long after a warning a connection is closed.
    warning_time: Duration,
    /// Tells this server's envelopes from those of others.
    run: u32,
}

/// The result of a tick.
struct Tick {
    /// When the next one is due.
    next: Option<Instant>,
    /// Answers that came with acknowledgements that were held back.
    answers: Vec<AppAnswer>,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers attempts, and so envelopes.
    next: u64,
    /// Whose turn it is among the connections.
    turn: u64,
    /// Sent through Socket Mode, and not acknowledged yet.
    in_flight: HashMap<u64, Pending>,
    /// When they have failed, in the order in which they were sent.
    deadlines: VecDeque<(Instant, u64)>,
    /// Work that is due at other times.
    later: BinaryHeap<Appointment>,
    /// How many of `later` are retries.
    retrying: usize,
    /// An envelope that the next one on its connection overtakes.
    held: Option<(ConnectionId, Bytes)>,
}

impl Deliveries {
    pub(crate) fn new(
        options: &Options,
        journal: Arc<Journal>,
        sockets: Arc<Sockets>,
        feed: Arc<Feed>,
    ) -> Self {
        Self {
            journal,
            sockets,
            feed,
            state: Mutex::default(),
            records: Records::new(options.keep),
            faults: Mutex::default(),
            http: Http::new(&options.signing_secret, options.ack_timeout),
            wake: Notify::new(),
            socket_mode: AtomicBool::new(options.socket_mode),
            stray: AtomicU64::new(0),
            sticky: options.sticky,
            ack_timeout: options.ack_timeout,
            retry_delays: options.retry_delays,
            warning_time: options.warning_time,
            run: rand::random(),
        }
    }

    pub(crate) fn enable_socket_mode(&self) {
        self.socket_mode.store(true, Ordering::Relaxed);
    }

    /// Whether there is an app that gets events.
    pub(crate) fn has_app(&self) -> bool {
        self.socket_mode.load(Ordering::Relaxed) || self.http.is_used()
    }

    /// An app with a request URL gets everything there.
    pub(crate) fn route(&self) -> Route {
        if self.http.is_used() {
            Route::Http
        } else {
            Route::SocketMode
        }
    }

    pub(crate) fn stray_acks(&self) -> u64 {
        self.stray.load(Ordering::Relaxed)
    }

    /// Begins to deliver a parcel and keeps a record of it; its number there.
    pub(crate) fn submit(&self, parcel: Parcel, tally: Option<Arc<Tally>>) -> u64 {
        let route = self.route();
        let record = self.records.begin(&parcel, route);
        self.begin(parcel, route, Some(record), tally);
        self.journal.happened();
        record
    }

    /// Begins to deliver one of many, of which only sums are kept.
    pub(crate) fn submit_tallied(&self, parcel: Parcel, route: Route, tally: Arc<Tally>) {
        self.begin(parcel, route, None, Some(tally));
    }

    fn begin(&self, parcel: Parcel, route: Route, record: Option<u64>, tally: Option<Arc<Tally>>) {
        if let Some(tally) = &tally {
            tally.begun();
        }
        let pending = Pending {
            parcel: Arc::new(parcel),
            route,
            record,
            tally,
            retry: 0,
            reason: "",
            was_delayed: false,
            sent: Instant::now(),
        };
        let failed = {
            let mut state = lock(&self.state);
            let open = state.in_flight.len() + state.retrying + self.http.queued();
            if open >= MOST_OPEN {
                self.give_up(pending)
            } else {
                self.attempt(&mut state, pending)
            }
        };
        if let Some(answerer) = failed {
            self.note_failure(&answerer);
        }
    }

    /// Makes the next attempt; returns the person who waits for the answer where there are no more attempts.
    fn attempt(&self, state: &mut State, pending: Pending) -> Option<Answerer> {
        match pending.route {
            Route::Http => {
                self.http.post(pending);
                None
            }
            Route::SocketMode => self.attempt_in_socket_mode(state, pending),
        }
    }

    fn later(&self, state: &mut State, at: Instant, due: Due) {
        state.next += 1;
        state.later.push(Appointment::new(at, state.next, due));
        self.wake.notify_one();
    }

    /// Notes that the app has taken a parcel; its answer, where somebody waits for one.
    fn finish(
        &self,
        pending: Pending,
        response: Option<Value>,
        status: Option<u16>,
        now: Instant,
    ) -> Option<AppAnswer> {
        let latency = now.saturating_duration_since(pending.sent);
        if let Some(tally) = &pending.tally {
            tally.acknowledged(latency);
        }
        if let Some(record) = pending.record {
            self.records
                .acknowledged(record, latency, status, response.clone());
        }
        self.journal.happened();
        let answerer = pending.parcel.answerer.as_ref()?;
        Some(AppAnswer {
            response_url: answerer.response_url.clone()?,
            response: response?,
        })
    }

    /// Notes that an attempt failed; the next one follows by the rules, or none.
    fn failed(
        &self,
        state: &mut State,
        mut pending: Pending,
        reason: &'static str,
        now: Instant,
    ) -> Option<Answerer> {
        if let Some(record) = pending.record {
            self.records.failed(record, reason);
        }
        let delay = self.retry_delays.get(pending.retry as usize).copied();
        let Some(delay) = delay.filter(|_| pending.parcel.is_retried) else {
            return self.give_up(pending);
        };
        pending.retry += 1;
        pending.reason = reason;
        pending.was_delayed = false;
        if let Some(tally) = &pending.tally {
            tally.retried();
        }
        state.retrying += 1;
        self.later(state, now + delay, Due::Retry(pending));
        None
    }

    /// Gives up all that waits for an acknowledgement or its next attempt, as if the time for that were over; the
    /// parcels.
    pub(crate) fn give_up_all(&self) -> Vec<Arc<Parcel>> {
        let waiting = {
            let mut state = lock(&self.state);
            state.deadlines.clear();
            state.retrying = 0;
            let mut waiting: Vec<Pending> = state.in_flight.drain().map(|(_, it)| it).collect();
            for later in std::mem::take(&mut state.later) {
                match later.due {
                    Due::Retry(pending) | Due::Post(pending) => waiting.push(pending),
                    _ => state.later.push(later),
                }
            }
            waiting
        };
        let parcels = waiting.iter().map(|it| it.parcel.clone()).collect();
        let answerers: Vec<_> = waiting
            .into_iter()
            .filter_map(|pending| self.give_up(pending))
            .collect();
        self.journal.happened();
        for answerer in answerers {
            self.note_failure(&answerer);
        }
        parcels
    }

    fn give_up(&self, pending: Pending) -> Option<Answerer> {
        if let Some(tally) = &pending.tally {
            tally.given_up();
        }
        if let Some(record) = pending.record {
            self.records.given_up(record);
        }
        pending.parcel.answerer.clone()
    }

    /// Does all that is due.
    fn tick(&self) -> Tick {
        let now = Instant::now();
        let (mut failed, mut acks) = (Vec::new(), Vec::new());
        let next = {
            let mut state = lock(&self.state);
            while let Some((_, number)) = state.deadlines.pop_front_if(|(at, _)| *at <= now) {
                if let Some(pending) = state.in_flight.remove(&number) {
                    failed.extend(self.failed(&mut state, pending, "timeout", now));
                }
            }
            // Acknowledged deliveries have no deadline any more.
            while let Some((_, number)) = state.deadlines.front()
                && !state.in_flight.contains_key(number)
            {
                state.deadlines.pop_front();
            }
            while state.later.peek().is_some_and(|later| later.at <= now) {
                let Some(later) = state.later.pop() else {
                    break;
                };
                match later.due {
                    Due::Retry(pending) => {
                        state.retrying -= 1;
                        failed.extend(self.attempt(&mut state, pending));
                    }
                    Due::Send(connection, frame) => {
                        for socket in self.sockets.get(Some(connection)) {
                            socket.send(frame.clone());
                        }
                    }
                    Due::Release => {
                        if let Some((connection, frame)) = state.held.take() {
                            for socket in self.sockets.get(Some(connection)) {
                                socket.send(frame.clone());
                            }
                        }
                    }
                    Due::Ack(number, response) => acks.push((number, response)),
                    Due::Thaw(connection) => {
                        for socket in self.sockets.get(Some(connection)) {
                            socket.freeze(false);
                        }
                    }
                    Due::Post(pending) => self.http.post(pending),
                }
            }
            let deadline = state.deadlines.front().map(|(at, _)| *at);
            let later = state.later.peek().map(|later| later.at);
            deadline.into_iter().chain(later).min()
        };
        let answers = acks
            .into_iter()
            .filter_map(|(number, response)| self.acknowledged(number, response, now))
            .collect();
        // Some attempt may have failed.
        self.journal.happened();
        for answerer in failed {
            self.note_failure(&answerer);
        }
        Tick { next, answers }
    }

    /// Tells the person at the terminal that the app did not take what the person did.
    fn note_failure(&self, answerer: &Answerer) {
        let what = &answerer.what;
        self.feed
            .note(&format!("{what} failed: the app did not take it"));
    }
}

/// The outcomes of attempts over HTTP.
impl Deliveries {
    fn posted(&self, pending: Pending, outcome: PostOutcome) -> Option<AppAnswer> {
        let now = Instant::now();
        match outcome {
            PostOutcome::Taken { status, body } => self.finish(pending, body, Some(status), now),
            PostOutcome::Failed {
                reason,
                status,
                again,
            } => {
                if let Some(record) = pending.record {
                    self.records.answered(record, status);
                }
                let failed = if again {
                    self.failed(&mut lock(&self.state), pending, reason, now)
                } else {
                    if let Some(record) = pending.record {
                        self.records.failed(record, reason);
                    }
                    self.give_up(pending)
                };
                self.journal.happened();
                if let Some(answerer) = failed {
                    self.note_failure(&answerer);
                }
                None
            }
        }
    }

    /// Notes that a parcel goes out over HTTP now.
    pub(crate) fn posting(&self, pending: &mut Pending) {
        pending.sent = Instant::now();
        let number = {
            let mut state = lock(&self.state);
            state.next += 1;
            state.next
        };
        if let Some(record) = pending.record {
            self.records
                .attempted(record, self.envelope_id(number), None, pending);
        }
    }

    /// Has a parcel posted later.
    pub(crate) fn post_later(&self, pending: Pending, delay: Duration) {
        let mut state = lock(&self.state);
        self.later(&mut state, Instant::now() + delay, Due::Post(pending));
    }

    pub(crate) fn note_duplicate(pending: &Pending) {
        if let Some(tally) = &pending.tally {
            tally.duplicated();
        }
    }
}
