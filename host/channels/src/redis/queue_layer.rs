//! The layers that keep queues in Redis. [`crate::redis::sender`] sends, and [`crate::redis::receiver`] reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::{Event, NewValue};
use futures_util::future::try_join_all;
use redis::Value;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::codec::OpenError;
use crate::config::RedisConfig;
use crate::layer::{ChannelLayer, LayerError, Receiver, ReceiverId, SendReport};
use crate::lease::{Claim, Holder, Lease};
use crate::name::{CHANNEL_KEY, ChannelName, GroupName};
use crate::redis::backend::Backend;
use crate::redis::dialect::{AppendRequest, Dialect};
use crate::redis::lease;
use crate::redis::receiver::QueueReceiver;
use crate::redis::receiver::rehearsal::{look_at_keys, rehearse};
use crate::redis::sender::{Sender, time};
use crate::redis::server::Server;
use crate::redis::sharding::consistent_hash;
use crate::score::Scores;
use crate::wire::{Member, Serializer, Wire};

/// A layer of queues in Redis, on one host or several.
pub(crate) struct QueueLayer<D: Dialect> {
    backend: Arc<Backend>,
    sender: Sender<D>,
    scores: Scores,
}

impl<D: Dialect> QueueLayer<D> {
    pub(crate) fn new(config: RedisConfig) -> Self {
        let servers = Server::all(&config);
        let backend = Arc::new(Backend {
            codec: D::codec(&config),
            servers,
            closed: CancellationToken::new(),
            config,
        });
        Self {
            sender: Sender::new(backend.clone()),
            scores: Scores::default(),
            backend,
        }
    }

    /// The servers that `channel` may be on: one for a process-local name, all for any other.
    fn servers(&self, channel: &ChannelName) -> &[Arc<Server>] {
        let servers = &self.backend.servers;
        if channel.is_process_local() {
            std::slice::from_ref(&servers[consistent_hash(channel.queue(), servers.len())])
        } else {
            servers
        }
    }

    fn group_server(&self, group: &GroupName) -> &Server {
        &self.backend.servers[consistent_hash(group.as_str(), self.backend.servers.len())]
    }

    fn group_key(&self, group: &GroupName) -> String {
        format!("{}:group:{group}", self.backend.config.prefix)
    }

    fn encode_for(&self, message: &Event, channels: Option<NewValue>) -> Member {
        let mut out = Vec::with_capacity(message.raw().len() + 64);
        match channels {
            None => self.backend.config.serializer.write(message, &mut out),
            Some(channels) => {
                let mut message = message.clone();
                if let Err(error) = message.set(&format!("/{CHANNEL_KEY}"), channels) {
                    // The root of an event is an object, and an object takes any key.
                    debug!(%error, "{CHANNEL_KEY} could not be added to a message");
                }
                self.backend.config.serializer.write(&message, &mut out);
            }
        }
        self.seal(&out)
    }

    /// The member of `message` for the channels `names` of a group, which share a queue.
    fn group_member(&self, names: &[&ChannelName], message: &Event) -> Member {
        // The characters of channel names need no escapes in JSON.
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        let list = format!("[\"{}\"]", names.join("\",\""));
        self.encode_for(message, Some(NewValue::from(list.into_bytes())))
    }

    /// The channels of `group` whose membership has not expired.
    async fn group_channels(&self, group: &GroupName) -> Result<Vec<ChannelName>, LayerError> {
        let (server, key) = (self.group_server(group), self.group_key(group));
        let mut pipeline = redis::pipe();
        let now = server.now().await? as u64;
        let oldest = now.saturating_sub(self.backend.config.group_expiry);
        pipeline
            .cmd("ZREMRANGEBYSCORE")
            .arg(&key)
            .arg(0)
            .arg(oldest);
        pipeline.cmd("ZRANGE").arg(&key).arg(0).arg(-1);
        let answer = server
            .pipeline(&pipeline)
            .await?
            .pop()
            .unwrap_or(Value::Nil);
        let names: Vec<String> = redis::from_redis_value(answer)
            .map_err(|error| server.unavailable(error.to_string()))?;
        Ok(names
            .iter()
            .filter_map(|name| ChannelName::new(name).ok())
            .collect())
    }
}

