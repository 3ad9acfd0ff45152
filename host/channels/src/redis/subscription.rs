//! One reader of the pub/sub layer: a connection to each host where it listens to something.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::codec::Codec;
use crate::layer::{Delivery, LayerError, Place, Receiver};
use crate::redis::client::is_barred;
use crate::redis::server::Server;

/// How many messages wait for a slow reader before newer ones are dropped: a broadcast waits for nobody.
const WAITING: usize = 10_000;

/// How often a silent connection is asked whether it still is one.
const PING: Duration = Duration::from_secs(15);

/// The pause after a connection failed, the first time and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The names that are listened to on a host.
type Names = BTreeSet<String>;

/// A reader's subscriptions.
pub(super) struct Subscription {
    hosts: Vec<HostState>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Result<Delivery, LayerError>>>,
    /// One for each host; dropped, and so ended, with the reader.
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
}

struct HostState {
    wanted: watch::Sender<Names>,
    standing: watch::Receiver<Standing>,
}

/// What a host's task has reached.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// What the server has confirmed.
    names: Names,
    /// Why there is no connection.
    failure: Option<LayerError>,
}

impl Subscription {
    /// Starts with nothing listened to, and so no connection.
    pub(super) fn open(servers: &[Arc<Server>], codec: Codec, stop: CancellationToken) -> Self {
        let (out, inbox) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        let hosts = servers.iter().enumerate().map(|(host, server)| {
            let (wanted, watched) = watch::channel(Names::new());
            let (reached, standing) = watch::channel(Standing::default());
            let listener = Listener {
                host,
                server: server.clone(),
                codec: codec.clone(),
                wanted: watched,
                reached,
                out: out.clone(),
            };
            let stop = stop.clone();
            tasks.spawn(async move {
                stop.run_until_cancelled_owned(listener.run())
                    .await
                    .unwrap_or_default()
            });
            HostState { wanted, standing }
        });
        let hosts = hosts.collect();
        Self {
            hosts,
            inbox: inbox.into(),
            tasks: tasks.into(),
            stop,
        }
    }

    /// Listens to `name` on a host, and waits until the server has confirmed it.
    pub(super) async fn subscribe(&self, host: usize, name: &str) -> Result<(), LayerError> {
        let state = &self.hosts[host];
        let mut standing = state.standing.clone();
        state
            .wanted
            .send_if_modified(|names| names.insert(name.to_owned()));
        let reached = standing
            .wait_for(|standing| standing.names.contains(name) || standing.failure.is_some())
            .await;
        let failure = match reached {
            Ok(standing) if standing.names.contains(name) => return Ok(()),
            Ok(standing) => standing.failure.clone(),
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
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

/// The task that listens on one host.
struct Listener {
    host: usize,
    server: Arc<Server>,
    codec: Codec,
    wanted: watch::Receiver<Names>,
    reached: watch::Sender<Standing>,
    out: mpsc::Sender<Result<Delivery, LayerError>>,
}

impl Listener {
    /// Listens while something is wanted; connects again, after a pause, when the connection is lost.
    async fn run(mut self) {
        let mut pause = PAUSE.0;
        // The error of a closed `wanted` says that the reader is gone.
        while self
            .wanted
            .wait_for(|names| !names.is_empty())
            .await
            .is_ok()
        {
            let Err(error) = self.session(&mut pause).await else {
                self.reached.send_replace(Standing::default());
                continue;
            };
            debug!(%error, "listening was interrupted");
            self.reached.send_replace(Standing {
                names: Names::new(),
                failure: Some(error.clone()),
            });
            drop(self.out.try_send(Err(error)));
            tokio::time::sleep(pause).await;
            self.reached.send_modify(|standing| standing.failure = None);
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Listens over one connection, until nothing is wanted any more or the connection is lost.
    async fn session(&mut self, pause: &mut Duration) -> Result<(), LayerError> {
        let server = self.server.clone();
        let (mut sink, mut stream) = server.subscriber().await?.split();
        let mut names = Names::new();
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            // What is answered while the stream is not read waits in it.
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
            *pause = PAUSE.0;
            if wanted.is_empty() {
                return Ok(());
            }
            names.clone_from(&wanted);
            self.reached.send_replace(Standing {
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
                        Some(message) => self.hand_on(&message),
                        None => return Err(server.unavailable("it closed the connection".into())),
                    },
                    () = tokio::time::sleep(PING) => match server.answered(sink.ping::<redis::Value>()).await {
                        Err(error) if !is_barred(&error) => return Err(error),
                        // One that may not be asked answers all the same.
                        Ok(_) | Err(_) => {}
                    },
                }
            }
        }
    }

    fn hand_on(&self, message: &redis::Msg) {
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
                "a message was dropped: {WAITING} wait to be read already"
            );
        }
    }
}

/// What a name that stands for all names beginning with it is to Redis: no character of a name has a meaning in a pattern.
fn pattern(name: &str) -> Option<String> {
    name.ends_with('!').then(|| format!("{name}*"))
}
