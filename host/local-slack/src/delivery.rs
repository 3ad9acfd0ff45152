//! What the app is given through Socket Mode or HTTP, until it is acknowledged or given up.
//!
//! The rules are Slack's (<https://docs.slack.dev/apis/events-api/#retries>): what is not acknowledged within three
//! seconds has failed, and an event that failed is given again three times: at once, after a minute and after five.
//! A retry comes in an envelope of its own; the event's id stays. Slash commands and interactivity are given once.
//!
//! In Socket Mode the first attempt is sent by whoever has something to tell, so that the order of events is that of
//! the changes. [`run`] looks after time, and after HTTP.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::core::Core;
use crate::fault::Faults;
use crate::socket::ConnectionId;
use crate::{Options, lock};

mod due;
mod envelopes;
pub(crate) mod http;
mod parcel;
mod record;
mod tally;
mod triggers;
pub(crate) mod wrapper;

use due::{Due, Later};
pub(crate) use parcel::{Answerer, Parcel};
use record::Records;
pub use record::{Attempt, Delivery, Outcome};
pub use tally::Latency;
pub(crate) use tally::Tally;

/// So many wait at most; beyond it a delivery is given up at once.
const MOST_OPEN: usize = 2_000_000;

/// How the app is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    SocketMode,
    Http,
}

impl Route {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Route::SocketMode => "socket-mode",
            Route::Http => "http",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Deliveries {
    state: Mutex<State>,
    pub(crate) records: Records,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) http: http::Http,
    /// There is something that is due earlier than all before.
    wake: Notify,
    /// The app has asked for a connection, or was said to use Socket Mode.
    socket_mode: AtomicBool,
    /// Acknowledgements of nothing that waits for one: late, repeated, unknown, or dropped.
    stray: AtomicU64,
    sticky: bool,
    ack_timeout: Duration,
    retry_delays: [Duration; 3],
    /// Tells this server's envelopes from those of others.
    run: u32,
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
    /// What is to be done at other times.
    later: BinaryHeap<Later>,
    /// How many of `later` are retries.
    retrying: usize,
    /// An envelope that the next one on its connection overtakes.
    held: Option<(ConnectionId, Bytes)>,
    triggers: triggers::Triggers,
}

/// A parcel on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) parcel: Arc<Parcel>,
    route: Route,
    /// Its place in the records; generated traffic has none.
    record: Option<u64>,
    tally: Option<Arc<Tally>>,
    /// 0 for the first attempt.
    pub(crate) retry: u32,
    /// Why the attempt before failed.
    pub(crate) reason: &'static str,
    /// It was held back already, and is not to be again.
    was_delayed: bool,
    sent: Instant,
}

impl Deliveries {
    pub(crate) fn new(options: &Options) -> Deliveries {
        Deliveries {
            state: Mutex::default(),
            records: Records::new(options.keep),
            faults: Mutex::default(),
            http: http::Http::new(&options.signing_secret),
            wake: Notify::new(),
            socket_mode: AtomicBool::new(options.socket_mode),
            stray: AtomicU64::new(0),
            sticky: options.sticky,
            ack_timeout: options.ack_timeout,
            retry_delays: options.retry_delays,
            run: rand::random(),
        }
    }

    pub(crate) fn enable_socket_mode(&self) {
        self.socket_mode.store(true, Ordering::Relaxed);
    }

    /// Whether there is an app that is told of what happens.
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

    pub(crate) fn ack_timeout(&self) -> Duration {
        self.ack_timeout
    }

    pub(crate) fn stray_acks(&self) -> u64 {
        self.stray.load(Ordering::Relaxed)
    }

    /// A fresh trigger, with which a view can be opened for three seconds.
    pub(crate) fn trigger(&self) -> String {
        lock(&self.state).triggers.make()
    }

