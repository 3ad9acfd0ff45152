//! Reading a queue without loss: what is taken lies in a key of the reader's own until it is finished.
//!
//! A script moves messages from the queue `Q` to the sorted set `Q{Q}$djangobot.<reader's id>` in one
//! step, so at no moment is a message nowhere. `Q{Q}$djangobot` holds each reader's lease. A reader
//! that starts takes up what its id left; what is left under a lease that ran out is taken over by
//! any other reader. `Q{Q}$djangobot!again` names those that a reader had handed out and gave back.
//! The braces put these keys where a cluster has the queue.
//!
//! Between messages a reader waits for the server to say that the queue changed (`CLIENT TRACKING`
//! with RESP3, Redis 6 and newer), and looks once a second in any case; where there is no tracking
//! it looks often while messages come, and less and less often while none do ([`UNTRACKED`]). All hosts are read at the same time, each by a task that the
//! receiver owns and that connects again by itself. A message in `Q$inflight` is being read by
//! Python's channels_redis, and is left alone.

pub(crate) mod rehearsal;
mod shard;
mod shelf;

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::layer::{Delivery, LayerError, Receiver, ReceiverId};
use crate::redis::cluster::Shared;
use crate::redis::dialect::Dialect;
use shard::{Shard, Taken};
use shelf::Shelf;

/// One reader of one queue, on all hosts.
pub(crate) struct QueueReceiver<D: Dialect> {
    shared: Arc<Shared>,
    /// For each host, what was taken there and is not finished.
    shelves: Vec<Arc<Shelf>>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Result<Taken, LayerError>>>,
    /// One for each host; dropped, and so ended, with the receiver.
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
    dialect: PhantomData<D>,
}

impl<D: Dialect> QueueReceiver<D> {
    /// Starts reading `queue` (a name, without the prefix). What goes wrong is told by `next`.
    pub(crate) fn open(shared: Arc<Shared>, queue: &str, id: &ReceiverId) -> Self {
        let stop = shared.closed.child_token();
        // One place: who takes the messages decides the pace, and hosts are served in turn.
        let (out, inbox) = mpsc::channel(1);
        let key = format!("{}{queue}", shared.config.prefix);
        let shelves: Vec<_> = shared
            .servers
            .iter()
            .map(|_| Arc::new(Shelf::new(&key, id)))
            .collect();
        let mut tasks = JoinSet::new();
        for (host, shelf) in shelves.iter().enumerate() {
            let shard = Shard::<D>::new(
                host,
                shared.clone(),
                shelf.clone(),
                out.clone(),
                stop.clone(),
            );
            tasks.spawn(shard.run());
        }
        Self {
            shared,
            shelves,
            inbox: inbox.into(),
            tasks: tasks.into(),
            stop,
            dialect: PhantomData,
        }
    }

    async fn give_back(&self, host: usize) -> Result<(), LayerError> {
        let (server, shelf) = (&self.shared.servers[host], &self.shelves[host]);
        let finished = shelf.finished();
        if !finished.is_empty() {
            server.command(&D::finish(&shelf.own, &finished)).await?;
        }
        let given = shelf.given();
        let (expiry, now) = (self.shared.config.expiry, server.now().await? as u64);
        let fill = |cmd: &mut redis::Cmd| {
            shelf.write_keys(cmd, &[]);
            cmd.arg(expiry).arg(now);
            for member in &given {
                cmd.arg(&member[..]);
            }
        };
        server.script(&D::scripts().give_back, &fill).await?;
        shelf.clear();
        Ok(())
    }
}

#[async_trait]
impl<D: Dialect> Receiver for QueueReceiver<D> {
    async fn next(&self) -> Result<Delivery, LayerError> {
        let mut inbox = self.inbox.lock().await;
        loop {
            let Taken { round, delivery } = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(LayerError::Closed),
                // From here to the return nothing waits, so a caller that gives up has lost nothing.
                arrived = inbox.recv() => arrived.unwrap_or(Err(LayerError::Closed))?,
            };
            let shelf = &self.shelves[delivery.place.host];
            if shelf.hand_out(&delivery.member, round, self.shared.config.lease) {
                return Ok(delivery);
            }
        }
    }

    async fn done(&self, delivery: &Delivery) -> Result<(), LayerError> {
        let (server, shelf) = (
            &self.shared.servers[delivery.place.host],
            &self.shelves[delivery.place.host],
        );
        // Also where the receiver is being closed: that tells the server what was finished.
        shelf.finish(&delivery.member);
        if self.stop.is_cancelled() {
            return Err(LayerError::Closed);
        }
        let finish = D::finish(&shelf.own, std::slice::from_ref(&delivery.member));
        match shelf.connection() {
            Some(mut connection) => {
                let answer = crate::redis::client::command(&mut connection, &finish).await;
                answer.map_err(|error| server.explain(&error))?;
            }
            // The task connects again by itself, and sends what could not be sent meanwhile.
            None => {
                return Err(server.unavailable(
                    "the connection is lost; it will be told when it is back".into(),
                ));
            }
        }
        shelf.forget(&delivery.member);
        Ok(())
    }

    async fn close(&self) -> Result<(), LayerError> {
        self.stop.cancel();
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
        let ends = futures_util::future::join_all(
            (0..self.shelves.len()).map(|host| self.give_back(host)),
        )
        .await;
        ends.into_iter().collect()
    }
}
