//! The task that reads one host for a receiver.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, Value};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::layer::{Delivery, LayerError, Place};
use crate::redis::client::command;
use crate::redis::cluster::Shared;
use crate::redis::dialect::Dialect;
use crate::redis::receiver::shelf::Shelf;
use crate::redis::script::Script;
use crate::redis::server::Server;

/// How many messages are taken from one host at once: enough to hide the way there and back, few
/// enough to leave some for another reader.
const BATCH: usize = 16;

/// How often a queue is looked at though the server said nothing.
const POLL: Duration = Duration::from_secs(1);

/// How soon a queue is looked at again where the server says nothing at all: the first time after a message, and at most
/// when none comes for long.
const UNTRACKED: (Duration, Duration) = (Duration::from_millis(50), POLL);

/// The pause after a connection failed, the first time and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A message on its way to whoever asks for it.
pub(super) struct Taken {
    /// When it was taken up, as [`Shelf`] counts.
    pub(super) round: u64,
    pub(super) delivery: Delivery,
}

pub(super) struct Shard<D: Dialect> {
    host: usize,
    server: Arc<Server>,
    shared: Arc<Shared>,
    shelf: Arc<Shelf>,
    out: mpsc::Sender<Result<Taken, LayerError>>,
    stop: CancellationToken,
    /// Told when the queue may have changed.
    wake: Arc<Notify>,
    /// What was taken and did not yet find place in `out`.
    backlog: Mutex<VecDeque<Taken>>,
    /// Held while a script runs that takes messages: an answer that says all that is ours must
    /// not lack what another one brought meanwhile.
    taking: tokio::sync::Mutex<()>,
    dialect: PhantomData<D>,
}

impl<D: Dialect> Shard<D> {
    pub(super) fn new(
        host: usize,
        shared: Arc<Shared>,
        shelf: Arc<Shelf>,
        out: mpsc::Sender<Result<Taken, LayerError>>,
        stop: CancellationToken,
    ) -> Self {
        let server = shared.servers[host].clone();
        Self {
            host,
            server,
            shared,
            shelf,
            out,
            stop,
            wake: Arc::default(),
            backlog: Mutex::default(),
            taking: tokio::sync::Mutex::default(),
            dialect: PhantomData,
        }
    }