    /// Uses a trigger up, or says why it is no good, by Slack's code.
    pub(crate) fn pull(&self, trigger: &str) -> Result<(), &'static str> {
        lock(&self.state).triggers.pull(trigger)
    }

    /// Begins to deliver a parcel and keeps a record of it; its number there.
    pub(crate) fn submit(&self, core: &Core, parcel: Parcel, tally: Option<Arc<Tally>>) -> u64 {
        let route = self.route();
        let record = self.records.begin(&parcel, route);
        self.begin(core, parcel, route, Some(record), tally);
        core.journal.happened();
        record
    }

    /// Begins to deliver one of many, of which only sums are kept.
    pub(crate) fn submit_tallied(
        &self,
        core: &Core,
        parcel: Parcel,
        route: Route,
        tally: Arc<Tally>,
    ) {
        self.begin(core, parcel, route, None, Some(tally));
    }

    fn begin(
        &self,
        core: &Core,
        parcel: Parcel,
        route: Route,
        record: Option<u64>,
        tally: Option<Arc<Tally>>,
    ) {
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
                self.attempt(core, &mut state, pending)
            }
        };
        if let Some(answerer) = failed {
            answerer.failed(core);
        }
    }

    /// Makes the next attempt; who waited in vain, where it is the end of them.
    fn attempt(&self, core: &Core, state: &mut State, pending: Pending) -> Option<Answerer> {
        match pending.route {
            Route::Http => {
                self.http.post(pending);
                None
            }
            Route::SocketMode => self.attempt_in_socket_mode(core, state, pending),
        }
    }

    fn later(&self, state: &mut State, at: Instant, due: Due) {
        state.next += 1;
        state.later.push(Later::new(at, state.next, due));
        self.wake.notify_one();
    }

    /// Notes that the app has taken a parcel, and does what its answer asks for.
    fn finish(
        &self,
        core: &Core,
        pending: Pending,
        response: Option<Value>,
        status: Option<u16>,
        now: Instant,
    ) {
        let latency = now.saturating_duration_since(pending.sent);
        if let Some(tally) = &pending.tally {
            tally.acknowledged(latency);
        }
        if let Some(record) = pending.record {
            self.records
                .acknowledged(record, latency, status, response.clone());
        }
        if let (Some(answerer), Some(response)) = (pending.parcel.answerer.clone(), response) {
            answerer.answered(core, &response);
        }
        core.journal.happened();
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

    /// Gives up all that waits for an acknowledgement or its next attempt, as if the time for that were over; the parcels.
    pub(crate) fn give_up_all(&self, core: &Core) -> Vec<Arc<Parcel>> {
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
        core.journal.happened();
        for answerer in answerers {
            answerer.failed(core);
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

    /// Does all that is due; when the next is.
    fn tick(&self, core: &Core) -> Option<Instant> {
        let now = Instant::now();
        let (mut failed, mut acks) = (Vec::new(), Vec::new());
        let next = {
            let mut state = lock(&self.state);
            while let Some((_, number)) = state.deadlines.pop_front_if(|(at, _)| *at <= now) {
                if let Some(pending) = state.in_flight.remove(&number) {
                    failed.extend(self.failed(&mut state, pending, "timeout", now));
                }
            }
            // What was acknowledged has no deadline any more.
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
                        failed.extend(self.attempt(core, &mut state, pending));
                    }
                    Due::Send(connection, frame) => {
                        for socket in core.sockets.get(Some(connection)) {
                            socket.send(frame.clone());
                        }
                    }
                    Due::Release => {
                        if let Some((connection, frame)) = state.held.take() {
                            for socket in core.sockets.get(Some(connection)) {
                                socket.send(frame.clone());
                            }
                        }
                    }
                    Due::Ack(number, response) => acks.push((number, response)),
                    Due::Thaw(connection) => {
                        for socket in core.sockets.get(Some(connection)) {
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
        for (number, response) in acks {
            self.acknowledged(core, number, response, now);
        }
        // Some attempt may have failed.
        core.journal.happened();
        for answerer in failed {
            answerer.failed(core);
        }
        next
    }
}

/// Does what is due, for as long as the server runs.
pub(crate) async fn run(core: Arc<Core>) {
    let mut workers = JoinSet::new();
    for lane in 0..http::LANES {
        workers.spawn(http::work(core.clone(), lane));
    }
    loop {
        let next = core.deliveries.tick(&core);
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = core.deliveries.wake.notified() => {}
        }
    }
}

/// What an attempt over HTTP came to.
impl Deliveries {
    pub(crate) fn posted(&self, core: &Core, pending: Pending, outcome: http::Posted) {
        let now = Instant::now();
        match outcome {
            http::Posted::Taken { status, body } => {
                self.finish(core, pending, body, Some(status), now);
            }
            http::Posted::Failed {
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
                core.journal.happened();
                if let Some(answerer) = failed {
                    answerer.failed(core);
                }
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

/// The type of what is in the feed for the terminal alone.
pub(crate) const NOTE: &str = "local_slack.note";

/// A note for the terminal.
pub(crate) fn note(core: &Core, text: &str) {
    // Without a terminal nobody listens, which is fine.
    core.feed.send(json!({"type": NOTE, "text": text})).ok();
}
