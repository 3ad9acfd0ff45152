//! The task that reads one host for a receiver.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use djangobot_event::lock::lock;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, Value};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::layer::{Delivery, LayerError, Place};
use crate::redis::backend::Backend;
use crate::redis::backoff::Backoff;
use crate::redis::client::command;
use crate::redis::dialect::Dialect;
use crate::redis::receiver::shelf::Shelf;
use crate::redis::script::Script;
use crate::redis::server::{OwnConnection, Server};

/// How many messages are taken from one host at once: enough that the round trip costs little, few enough that another
/// reader gets some.
const BATCH: usize = 16;

/// How often a queue is polled although the server reported no change: a report may have been lost.
const POLL: Duration = Duration::from_secs(1);

/// How soon a queue is polled after a message if the server reports no changes at all. The interval grows up to
/// [`POLL`] while no message comes.
const POLL_UNTRACKED: Duration = Duration::from_millis(50);

/// A connection of the reader's own.
struct Connection {
    connection: MultiplexedConnection,
    /// Whether the server reports changes of the queue over it.
    reports_changes: bool,
}

/// A message that waits for the caller of [`crate::layer::Receiver::next`].
pub(super) struct PendingDelivery {
    /// The round of [`Shelf`] in which it was taken up.
    pub(super) round: u64,
    pub(super) delivery: Delivery,
}

/// The reader of one host.
pub(super) struct Shard<D: Dialect> {
    host: usize,
    server: Arc<Server>,
    backend: Arc<Backend>,
    shelf: Arc<Shelf>,
    out: mpsc::Sender<Result<PendingDelivery, LayerError>>,
    stop: CancellationToken,
    /// Notified when the queue may have changed.
    wake: Arc<Notify>,
    /// Messages that were taken and have not gone into `out` yet.
    backlog: Mutex<VecDeque<PendingDelivery>>,
    /// Locked while a script runs that takes messages. Such a script may answer the whole list of our messages, and
    /// that list must not lack messages that another script took meanwhile.
    taking: tokio::sync::Mutex<()>,
    dialect: PhantomData<D>,
}

impl<D: Dialect> Shard<D> {
    pub(super) fn new(
        host: usize,
        backend: Arc<Backend>,
        shelf: Arc<Shelf>,
        out: mpsc::Sender<Result<PendingDelivery, LayerError>>,
        stop: CancellationToken,
    ) -> Self {
        let server = backend.servers[host].clone();
        Self {
            host,
            server,
            backend,
            shelf,
            out,
            stop,
            wake: Arc::default(),
            backlog: Mutex::default(),
            taking: tokio::sync::Mutex::default(),
            dialect: PhantomData,
        }
    }

