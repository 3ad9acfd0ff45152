//! A reader of the pub/sub layer. It has a connection to each host on which it is subscribed to anything.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::lock::lock;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::codec::Codec;
use crate::layer::{Delivery, LayerError, Place, Receiver};
use crate::redis::backoff::Backoff;
use crate::redis::client::is_barred;
use crate::redis::server::Server;

/// How many messages wait for a slow reader before newer ones are dropped. A broadcast can't be slowed down by one of
/// its readers, so without this limit the messages would fill the memory.
const WAITING: usize = 10_000;

/// How often a silent connection is checked with PING.
const PING: Duration = Duration::from_secs(15);

/// The channels that a reader is subscribed to on one host.
type Names = BTreeSet<String>;

/// A reader's subscriptions.
pub(super) struct Subscription {
    hosts: Vec<HostSubscription>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Result<Delivery, LayerError>>>,
    /// One task for each host. Dropping the reader drops them, which ends them.
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
}

/// The subscriptions on one host: `wanted` goes to its task, and `state` comes back.
struct HostSubscription {
    wanted: watch::Sender<Names>,
    state: watch::Receiver<ListenerState>,
}

/// The state of a host's task.
#[derive(Debug, Clone, Default)]
struct ListenerState {
    /// The channels that the server has confirmed.
    names: Names,
    /// The reason why there is no connection.
    failure: Option<LayerError>,
}

impl Subscription {
    /// Starts without subscriptions, and so without connections.
    pub(super) fn open(servers: &[Arc<Server>], codec: Codec, stop: CancellationToken) -> Self {
        let (out, inbox) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        let hosts = servers.iter().enumerate().map(|(host, server)| {
            let (wanted, watched) = watch::channel(Names::new());
            let (reported, state) = watch::channel(ListenerState::default());
            let listener = Listener {
                host,
                server: server.clone(),
                codec: codec.clone(),
                wanted: watched,
                reported,
                out: out.clone(),
            };
            let stop = stop.clone();
            tasks.spawn(async move {
                stop.run_until_cancelled_owned(listener.run())
                    .await
                    .unwrap_or_default()
            });
            HostSubscription { wanted, state }
        });
        let hosts = hosts.collect();
        Self {
            hosts,
            inbox: inbox.into(),
            tasks: tasks.into(),
            stop,
        }
    }

    /// Subscribes to `name` on a host, and waits until the server has confirmed it.
    pub(super) async fn subscribe(&self, host: usize, name: &str) -> Result<(), LayerError> {
        let subscription = &self.hosts[host];
        let mut state = subscription.state.clone();
        subscription
            .wanted
            .send_if_modified(|names| names.insert(name.to_owned()));
        let reached = state
            .wait_for(|state| state.names.contains(name) || state.failure.is_some())
            .await;
        let failure = match reached {
            Ok(state) if state.names.contains(name) => return Ok(()),
            Ok(state) => state.failure.clone(),
            Err(_) => None,
        };
        self.unsubscribe(host, name);
        Err(failure.unwrap_or(LayerError::Closed))
    }

    pub(super) fn unsubscribe(&self, host: usize, name: &str) {
        self.hosts[host]
            .wanted
            .send_if_modified(|names| names.remove(name));
    }
}

#[async_trait]
impl Receiver for Subscription {
    async fn next(&self) -> Result<Delivery, LayerError> {
        let mut inbox = self.inbox.lock().await;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(LayerError::Closed),
            arrived = inbox.recv() => arrived.unwrap_or(Err(LayerError::Closed)),
        }
    }

    async fn done(&self, _delivery: &Delivery) -> Result<(), LayerError> {
        Ok(())
    }

    async fn close(&self) -> Result<(), LayerError> {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

/// The task for one host.
struct Listener {
    host: usize,
    server: Arc<Server>,
    codec: Codec,
    wanted: watch::Receiver<Names>,
    reported: watch::Sender<ListenerState>,
    out: mpsc::Sender<Result<Delivery, LayerError>>,
}

impl Listener {
    /// Listens while any channel is wanted. Reconnects after a pause when the connection is lost.
    async fn run(mut self) {
        let mut backoff = Backoff::new();
        // An error means that `wanted` is closed, because the reader was dropped.
        while self
            .wanted
            .wait_for(|names| !names.is_empty())
            .await
            .is_ok()
        {
            let Err(error) = self.session(&mut backoff).await else {
                self.reported.send_replace(ListenerState::default());
                continue;
            };
            debug!(%error, "listening was interrupted");
            self.reported.send_replace(ListenerState {
                names: Names::new(),
                failure: Some(error.clone()),
            });
            drop(self.out.try_send(Err(error)));
            tokio::time::sleep(backoff.advance()).await;
            self.reported.send_modify(|state| state.failure = None);
        }
    }

    /// Listens over one connection, until no channel is wanted any more or the connection is lost.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), LayerError> {
        let server = self.server.clone();
        let (mut sink, mut stream) = server.subscriber().await?.split();
        let mut names = Names::new();
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            // Messages that arrive before the stream is read again wait in it.
            for name in wanted.difference(&names) {
                match pattern(name) {
                    Some(pattern) => server.answered(sink.psubscribe(pattern)).await?,
                    None => server.answered(sink.subscribe(name)).await?,
                };
            }
            for name in names.difference(&wanted) {
                match pattern(name) {
                    Some(pattern) => server.answered(sink.punsubscribe(pattern)).await?,
                    None => server.answered(sink.unsubscribe(name)).await?,
                };
            }
            backoff.reset();
            if wanted.is_empty() {
                return Ok(());
            }
            names.clone_from(&wanted);
            self.reported.send_replace(ListenerState {
                names: wanted,
                failure: None,
            });
            loop {
                tokio::select! {
                    changed = self.wanted.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return Ok(()),
                    },
                    message = stream.next() => match message {
                        Some(message) => self.deliver(&message),
                        None => return Err(server.unavailable("the server closed the connection".into())),
                    },
                    () = tokio::time::sleep(PING) => match server.answered(sink.ping::<redis::Value>()).await {
                        Err(error) if !is_barred(&error) => return Err(error),
                        // A refusal of PING is an answer too.
                        Ok(_) | Err(_) => {}
                    },
                }
            }
        }
    }

    fn deliver(&self, message: &redis::Msg) {
        let member = Bytes::copy_from_slice(message.get_payload_bytes());
        let payload = self.codec.open(&member);
        let place = Place {
            host: self.host,
            score: 0.0,
        };
        let delivery = Delivery {
            member,
            payload,
            place,
            redelivered: false,
            channel: Some(message.get_channel_name().into()),
        };
        if self.out.try_send(Ok(delivery)).is_err() {
            warn!(
                address = self.server.address(),
                "a published message was dropped because {WAITING} messages wait to be read already; the app publishes faster than djangobot sends"
            );
        }
    }
}

/// The pattern for a name that stands for all names that begin with it. The characters of a name have no meaning in
/// patterns, so nothing needs to be escaped.
fn pattern(name: &str) -> Option<String> {
    name.ends_with('!').then(|| format!("{name}*"))
}
