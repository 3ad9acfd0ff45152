//! The accept loop of the HTTP listener: so many connections, each with timers, and the least useful one given up for
//! a new one.
//!
//! hyper reads and writes HTTP/1.1. What it leaves to us is who may stay: anybody can open a connection and say nothing
//! on it, or half a request. So each has a time for what it is at ([`Timers`]), and where there are too many, the oldest
//! that does nothing goes first, those on which Slack has signed something last.

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

/// What a request's head and what waits to be written may take up, for each connection: with all connections at
/// their worst, 64 MiB.
const BUFFER: usize = 16 << 10;
/// How often it is logged that there were too many connections; all are counted.
const REMINDER: Duration = Duration::from_secs(10);

/// How long a connection may be at something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    /// Between requests. Proxies keep connections open for a minute, mostly; who closes first loses no request.
    pub(super) idle: Duration,
    /// From a request's first byte to the end of its head.
    pub(super) head: Duration,
    /// From there to the answer; the handlers of Slack's requests have shorter times for body and answer.
    pub(super) request: Duration,
    /// Until the answer is taken.
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

/// What a listener may use.
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) timers: Timers,
}

/// Where a request came to: an address of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival(pub(super) Option<SocketAddr>);

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte of a request is here.
    Idle,
    /// A request's head has begun.
    Head,
    /// A request is with its handler, and nobody vouches for it.
    Request,
    /// Slack has signed the request.
    Signed,
    /// The answer is being written.
    Answer,
}

/// A connection as the accept loop sees it.
#[derive(Debug)]
struct Activity(Mutex<Progress>);

#[derive(Clone, Copy, Debug)]
struct Progress {
    phase: Phase,
    since: Instant,
    /// Slack signed a request on it.
    is_slacks: bool,
}

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(Progress {
            phase: Phase::Idle,
            since: Instant::now(),
            is_slacks: false,
        }))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.0)
    }

    fn enter(&self, phase: Phase) {
        let mut progress = self.progress();
        progress.phase = phase;
        progress.since = Instant::now();
        progress.is_slacks |= phase == Phase::Signed;
    }

    /// Goes from one phase to the next, where it is in the first.
    fn pass(&self, from: Phase, to: Phase) {
        if self.progress().phase == from {
            self.enter(to);
        }
    }

    /// When it has been at the same for too long.
    fn due(&self, timers: &Timers) -> Instant {
        let Progress { phase, since, .. } = *self.progress();
        since
            + match phase {
                Phase::Idle => timers.idle,
                Phase::Head => timers.head,
                Phase::Request | Phase::Signed => timers.request,
                Phase::Answer => timers.answer,
            }
    }

    /// In which order connections are given up, the lowest first; never while Slack waits for an answer.
    fn rank(&self) -> Option<(bool, bool, Instant)> {
        let Progress {
            phase,
            since,
            is_slacks,
        } = *self.progress();
        let is_busy = match phase {
            Phase::Idle | Phase::Head => false,
            Phase::Request | Phase::Answer => true,
            Phase::Signed => return None,
        };
        Some((is_slacks, is_busy, since))
    }
}

/// The connections that are open.
struct Connections {
    tasks: JoinSet<u64>,
    open: HashMap<u64, (Arc<Activity>, AbortHandle)>,
    number: u64,
    given_up: Counter,
    reminder: Reminder,
}

impl Connections {
    /// Ends the connection that is missed least, and says whether there was one.
    fn give_up_one(&mut self) -> bool {
        let ranked = self
            .open
            .iter()
            .filter_map(|(number, (activity, _))| activity.rank().map(|rank| (rank, *number)));
        let Some((_, number)) = ranked.min() else {
            return false;
        };
        if let Some((_, task)) = self.open.remove(&number) {
            task.abort();
        }
        self.given_up.increment(1);
        if self.reminder.due().is_some() {
            tracing::warn!(
                connections = self.open.len(),
                "there is no room for more connections over HTTP, so the one that did nothing for longest was closed for a new one"
            );
        }
        true
    }
}

/// Accepts connections and answers on them with `app` until `cancel`, and then answers what was asked before.
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
        given_up: metrics.http_connections_given_up(),
        reminder: Reminder::new(REMINDER),
    };
    let gauge = metrics.http_connections();
    loop {
        gauge.set(connections.open.len() as f64);
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = connections.tasks.join_next() => {
                // One that was given up, or whose task panicked, is found by nobody any more.
                if let Ok(number) = ended {
                    connections.open.remove(&number);
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if connections.open.len() >= limits.connections && !connections.give_up_one() {
                        // All of them wait for answers that Slack wants.
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
                    connections.open.insert(number, (activity, task));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    // Out of files, most likely: the next one finds one.
                    if is_lack(&error) {
                        connections.give_up_one();
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.tasks.join_next().await.is_some() {}
}

/// Whether the system had no file or memory for a connection.
fn is_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    lacks
        .iter()
        .any(|lack| error.raw_os_error() == Some(lack.raw_os_error()))
}

/// Answers on one connection until it ends, is too slow, or `cancel` and its last answer is given.
async fn connection(
    stream: TcpStream,
    app: Router,
    activity: Arc<Activity>,
    timers: Timers,
    cancel: CancellationToken,
) {
    stream.set_nodelay(true).ok();
    let arrival = Arrival(stream.local_addr().ok());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        activity.enter(Phase::Request);
        let mut request: Request = request.map(Body::new);
        let signed = activity.clone();
        let on_signed = OnSigned::new(move || signed.enter(Phase::Signed));
        request.extensions_mut().insert(on_signed);
        request.extensions_mut().insert(arrival);
        let (app, activity) = (app.clone(), activity.clone());
        async move {
            let answer = app.oneshot(request).await;
            activity.enter(Phase::Answer);
            answer
        }
    });
    let io = TokioIo::new(Watched {
        stream,
        activity: activity.clone(),
    });
    let mut http = pin!(
        http1::Builder::new()
            // The timer below tells a head that comes slowly from a connection that waits for its next request.
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
        // An error is the end of a connection as any other: whoever was there hears of it.
        if http.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        // All that changes what it is at wakes this task, so that the timer follows.
        let due = activity.due(&timers);
        if due != timer.deadline() {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(context)
    })
    .await;
}

/// A connection whose traffic tells what it is at.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
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

impl AsyncWrite for Watched {
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

    /// Comes when all that was to be written has been.
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
