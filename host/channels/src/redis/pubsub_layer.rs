//! The layer of `channels_redis.pubsub.RedisPubSubChannelLayer`: a broadcast, nothing is stored.
//!
//! Every process that listens to a channel gets every message on it. A message that is sent while nobody listens is
//! gone, and [`SendReport::receivers`] is 0 then. A reader that lost its connection subscribes again by itself, and has
//! missed the messages that were sent meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::Event;
use djangobot_event::lock::lock;
use futures_util::future::try_join_all;
use redis::Value;
use tokio_util::sync::CancellationToken;

use crate::codec::{Codec, OpenError};
use crate::config::RedisConfig;
use crate::layer::{ChannelLayer, LayerError, Receiver, ReceiverId, SendReport};
use crate::lease::{Claim, Holder, Lease};
use crate::name::{ChannelName, GroupName};
use crate::redis::lease;
use crate::redis::server::Server;
use crate::redis::sharding::consistent_hash;
use crate::redis::subscription::Subscription;
use crate::wire::{Member, Serializer, Wire};

/// How long the message of a rehearsal may take to come back.
const REHEARSAL: Duration = Duration::from_secs(5);

const NAME: &str = "channels_redis pub/sub";

/// channels_redis's pub/sub layer.
pub(crate) struct PubSubLayer {
    config: RedisConfig,
    servers: Vec<Arc<Server>>,
    codec: Codec,
    /// The readers of this layer by channel: adding a channel to a group subscribes its readers.
    readers: Mutex<HashMap<ChannelName, Vec<Weak<Subscription>>>>,
    closed: CancellationToken,
}

impl PubSubLayer {
    pub(crate) fn new(config: RedisConfig) -> Self {
        Self {
            servers: Server::all(&config),
            // channels_redis has no random prefix here, and no limit to a token's age.
            codec: Codec::new(0, config.keys.clone(), None),
            readers: Mutex::default(),
            closed: CancellationToken::new(),
            config,
        }
    }

    /// The host of a channel, or of a group's channel.
    fn host(&self, name: &str) -> usize {
        consistent_hash(name, self.servers.len())
    }

    fn group_channel(&self, group: &GroupName) -> String {
        format!("{}__group__{group}", self.config.prefix)
    }

    /// Publishes in order, in one pipeline. Returns the least number of receivers that a message had.
    async fn publish(&self, name: &str, members: &[Member]) -> Result<u64, LayerError> {
        let mut pipeline = redis::Pipeline::with_capacity(members.len());
        for member in members {
            pipeline.cmd("PUBLISH").arg(name).arg(&member.0[..]);
        }
        let answers = self.servers[self.host(name)].pipeline(&pipeline).await?;
        let receivers = |answer: &Value| match answer {
            Value::Int(receivers) => u64::try_from(*receivers).unwrap_or(0),
            _ => 0,
        };
        Ok(answers.iter().map(receivers).min().unwrap_or(0))
    }

    /// Subscribes on `server` to a scratch channel, and checks that a message that is published there arrives.
    async fn listen_once(&self, server: &Arc<Server>) -> Result<(), LayerError> {
        let name = format!(
            "{}djangobot.rehearsal.{}",
            self.config.prefix,
            uuid::Uuid::new_v4().simple()
        );
        let stop = self.closed.child_token();
        let listener = Subscription::open(
            std::slice::from_ref(server),
            self.codec.clone(),
            stop.clone(),
        );
        let _ends_with_this = stop.drop_guard();
        listener.subscribe(0, &name).await?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&name).arg("rehearsal");
        server.command(&publish).await?;
        match tokio::time::timeout(REHEARSAL, listener.next()).await {
            Ok(heard) => heard.map(drop),
            Err(_) => Err(server.unavailable(format!(
                "a message that was published on a scratch channel did not arrive within {REHEARSAL:?}"
            ))),
        }
    }

    fn live_readers(&self, channel: &ChannelName) -> Vec<Arc<Subscription>> {
        self.readers()
            .get(channel)
            .into_iter()
            .flatten()
            .filter_map(Weak::upgrade)
            .collect()
    }

    fn readers(&self) -> MutexGuard<'_, HashMap<ChannelName, Vec<Weak<Subscription>>>> {
        lock(&self.readers)
    }
}

#[async_trait]
impl ChannelLayer for PubSubLayer {
    fn describe(&self) -> String {
        let addresses: Vec<_> = self.servers.iter().map(|server| server.address()).collect();
        format!("{NAME} at {}", addresses.join(", "))
    }

    fn serializer(&self) -> Serializer {
        self.config.serializer
    }