#[async_trait]
impl<D: Dialect> ChannelLayer for QueueLayer<D> {
    fn describe(&self) -> String {
        let addresses: Vec<_> = self
            .backend
            .servers
            .iter()
            .map(|server| server.address())
            .collect();
        format!("{} at {}", D::NAME, addresses.join(", "))
    }

    fn serializer(&self) -> Serializer {
        self.backend.config.serializer
    }

    fn seal(&self, payload: &[u8]) -> Member {
        D::seal(&self.backend.codec, payload)
    }

    fn unseal(&self, member: &Member) -> Result<Bytes, OpenError> {
        let (head, body) = (D::HEAD, &member.0);
        if body.len() < head {
            return Err(OpenError::Short(body.len()));
        }
        self.backend.codec.open_again(&body.slice(head..))
    }

    fn wire(&self) -> Wire {
        let wire = self.backend.codec.wire(self.serializer());
        Wire {
            head: wire.head + D::HEAD,
            ..wire
        }
    }

    fn seal_lifetime(&self) -> Option<Duration> {
        self.backend.codec.lifetime()
    }

    fn encode(&self, channel: &ChannelName, message: &Event) -> Member {
        let name = channel
            .is_process_local()
            .then(|| NewValue::from(channel.as_str()));
        self.encode_for(message, name)
    }