    /// Reads until it is stopped; connects again, after a pause, when the connection is lost.
    pub(super) async fn run(self) {
        let mut pause = PAUSE.0;
        while !self.stop.is_cancelled() {
            let ended = self.session(&mut pause).await;
            self.shelf.set_connection(None);
            let Some(error) = ended else { return };
            debug!(%error, queue = self.shelf.queue, "reading was interrupted");
            // The reader is told if it waits; if it has messages before it, those come first.
            drop(self.out.try_send(Err(error)));
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Reads over one connection; the error that ended it, or nothing where it was stopped.
    async fn session(&self, pause: &mut Duration) -> Option<LayerError> {
        let opened = tokio::select! {
            () = self.stop.cancelled() => return None,
            opened = self.connect() => opened,
        };
        let (connection, tells) = match opened {
            Ok(opened) => opened,
            Err(error) => return Some(error),
        };
        if let Err(error) = self.resume(&mut connection.clone()).await {
            return Some(error);
        }
        *pause = PAUSE.0;
        // Both end by themselves when stopped, and not in the middle of a command: what a script
        // moves after the connection was dropped would be found only when the lease runs out.
        tokio::try_join!(
            self.pump(connection.clone(), tells),
            self.heartbeat(connection)
        )
        .err()
    }

    /// A connection of our own, and whether it says when the queue changes.
    async fn connect(&self) -> Result<(MultiplexedConnection, bool), LayerError> {
        let (wake, queue) = (self.wake.clone(), self.shelf.queue.clone().into_bytes());
        let push = move |info: PushInfo| {
            if concerns(&info, &queue) {
                wake.notify_one();
            }
        };
        let (mut connection, tells) = self.server.connect(push).await?;
        if !tells {
            return Ok((connection, false));
        }
        let mut track = redis::cmd("CLIENT");
        // What our own commands do is no news, so all of a reader's go over this connection.
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
            Ok(_) => Ok((connection, true)),
            Err(error @ LayerError::Refused { .. }) => {
                debug!(%error, "no tracking; the queue is looked at from time to time");
                Ok((connection, false))
            }
            Err(error) => Err(error),
        }
    }

    /// Catches up with the server: tells it what was finished meanwhile, and takes up what lies
    /// under our id (from an earlier life, or because an answer was lost) or was left by others.
    async fn resume(&self, connection: &mut MultiplexedConnection) -> Result<(), LayerError> {
        self.tell_finished(connection).await?;
        self.keep(connection, true).await?;
        self.shelf.set_connection(Some(connection.clone()));
        // What was finished since the first telling found no connection; from here on it finds one.
        self.tell_finished(connection).await
    }

    async fn tell_finished(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), LayerError> {
        let finished = self.shelf.finished();
        if !finished.is_empty() {
            let told = command(connection, &D::finish(&self.shelf.own, &finished)).await;
            told.map_err(|error| self.server.explain(&error))?;
            finished.iter().for_each(|member| self.shelf.forget(member));
        }
        Ok(())
    }

    /// Moves messages from the queue to the receiver.
    async fn pump(
        &self,
        mut connection: MultiplexedConnection,
        tells: bool,
    ) -> Result<(), LayerError> {
        let mut came = Instant::now();
        loop {
            while !self.backlog().is_empty() {
                let place = tokio::select! {
                    () = self.stop.cancelled() => return Ok(()),
                    place = self.out.reserve() => place.map_err(|_| LayerError::Closed)?,
                };
                // We may have been suspended, or cut off, for so long that others have these.
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
            // What was put down comes before what is new.
            if self.is_stale() && self.keep(&mut connection, true).await? > 0 {
                continue;
            }
            let took = self.take(&mut connection).await?;
            if took > 0 {
                came = Instant::now();
            }
            if took < BATCH && self.backlog().is_empty() {
                // An idle queue costs the server little, and one in use is looked at often.
                let poll = match tells {
                    true => POLL,
                    false => (came.elapsed() / 20).clamp(UNTRACKED.0, UNTRACKED.1),
                };
                tokio::select! {
                    () = self.stop.cancelled() => return Ok(()),
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(poll) => {}
                }
            }
        }
    }

    /// Renews the lease, and takes over what others left under leases that ran out.
    async fn heartbeat(&self, mut connection: MultiplexedConnection) -> Result<(), LayerError> {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.shared.config.lease / 3) => {}
            }
            if self.keep(&mut connection, false).await? > 0 {
                self.wake.notify_one();
            }
        }
    }

    /// Whether others may have what waits here.
    fn is_stale(&self) -> bool {
        self.shelf.is_stale(self.shared.config.lease)
    }

    /// Takes messages from the queue; answers how many there were.
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
        // Where nothing was taken nothing was renewed; and what is new says nothing of what we had.
        if took > 0 && !is_stale {
            self.shelf.renew(began);
        }
        Ok(took)
    }

    /// Renews the lease, and takes over what others left; answers how many messages the server
    /// told of. Those are all that are ours where `all` is set, or where the lease ran out: then
    /// what waits here is put down, and taken up anew as far as it is among them, in the server's order.
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
        self.server.look_at_clock(connection).await;
        let now = self.server.now().await?;
        let lapsed = lapsed(&self.server, connection, &self.shelf, now).await?;
        let fill = |cmd: &mut Cmd| {
            self.shelf.write_keys(cmd, &lapsed);
            cmd.arg(self.until(now)).arg(u8::from(all)).arg(millis(now));
            for id in &lapsed {
                cmd.arg(id);
            }
        };
        let told = self.call(connection, &D::scripts().keep, &fill).await?;
        self.shelf.renew(began);
        Ok(told)
    }

    /// Until when a lease is that is renewed at the time `now`, in milliseconds.
    fn until(&self, now: f64) -> u64 {
        let lease = u64::try_from(self.shared.config.lease.as_millis()).unwrap_or(u64::MAX);
        millis(now).saturating_add(lease)
    }

    /// Runs one of the scripts that take messages, and takes up what it answers; gives how many these are.
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
            return Err(self
                .server
                .unavailable(format!("it answered {answer:?} where messages were due")));
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
        if let Some(round) = self.shelf.put(member) {
            let codec = &self.shared.codec;
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
            self.backlog().push_back(Taken { round, delivery });
        }
    }

    fn backlog(&self) -> std::sync::MutexGuard<'_, VecDeque<Taken>> {
        // No code that can panic runs under this lock.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The readers whose leases ran out: a script names the keys that it uses, so they are found first.
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

/// Whether a push says that `queue` changed, or that nothing more will be said.
fn concerns(info: &PushInfo, queue: &[u8]) -> bool {
    match info.kind {
        PushKind::Disconnection => true,
        // A list of keys that begin with our prefix, or nil when all are flushed.
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