    /// Reads until it is stopped. Reconnects after a pause when the connection is lost.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new();
        while !self.stop.is_cancelled() {
            let ended = self.session(&mut backoff).await;
            self.shelf.set_connection(None);
            let Some(error) = ended else { return };
            debug!(%error, queue = self.shelf.queue, "reading was interrupted");
            // A caller that waits gets the error. If messages are ready, the caller gets those first.
            drop(self.out.try_send(Err(error)));
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(backoff.advance()) => {}
            }
        }
    }

    /// Reads over one connection. Returns the error that ended it, or `None` if it was stopped.
    async fn session(&self, backoff: &mut Backoff) -> Option<LayerError> {
        let opened = tokio::select! {
            () = self.stop.cancelled() => return None,
            opened = self.connect() => opened,
        };
        let Connection {
            connection,
            reports_changes,
        } = match opened {
            Ok(opened) => opened,
            Err(error) => return Some(error),
        };
        if let Err(error) = self.resume(&mut connection.clone()).await {
            return Some(error);
        }
        backoff.reset();
        // Both end by themselves when the reader is stopped, and never in the middle of a command: messages that a
        // script moves after its connection was dropped would stay unread until the lease runs out.
        tokio::try_join!(
            self.pump(connection.clone(), reports_changes),
            self.heartbeat(connection)
        )
        .err()
    }

    /// Opens a connection of our own, and asks the server to report changes of the queue over it.
    async fn connect(&self) -> Result<Connection, LayerError> {
        let (wake, queue) = (self.wake.clone(), self.shelf.queue.clone().into_bytes());
        let push = move |info: PushInfo| {
            if concerns(&info, &queue) {
                wake.notify_one();
            }
        };
        let OwnConnection {
            mut connection,
            has_pushes,
        } = self.server.connect(push).await?;
        if !has_pushes {
            return Ok(Connection {
                connection,
                reports_changes: false,
            });
        }
        let mut track = redis::cmd("CLIENT");
        // NOLOOP leaves out the changes of our own commands, so all commands of a reader go over this connection.
        track
            .arg("TRACKING")
            .arg("ON")
            .arg("BCAST")
            .arg("PREFIX")
            .arg(&self.shelf.queue)
            .arg("NOLOOP");
        match command(&mut connection, &track)
            .await
            .map_err(|error| self.server.explain(&error))
        {
            Ok(_) => Ok(Connection {
                connection,
                reports_changes: true,
            }),
            Err(error @ LayerError::Refused { .. }) => {
                debug!(%error, "the server refused tracking; the queue is polled instead");
                Ok(Connection {
                    connection,
                    reports_changes: false,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Catches up with the server: reports the members that were finished meanwhile, takes up the messages under our id
    /// (left by an earlier process, or by a lost answer), and takes over messages whose reader's lease has run out.
    async fn resume(&self, connection: &mut MultiplexedConnection) -> Result<(), LayerError> {
        self.report_finished(connection).await?;
        self.keep(connection, true).await?;
        self.shelf.set_connection(Some(connection.clone()));
        // Members that were finished after the first report found no connection. From here on, `done` finds one.
        self.report_finished(connection).await
    }

    async fn report_finished(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), LayerError> {
        let finished = self.shelf.finished();
        if !finished.is_empty() {
            let answer = command(connection, &D::finish(&self.shelf.own, &finished)).await;
            answer.map_err(|error| self.server.explain(&error))?;
            finished.iter().for_each(|member| self.shelf.forget(member));
        }
        Ok(())
    }

    /// Moves messages from the queue to the receiver.
    async fn pump(
        &self,
        mut connection: MultiplexedConnection,
        reports_changes: bool,
    ) -> Result<(), LayerError> {
        let mut came = Instant::now();
        loop {
            while !self.backlog().is_empty() {
                let place = tokio::select! {
                    () = self.stop.cancelled() => return Ok(()),
                    place = self.out.reserve() => place.map_err(|_| LayerError::Closed)?,
                };
                // The process may have been suspended, or the network down, for so long that others have these
                // messages.
                if self.is_stale() {
                    self.keep(&mut connection, true).await?;
                }
                if let Some(taken) = self.backlog().pop_front() {
                    place.send(Ok(taken));
                }
            }
            if self.stop.is_cancelled() {
                return Ok(());
            }
            // Messages that were put down in this round come before new ones.
            if self.is_stale() && self.keep(&mut connection, true).await? > 0 {
                continue;
            }
            let took = self.take(&mut connection).await?;
            if took > 0 {
                came = Instant::now();
            }
            if took < BATCH && self.backlog().is_empty() {
                // A queue in use is polled often; the longer a queue is idle, the less its polling costs the server.
                let poll = match reports_changes {
                    true => POLL,
                    false => (came.elapsed() / 20).clamp(POLL_UNTRACKED, POLL),
                };
                tokio::select! {
                    () = self.stop.cancelled() => return Ok(()),
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(poll) => {}
                }
            }
        }
    }

    /// Renews the lease in good time, and takes over messages whose reader's lease has run out.
    async fn heartbeat(&self, mut connection: MultiplexedConnection) -> Result<(), LayerError> {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                // A third of the lease, so that it still holds if one renewal is late or its answer is lost.
                () = tokio::time::sleep(self.backend.config.lease / 3) => {}
            }
            if self.keep(&mut connection, false).await? > 0 {
                self.wake.notify_one();
            }
        }
    }

    /// Whether others may have the messages that wait here.
    fn is_stale(&self) -> bool {
        self.shelf.is_stale(self.backend.config.lease)
    }

    /// Takes messages from the queue; returns how many it took.
    async fn take(&self, connection: &mut MultiplexedConnection) -> Result<usize, LayerError> {
        let _turn = self.taking.lock().await;
        let began = SystemTime::now();
        let is_stale = self.is_stale();
        let now = self.server.now().await?;
        let fill = |cmd: &mut Cmd| {
            self.shelf.write_keys(cmd, &[]);
            cmd.arg(self.until(now)).arg(BATCH).arg(format!("{now:.6}"));
        };
        let took = self.call(connection, &D::scripts().take, &fill).await?;
        // The script renews the lease only if it takes a message. New messages also prove nothing about those that we
        // had before a lapse, so a stale lease is renewed only by `keep`, which asks for the whole list.
        if took > 0 && !is_stale {
            self.shelf.renew(began);
        }
        Ok(took)
    }

    /// Renews the lease and takes over messages whose reader's lease has run out; returns how many messages the server
    /// answered.
    ///
    /// If `all` is set or our own lease has lapsed, the server answers all messages that are ours: then a new round
    /// begins, in which the messages that wait here are replaced by those of the answer, in the server's order.
    async fn keep(
        &self,
        connection: &mut MultiplexedConnection,
        all: bool,
    ) -> Result<usize, LayerError> {
        let _turn = self.taking.lock().await;
        let began = SystemTime::now();
        let all = all || self.is_stale();
        if all {
            self.shelf.begin_round();
            self.backlog().clear();
        }
        self.server.read_clock(connection).await;
        let now = self.server.now().await?;
        let lapsed = lapsed(&self.server, connection, &self.shelf, now).await?;
        let fill = |cmd: &mut Cmd| {
            self.shelf.write_keys(cmd, &lapsed);
            cmd.arg(self.until(now)).arg(u8::from(all)).arg(millis(now));
            for id in &lapsed {
                cmd.arg(id);
            }
        };
        let count = self.call(connection, &D::scripts().keep, &fill).await?;
        self.shelf.renew(began);
        Ok(count)
    }

    /// The end of a lease that is renewed at the time `now`, in Unix milliseconds.
    fn until(&self, now: f64) -> u64 {
        let lease = u64::try_from(self.backend.config.lease.as_millis()).unwrap_or(u64::MAX);
        millis(now).saturating_add(lease)
    }

    /// Runs one of the scripts that take messages, and takes up the messages of its answer; returns how many those are.
    async fn call(
        &self,
        connection: &mut MultiplexedConnection,
        script: &Script,
        fill: &(dyn Fn(&mut Cmd) + Sync),
    ) -> Result<usize, LayerError> {
        let answer = self
            .server
            .run(script, connection, fill)
            .await
            .map_err(|error| self.server.explain(&error))?;
        let Value::Array(items) = answer else {
            return Err(self.server.unavailable(format!(
                "the server answered {answer:?} to a script that answers messages"
            )));
        };
        let mut count = 0;
        let mut items = items.into_iter();
        while let (Some(member), Some(score), Some(again), Some(stored)) =
            (items.next(), items.next(), items.next(), items.next())
        {
            if let (Some(member), Some(score)) = (bytes(member), number(&score)) {
                self.take_up(&member, score, again == Value::Int(1), stored);
                count += 1;
            }
        }
        Ok(count)
    }

    fn take_up(&self, member: &Bytes, score: f64, redelivered: bool, stored: Value) {
        if let Some(round) = self.shelf.add(member) {
            let codec = &self.backend.codec;
            let payload = D::sealed(member, bytes(stored)).and_then(|sealed| {
                if redelivered {
                    codec.open_again(&sealed)
                } else {
                    codec.open(&sealed)
                }
            });
            let place = Place {
                host: self.host,
                score,
            };
            let delivery = Delivery {
                member: member.clone(),
                payload,
                place,
                redelivered,
                channel: None,
            };
            self.backlog()
                .push_back(PendingDelivery { round, delivery });
        }
    }

    fn backlog(&self) -> MutexGuard<'_, VecDeque<PendingDelivery>> {
        lock(&self.backlog)
    }
}

/// The ids of the readers whose leases have run out. A script must name all keys that it uses, so the ids are read
/// before the script runs.
pub(super) async fn lapsed(
    server: &Server,
    connection: &mut MultiplexedConnection,
    shelf: &Shelf,
    now: f64,
) -> Result<Vec<String>, LayerError> {
    let mut cmd = redis::cmd("ZRANGE");
    cmd.arg(&shelf.leases).arg(0).arg(-1).arg("WITHSCORES");
    let answer = command(connection, &cmd)
        .await
        .and_then(|answer| Ok(redis::from_redis_value::<Vec<(String, f64)>>(answer)?));
    let leases = answer.map_err(|error| server.explain(&error))?;
    let others = leases
        .into_iter()
        .filter(|(id, until)| *until <= millis(now) as f64 && !shelf.is_own(id));
    Ok(others.map(|(id, _)| id).collect())
}

/// Unix time in milliseconds.
pub(super) fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

/// Whether a push reports a change of `queue`, or the end of all reports.
fn concerns(info: &PushInfo, queue: &[u8]) -> bool {
    match info.kind {
        PushKind::Disconnection => true,
        // The data is a list of keys that begin with our prefix, or nil after FLUSHALL.
        PushKind::Invalidate => match info.data.first() {
            Some(Value::Array(keys)) => keys
                .iter()
                .any(|key| matches!(key, Value::BulkString(key) if key == queue)),
            _ => true,
        },
        _ => false,
    }
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::Double(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        _ => None,
    }
}