    async fn send(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<SendReport, LayerError> {
        let servers = self.servers(channel);
        let members: Vec<&Member> = members.iter().collect();
        let now = time(servers).await?;
        let whole = AppendRequest {
            config: &self.backend.config,
            queue: &format!("{}{}", self.backend.config.prefix, channel.queue()),
            name: channel.queue(),
            capacity: self.backend.config.capacities.of(channel.as_str()),
            now: now as u64,
            scores: &self.scores.take(now, members.len()),
            members: &members,
        };
        let appended = match servers {
            servers if members.is_empty() => self.sender.ask(servers, &whole).await?,
            [server] => self.sender.append(server, &whole).await?,
            _ => self.sender.spread(&whole).await?,
        };
        Ok(SendReport {
            accepted: appended.accepted,
            receivers: None,
            expired: appended.expired,
            // Hosts that were passed over were not asked, so the sum over several hosts is not known.
            waiting: (servers.len() == 1 || members.is_empty()).then_some(appended.waiting),
        })
    }

    async fn group_send(&self, group: &GroupName, message: &Event) -> Result<(), LayerError> {
        let channels = self.group_channels(group).await?;
        if !D::SHARES_GROUP_MESSAGES {
            for channel in channels {
                self.send(&channel, &[self.encode(&channel, message)])
                    .await?;
            }
            return Ok(());
        }
        let mut queues: BTreeMap<&str, Vec<&ChannelName>> = BTreeMap::new();
        for channel in &channels {
            queues.entry(channel.queue()).or_default().push(channel);
        }
        let config = &self.backend.config;
        // One call for each queue, because the queues of a group lie in different slots of a Redis Cluster.
        let sends = queues.into_iter().map(async |(queue, names)| {
            let member = self.group_member(&names, message);
            let server = &self.backend.servers[consistent_hash(queue, self.backend.servers.len())];
            let now = server.now().await?;
            let append = AppendRequest {
                config,
                queue: &format!("{}{queue}", config.prefix),
                name: queue,
                capacity: config.capacities.of(names[0].as_str()),
                now: now as u64,
                scores: &self.scores.take(now, 1),
                members: &[&member],
            };
            if self.sender.append(server, &append).await?.accepted == 0 {
                debug!(%group, queue, "a message to the group was dropped for a channel that is full");
            }
            Ok(())
        });
        try_join_all(sends).await.map(drop)
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        let (server, key) = (self.group_server(group), self.group_key(group));
        let now = server.now().await?;
        let mut pipeline = redis::pipe();
        pipeline
            .cmd("ZADD")
            .arg(&key)
            .arg(now)
            .arg(channel.as_str());
        pipeline
            .cmd("EXPIRE")
            .arg(&key)
            .arg(self.backend.config.group_expiry);
        server.pipeline(&pipeline).await.map(drop)
    }

    async fn group_discard(
        &self,
        group: &GroupName,
        channel: &ChannelName,
    ) -> Result<(), LayerError> {
        let mut cmd = redis::cmd("ZREM");
        cmd.arg(self.group_key(group)).arg(channel.as_str());
        self.group_server(group).command(&cmd).await.map(drop)
    }

    async fn receiver(
        &self,
        channel: &ChannelName,
        id: &ReceiverId,
    ) -> Result<Arc<dyn Receiver>, LayerError> {
        if self.backend.closed.is_cancelled() {
            return Err(LayerError::Closed);
        }
        let backend = self.backend.clone();
        // channels_redis's own senders hash the full name, so replies may lie on any host: all hosts are read.
        Ok(Arc::new(QueueReceiver::<D>::open(
            backend,
            channel.queue(),
            id,
        )))
    }

    fn expiry(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.backend.config.expiry))
    }

    async fn withdraw(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<Vec<bool>, LayerError> {
        let queue = format!("{}{}", self.backend.config.prefix, channel.queue());
        let mut pipeline = redis::Pipeline::with_capacity(members.len());
        for member in members {
            pipeline.add_command(D::withdraw(&AppendRequest {
                config: &self.backend.config,
                queue: &queue,
                name: channel.queue(),
                capacity: 0,
                now: 0,
                scores: &[],
                members: &[member],
            }));
        }
        // Nothing says which host has a member, so all are asked.
        let servers = self.servers(channel);
        let answers = try_join_all(servers.iter().map(|server| server.pipeline(&pipeline))).await?;
        let was_there = |nth: usize| {
            answers
                .iter()
                .any(|host| matches!(host.get(nth), Some(Value::Int(1..))))
        };
        Ok((0..members.len()).map(was_there).collect())
    }

    async fn depth(&self, channel: &ChannelName) -> Result<Option<u64>, LayerError> {
        let queue = format!("{}{}", self.backend.config.prefix, channel.queue());
        let cmd = D::depth(&queue);
        let answers = try_join_all(
            self.servers(channel)
                .iter()
                .map(|server| server.command(&cmd)),
        )
        .await?;
        let waiting = |answer: &Value| match answer {
            Value::Int(waiting) => u64::try_from(*waiting).unwrap_or(0),
            _ => 0,
        };
        Ok(Some(answers.iter().map(waiting).sum()))
    }

    async fn rehearse(&self, channels: &[ChannelName]) -> Result<(), LayerError> {
        let servers = &self.backend.servers;
        try_join_all(
            servers
                .iter()
                .map(|server| rehearse::<D>(&self.backend, server)),
        )
        .await?;
        for channel in channels {
            self.send(channel, &[]).await?;
            let queue = format!("{}{}", self.backend.config.prefix, channel.queue());
            try_join_all(servers.iter().map(|server| look_at_keys(server, &queue))).await?;
        }
        Ok(())
    }

    async fn oldest(&self, channel: &ChannelName) -> Result<Option<f64>, LayerError> {
        let queue = format!("{}{}", self.backend.config.prefix, channel.queue());
        let Some(cmd) = D::oldest(&queue) else {
            return Ok(None);
        };
        let servers = self.servers(channel).iter();
        let answers = try_join_all(servers.map(|server| server.command(&cmd))).await?;
        let scores = answers.into_iter().filter_map(|answer| {
            let members: Vec<(Vec<u8>, f64)> = redis::from_redis_value(answer).ok()?;
            Some(members.first()?.1)
        });
        Ok(scores.reduce(f64::min))
    }

    async fn claim(&self, claim: &Claim) -> Result<Lease, LayerError> {
        lease::claim(&self.backend.servers, &self.backend.config.prefix, claim).await
    }

    async fn release(&self, name: &str, holder: &Holder) -> Result<(), LayerError> {
        lease::release(
            &self.backend.servers,
            &self.backend.config.prefix,
            name,
            holder,
        )
        .await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, LayerError> {
        lease::look(&self.backend.servers, &self.backend.config.prefix, name).await
    }

    async fn ping(&self) -> Result<(), LayerError> {
        try_join_all(self.backend.servers.iter().map(|server| server.ping()))
            .await
            .map(drop)
    }

    async fn close(&self) {
        self.backend.closed.cancel();
        self.backend
            .servers
            .iter()
            .for_each(|server| server.close());
    }
}
