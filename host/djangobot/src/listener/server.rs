//! The accept loop of the HTTP listener: it bounds the number of connections, and the time of each.
//!
//! hyper reads and writes HTTP/1.1, but does not decide which connections may stay: anybody can open one and send
//! nothing on it, or half a request. So each phase of a connection has a time limit ([`Timers`]). If there are too many
//! connections, the one that has been idle for longest is closed first, and one on which Slack has signed a request
//! last. A new connection counts as idle only after a moment ([`ARRIVAL`]): its request is still on the way.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use djangobot_event::Reminder;
use djangobot_event::lock::lock;
use djangobot_slack::http_events::OnSigned;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::metrics::Metrics;

/// The buffer of each connection, for a request's head and for bytes that wait to be written. With the most
/// connections, all buffers have 64 MiB.
const BUFFER: usize = 16 << 10;
/// How long a request may take to follow its connection. Within this time the connection ranks with the busy ones.
/// Otherwise strangers who keep all others busy would have each new connection closed for the next one, before its
/// request could come.
const ARRIVAL: Duration = Duration::from_millis(500);
/// If there are too many connections, this part of them is closed at once.
const BATCHES: usize = 64;
/// How often it is logged that there were too many connections; all are counted.
const REMINDER: Duration = Duration::from_secs(10);

/// How long a connection may stay in each phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    /// Between requests. Most proxies keep connections open for a minute. We wait for longer, because a request that
    /// the proxy sends just as we close the connection would be lost.
    pub(super) idle: Duration,
    /// From a request's first byte to the end of its head.
    pub(super) head: Duration,
    /// From there to the answer. The handlers of Slack's requests have shorter limits of their own for body and answer.
    pub(super) request: Duration,
    /// Until the client has read the answer.
    pub(super) answer: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(75),
            head: Duration::from_secs(10),
            request: Duration::from_secs(30),
            answer: Duration::from_secs(30),
        }
    }
}

/// The limits of a listener.
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) timers: Timers,
}

/// The address of this machine to which a request came, if it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalAddress(pub(super) Option<SocketAddr>);

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte of a request has come.
    Idle,
    /// A request's head has begun.
    Head,
    /// A handler has the request, and has not found Slack's signature on it.
    Request,
    /// A handler has the request, and Slack has signed it.
    Signed,
    /// The answer is being written.
    Answer,
}

/// The state of a connection, shared by its task and the accept loop.
#[derive(Debug)]
struct Activity(Mutex<ConnectionState>);

#[derive(Clone, Copy, Debug)]
struct ConnectionState {
    opened: Instant,
    phase: Phase,
    since: Instant,
    /// Whether Slack has signed a request on it.
    is_slacks: bool,
}

/// The order in which connections are closed for new ones, the lowest first. The fields are compared in their order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_slacks: bool,
    is_busy: bool,
    since: Instant,
}

impl Activity {
    fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(ConnectionState {
            opened: now,
            phase: Phase::Idle,
            since: now,
            is_slacks: false,
        }))
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        lock(&self.0)
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        state.phase = phase;
        state.since = Instant::now();
        state.is_slacks |= phase == Phase::Signed;
    }

    /// Goes to the phase `to` if the phase is `from`.
    fn pass(&self, from: Phase, to: Phase) {
        if self.state().phase == from {
            self.enter(to);
        }
    }

    /// The time at which it has been in its phase for too long.
    fn due(&self, timers: &Timers) -> Instant {
        let ConnectionState { phase, since, .. } = *self.state();
        since
            + match phase {
                Phase::Idle => timers.idle,
                Phase::Head => timers.head,
                Phase::Request | Phase::Signed => timers.request,
                Phase::Answer => timers.answer,
            }
    }

    /// Its rank among the connections that may be closed; `None` while Slack waits for an answer on it.
    fn rank(&self, now: Instant) -> Option<Rank> {
        let ConnectionState {
            opened,
            phase,
            since,
            is_slacks,
        } = *self.state();
        let is_busy = match phase {
            Phase::Idle | Phase::Head => now.saturating_duration_since(opened) < ARRIVAL,
            Phase::Request | Phase::Answer => true,
            Phase::Signed => return None,
        };
        Some(Rank {
            is_slacks,
            is_busy,
            since,
        })
    }
}

/// The open connections.
struct Connections {
    tasks: JoinSet<u64>,
    open: HashMap<u64, OpenConnection>,
    /// The number of the newest one.
    number: u64,
    /// How many are closed at once if there are too many.
    batch: usize,
    given_up: Counter,
    reminder: Reminder,
}

struct OpenConnection {
    activity: Arc<Activity>,
    task: AbortHandle,
}

