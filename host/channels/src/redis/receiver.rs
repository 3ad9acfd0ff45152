//! Reads a queue without losing a message: a message that was taken lies in the reader's own key until it is finished.
//!
//! A script moves messages from the queue `Q` to the sorted set `Q{Q}$djangobot.<reader's id>`, the processing key, in
//! one step, so each message lies in exactly one key at any moment. `Q{Q}$djangobot` holds the lease of each reader. A
//! reader that starts takes up the messages under its own id; any other reader takes over the messages under a lease
//! that has run out. `Q{Q}$djangobot!again` names the members that a reader delivered and then gave back. The braces
//! put these keys into the queue's slot of a Redis Cluster.
//!
//! Between messages a reader waits until the server reports a change of the queue (`CLIENT TRACKING`, which needs RESP3
//! and Redis 6), and polls once a second in any case. Without tracking it polls often while messages come, and more and
//! more rarely while none come. All hosts are read at the same time, each by a task that the receiver owns and that
//! reconnects by itself. Python's channels_redis is reading the messages in `Q$inflight`, so they are left alone.

pub(crate) mod rehearsal;
mod shard;
mod shelf;

use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use djangobot_event::lock::lock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::layer::{Delivery, LayerError, Receiver, ReceiverId};
use crate::redis::backend::Backend;
use crate::redis::client::command;
use crate::redis::dialect::Dialect;

use shard::{PendingDelivery, Shard};
use shelf::Shelf;

/// One reader of one queue, on all hosts.
pub(crate) struct QueueReceiver<D: Dialect> {
    backend: Arc<Backend>,
    /// For each host, the messages that were taken there and are not finished.
    shelves: Vec<Arc<Shelf>>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Result<PendingDelivery, LayerError>>>,
    /// One task for each host. Dropping the receiver drops them, which ends them.
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
    dialect: PhantomData<D>,
}

impl<D: Dialect> QueueReceiver<D> {
    /// Starts to read `queue` (a name without the prefix). Errors come out of `next`.
    pub(crate) fn open(backend: Arc<Backend>, queue: &str, id: &ReceiverId) -> Self {
        let stop = backend.closed.child_token();
        // With room for one message only, the caller sets the pace and the hosts are served in turn.
        let (out, inbox) = mpsc::channel(1);
        let key = format!("{}{queue}", backend.config.prefix);
        let shelves: Vec<_> = backend
            .servers
            .iter()
            .map(|_| Arc::new(Shelf::new(&key, id)))
            .collect();
        let mut tasks = JoinSet::new();
        for (host, shelf) in shelves.iter().enumerate() {
            let shard = Shard::<D>::new(
                host,
                backend.clone(),
                shelf.clone(),
                out.clone(),
                stop.clone(),
            );
            tasks.spawn(shard.run());
        }
        Self {
            backend,
            shelves,
            inbox: inbox.into(),
            tasks: tasks.into(),
            stop,
            dialect: PhantomData,
        }
    }

    async fn give_back(&self, host: usize) -> Result<(), LayerError> {
        let (server, shelf) = (&self.backend.servers[host], &self.shelves[host]);
        let finished = shelf.finished();
        if !finished.is_empty() {
            server.command(&D::finish(&shelf.own, &finished)).await?;
        }
        let delivered = shelf.delivered();
        let (expiry, now) = (self.backend.config.expiry, server.now().await? as u64);
        let fill = |cmd: &mut redis::Cmd| {
            shelf.write_keys(cmd, &[]);
            cmd.arg(expiry).arg(now);
            for member in &delivered {
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
            let PendingDelivery { round, delivery } = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(LayerError::Closed),
                // Nothing is awaited from here to the return, so a caller that drops the future loses no message.
                arrived = inbox.recv() => arrived.unwrap_or(Err(LayerError::Closed))?,
            };
            let shelf = &self.shelves[delivery.place.host];
            if shelf.deliver(&delivery.member, round, self.backend.config.lease) {
                return Ok(delivery);
            }
        }
    }

    async fn done(&self, delivery: &Delivery) -> Result<(), LayerError> {
        let (server, shelf) = (
            &self.backend.servers[delivery.place.host],
            &self.shelves[delivery.place.host],
        );
        // This is noted even while the receiver is being closed, because closing reports finished members to the
        // server.
        shelf.finish(&delivery.member);
        if self.stop.is_cancelled() {
            return Err(LayerError::Closed);
        }
        let finish = D::finish(&shelf.own, std::slice::from_ref(&delivery.member));
        match shelf.connection() {
            Some(mut connection) => {
                let answer = command(&mut connection, &finish).await;
                answer.map_err(|error| server.explain(&error))?;
            }
            // The task reconnects by itself, and then reports the members that were finished meanwhile.
            None => {
                return Err(server.unavailable(
                    "the connection is lost; the server will hear that the message is finished after reconnection"
                        .into(),
                ));
            }
        }
        shelf.forget(&delivery.member);
        Ok(())
    }

    async fn close(&self) -> Result<(), LayerError> {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
        let ends = futures_util::future::join_all(
            (0..self.shelves.len()).map(|host| self.give_back(host)),
        )
        .await;
        ends.into_iter().collect()
    }
}