    fn seal(&self, payload: &[u8]) -> Member {
        self.codec.seal(payload)
    }

    fn unseal(&self, member: &Member) -> Result<Bytes, OpenError> {
        self.codec.open_again(&member.0)
    }

    fn wire(&self) -> Wire {
        self.codec.wire(self.config.serializer)
    }

    fn encode(&self, _channel: &ChannelName, message: &Event) -> Member {
        let mut out = Vec::with_capacity(message.raw().len() + 64);
        self.config.serializer.write(message, &mut out);
        self.seal(&out)
    }

    async fn send(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<SendReport, LayerError> {
        if members.is_empty() {
            self.servers[self.host(channel.as_str())].ping().await?;
            return Ok(SendReport {
                accepted: 0,
                receivers: None,
                expired: 0,
                waiting: None,
            });
        }
        let receivers = self.publish(channel.as_str(), members).await?;
        Ok(SendReport {
            accepted: members.len(),
            receivers: Some(receivers),
            expired: 0,
            waiting: None,
        })
    }

    async fn group_send(&self, group: &GroupName, message: &Event) -> Result<(), LayerError> {
        let mut out = Vec::new();
        self.config.serializer.write(message, &mut out);
        self.publish(&self.group_channel(group), &[self.seal(&out)])
            .await
            .map(drop)
    }

    /// `channel` must be one that a reader of this layer listens to: groups are subscriptions here.
    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        let readers = self.live_readers(channel);
        if readers.is_empty() {
            return Err(LayerError::Unsupported {
                layer: NAME,
                operation: "group_add for a channel that nobody in this process reads",
            });
        }
        let name = self.group_channel(group);
        try_join_all(
            readers
                .iter()
                .map(|reader| reader.subscribe(self.host(&name), &name)),
        )
        .await
        .map(drop)
    }

    async fn group_discard(
        &self,
        group: &GroupName,
        channel: &ChannelName,
    ) -> Result<(), LayerError> {
        let name = self.group_channel(group);
        self.live_readers(channel)
            .iter()
            .for_each(|reader| reader.unsubscribe(self.host(&name), &name));
        Ok(())
    }

    /// Listens from the moment that this returns. The reader's id has no effect, because nothing is stored.
    async fn receiver(
        &self,
        channel: &ChannelName,
        _id: &ReceiverId,
    ) -> Result<Arc<dyn Receiver>, LayerError> {
        if self.closed.is_cancelled() {
            return Err(LayerError::Closed);
        }
        let reader = Arc::new(Subscription::open(
            &self.servers,
            self.codec.clone(),
            self.closed.child_token(),
        ));
        if channel.is_whole_queue() {
            // Its channels may be on any host.
            let hosts = 0..self.servers.len();
            try_join_all(hosts.map(|host| reader.subscribe(host, channel.as_str()))).await?;
        } else {
            reader
                .subscribe(self.host(channel.as_str()), channel.as_str())
                .await?;
        }
        let mut readers = self.readers();
        readers.retain(|_, readers| {
            readers.retain(|reader| reader.strong_count() > 0);
            !readers.is_empty()
        });
        readers
            .entry(channel.clone())
            .or_default()
            .push(Arc::downgrade(&reader));
        Ok(reader)
    }

    fn expiry(&self) -> Option<Duration> {
        None
    }

    /// Nothing is stored here, so nothing can be withdrawn.
    async fn withdraw(
        &self,
        _channel: &ChannelName,
        members: &[Member],
    ) -> Result<Vec<bool>, LayerError> {
        Ok(vec![false; members.len()])
    }

    async fn depth(&self, _channel: &ChannelName) -> Result<Option<u64>, LayerError> {
        Ok(None)
    }

    async fn rehearse(&self, _channels: &[ChannelName]) -> Result<(), LayerError> {
        try_join_all(self.servers.iter().map(|server| self.listen_once(server)))
            .await
            .map(drop)
    }

    async fn claim(&self, claim: &Claim) -> Result<Lease, LayerError> {
        lease::claim(&self.servers, &self.config.prefix, claim).await
    }

    async fn release(&self, name: &str, holder: &Holder) -> Result<(), LayerError> {
        lease::release(&self.servers, &self.config.prefix, name, holder).await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, LayerError> {
        lease::look(&self.servers, &self.config.prefix, name).await
    }

    async fn ping(&self) -> Result<(), LayerError> {
        try_join_all(self.servers.iter().map(|server| server.ping()))
            .await
            .map(drop)
    }

    async fn close(&self) {
        self.closed.cancel();
        self.servers.iter().for_each(|server| server.close());
    }
}