impl Connections {
    /// Closes the connections with the lowest ranks; of Slack's own, one at most. Returns whether any was closed.
    ///
    /// All connections are looked at to find them. Strangers can open thousands in a second, so that this must not
    /// happen for each new one.
    fn give_up(&mut self) -> bool {
        let now = Instant::now();
        let ranked = self.open.iter().filter_map(|(number, connection)| {
            let rank = connection.activity.rank(now)?;
            Some((rank, *number))
        });
        let mut ranked: Vec<(Rank, u64)> = ranked.collect();
        ranked.sort_unstable();
        let least = ranked.iter().take(1);
        let strangers = ranked
            .iter()
            .skip(1)
            .take_while(|(rank, _)| !rank.is_slacks);
        let mut closed = 0;
        for (_, number) in least.chain(strangers).take(self.batch) {
            if let Some(connection) = self.open.remove(number) {
                connection.task.abort();
            }
            closed += 1;
        }
        self.given_up.increment(closed);
        if closed > 0 && self.reminder.due().is_some() {
            tracing::warn!(
                connections = self.open.len(),
                "there are too many connections over HTTP; those that were idle for longest were closed for new ones"
            );
        }
        closed > 0
    }
}

/// Accepts connections and answers on them with `app` until `cancel`; requests that came before it are still answered.
pub(super) async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    metrics: Metrics,
    cancel: CancellationToken,
) {
    let mut connections = Connections {
        tasks: JoinSet::new(),
        open: HashMap::new(),
        number: 0,
        batch: (limits.connections / BATCHES).max(1),
        given_up: metrics.http_connections_given_up(),
        reminder: Reminder::new(REMINDER),
    };
    let gauge = metrics.http_connections();
    loop {
        gauge.set(connections.open.len() as f64);
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = connections.tasks.join_next() => {
                // A task that was aborted or that panicked gives no number. An aborted one has been removed already.
                if let Ok(number) = ended {
                    connections.open.remove(&number);
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if connections.open.len() >= limits.connections && !connections.give_up() {
                        // Slack waits for an answer on all of them, so the new one is closed.
                        connections.given_up.increment(1);
                        continue;
                    }
                    let activity = Arc::new(Activity::new());
                    connections.number += 1;
                    let number = connections.number;
                    let serving = connection(stream, app.clone(), activity.clone(), limits.timers, cancel.clone());
                    let task = connections.tasks.spawn(async move {
                        serving.await;
                        number
                    });
                    connections.open.insert(number, OpenConnection { activity, task });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    // Most likely the process is out of files. Closing a connection frees one.
                    if is_lack(&error) {
                        connections.give_up();
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.tasks.join_next().await.is_some() {}
}

/// Whether the error says that the system has no file or no memory for a connection.
fn is_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    lacks
        .iter()
        .any(|lack| error.raw_os_error() == Some(lack.raw_os_error()))
}

/// Answers on one connection until it ends, is too slow, or has given its last answer after `cancel`.
async fn connection(
    stream: TcpStream,
    app: Router,
    activity: Arc<Activity>,
    timers: Timers,
    cancel: CancellationToken,
) {
    stream.set_nodelay(true).ok();
    let local_address = LocalAddress(stream.local_addr().ok());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        activity.enter(Phase::Request);
        let mut request: Request = request.map(Body::new);
        let signed = activity.clone();
        let on_signed = OnSigned::new(move || signed.enter(Phase::Signed));
        request.extensions_mut().insert(on_signed);
        request.extensions_mut().insert(local_address);
        let (app, activity) = (app.clone(), activity.clone());
        async move {
            let answer = app.oneshot(request).await;
            activity.enter(Phase::Answer);
            answer
        }
    });
    let io = TokioIo::new(TrackedStream {
        stream,
        activity: activity.clone(),
    });
    let mut http = pin!(
        http1::Builder::new()
            // hyper's own timer would also run between requests. The one below knows the difference.
            .header_read_timeout(None)
            .max_buf_size(BUFFER)
            .serve_connection(io, service)
    );
    let mut cancelled = pin!(cancel.cancelled());
    let mut timer = pin!(sleep_until(activity.due(&timers)));
    let mut is_ending = false;
    poll_fn(|context| {
        if !is_ending && cancelled.as_mut().poll(context).is_ready() {
            is_ending = true;
            http.as_mut().graceful_shutdown();
        }
        // An error ends the connection like any other end; there is nobody here to report it to.
        if http.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        // Each change of the phase wakes this task, so that the timer is always set to the current phase.
        let due = activity.due(&timers);
        if due != timer.deadline() {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(context)
    })
    .await;
}

/// A stream that notes the phases which its traffic shows.
struct TrackedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.pass(Phase::Idle, Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when the whole answer has been written, so that this ends the answer.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.activity.pass(Phase::Answer, Phase::Idle);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
