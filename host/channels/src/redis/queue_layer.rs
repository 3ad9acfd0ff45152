//! The layers that keep queues in Redis: sending, groups, and the readers of [`crate::redis::receiver`].

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::{Event, NewValue};
use futures_util::future::{join_all, try_join_all};
use redis::Value;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::codec::OpenError;
use crate::config::RedisConfig;
use crate::layer::{ChannelLayer, LayerError, Receiver, ReceiverId, Sent};
use crate::lease::{Claim, Holder, Lease};
use crate::name::CHANNEL_KEY;
use crate::name::{ChannelName, GroupName};
use crate::redis::cluster::Shared;
use crate::redis::dialect::{Append, Dialect};
use crate::redis::lease;
use crate::redis::placement::{Deal, Turns};
use crate::redis::receiver::QueueReceiver;
use crate::redis::receiver::rehearsal::{look_at_keys, rehearse};
use crate::redis::server::Server;
use crate::redis::sharding::consistent_hash;
use crate::score::{self, Scores};
use crate::wire::{Member, Serializer, Wire};

/// A layer of queues in Redis, on one host or several.
pub(crate) struct Queues<D: Dialect> {
    shared: Arc<Shared>,
    scores: Scores,
    turns: Turns,
    dialect: PhantomData<D>,
}

/// What a call of [`Dialect::append`] did on one host, or on several.
#[derive(Debug, Clone, Copy, Default)]
struct Appended {
    accepted: usize,
    /// Messages that had expired, and are gone.
    expired: u64,
    /// Messages that wait now.
    waiting: u64,
}

impl<D: Dialect> Queues<D> {
    pub(crate) fn new(config: RedisConfig) -> Self {
        let servers = Server::all(&config);
        let shared = Arc::new(Shared {
            codec: D::codec(&config),
            servers,
            closed: CancellationToken::new(),
            config,
        });
        Self {
            scores: Scores::default(),
            turns: Turns::default(),
            dialect: PhantomData,
            shared,
        }
    }

    /// The servers that `channel` may be on: one for a process-local name, all for another.
    fn servers(&self, channel: &ChannelName) -> &[Arc<Server>] {
        let servers = &self.shared.servers;
        if channel.is_process_local() {
            std::slice::from_ref(&servers[consistent_hash(channel.queue(), servers.len())])
        } else {
            servers
        }
    }

    fn group_server(&self, group: &GroupName) -> &Server {
        &self.shared.servers[consistent_hash(group.as_str(), self.shared.servers.len())]
    }

    fn group_key(&self, group: &GroupName) -> String {
        format!("{}:group:{group}", self.shared.config.prefix)
    }

    /// Puts members on one host's queue.
    async fn append(&self, server: &Server, append: &Append<'_>) -> Result<Appended, LayerError> {
        let answer = server
            .script(D::append(), &|cmd| D::write_append(cmd, append))
            .await?;
        let numbers: (usize, u64, u64) = redis::from_redis_value(answer).map_err(|error| {
            server.unavailable(format!("it answered what was not due: {error}"))
        })?;
        let (accepted, expired, waiting) = numbers;
        Ok(Appended {
            accepted,
            expired,
            waiting,
        })
    }

    /// Deals `members` out to several hosts. A host that is full or does not answer is passed over.
    async fn spread(&self, whole: &Append<'_>) -> Result<Appended, LayerError> {
        let servers = &self.shared.servers;
        let first = self
            .turns
            .advance(whole.queue, whole.members.len(), servers.len());
        let mut deal = Deal::new(whole.members.len(), servers.len(), first);
        if servers.iter().any(|server| !server.is_resting()) {
            let resting = (0..servers.len()).filter(|&host| servers[host].is_resting());
            resting.for_each(|host| deal.pass_over(host));
        }
        let mut failure = None;
        let mut sum = Appended::default();
        loop {
            let round = deal.round();
            if round.is_empty() {
                break;
            }
            let answers = join_all(
                round
                    .iter()
                    .map(|(host, members)| self.append_some(*host, whole, members)),
            )
            .await;
            let mut out = Vec::new();
            for ((host, members), answer) in round.iter().zip(answers) {
                match answer {
                    Ok(appended) => {
                        deal.took(*host, appended.accepted);
                        sum.expired += appended.expired;
                        if appended.accepted < members.len() {
                            out.push(*host);
                        }
                    }
                    Err(error) => {
                        out.push(*host);
                        failure = Some(error);
                    }
                }
            }
            // Only now, when it is known what each host took, is anything dealt anew.
            out.into_iter().for_each(|host| deal.pass_over(host));
        }
        for (host, members) in deal.stray() {
            let (_, members) = pick(whole, &members);
            let withdrawn = servers[host]
                .command(&D::withdraw(&Append {
                    members: &members,
                    ..*whole
                }))
                .await;
            if let Err(error) = withdrawn {
                debug!(%error, queue = whole.queue, "messages could not be taken back and may come twice");
            }
        }
        match (deal.accepted(), failure) {
            (0, Some(error)) if !whole.members.is_empty() => Err(error),
            (accepted, _) => Ok(Appended { accepted, ..sum }),
        }
    }

    async fn append_some(
        &self,
        host: usize,
        whole: &Append<'_>,
        members: &[usize],
    ) -> Result<Appended, LayerError> {
        let (scores, members) = pick(whole, members);
        let append = Append {
            scores: &scores,
            members: &members,
            ..*whole
        };
        let server = &self.shared.servers[host];
        match self.append(server, &append).await {
            // The answer may have been lost on the way: the same host must say, or the members
            // would be on two. One that hangs would not say now either, and hold up all the others.
            Err(error) if error.is_temporary() && !server.hangs() => {
                self.append(server, &append).await
            }
            answer => answer,
        }
    }

    fn encode_for(&self, message: &Event, channels: Option<NewValue>) -> Member {
        let mut out = Vec::with_capacity(message.raw().len() + 64);
        match channels {
            None => self.shared.config.serializer.write(message, &mut out),
            Some(channels) => {
                let mut message = message.clone();
                if let Err(error) = message.set(&format!("/{CHANNEL_KEY}"), channels) {
                    // Setting a key of the root, which is an object, has no reason to fail.
                    debug!(%error, "{CHANNEL_KEY} could not be added");
                }
                self.shared.config.serializer.write(&message, &mut out);
            }
        }
        self.seal(&out)
    }

    /// `message` for the channels `names` of a group, which share a queue.
    fn group_member(&self, names: &[&ChannelName], message: &Event) -> Member {
        // Names of channels need no escapes.
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        let list = format!("[\"{}\"]", names.join("\",\""));
        self.encode_for(message, Some(NewValue::from(list.into_bytes())))
    }

    /// The channels of `group` whose time in it is not over.
    async fn group_channels(&self, group: &GroupName) -> Result<Vec<ChannelName>, LayerError> {
        let (server, key) = (self.group_server(group), self.group_key(group));
        let mut pipeline = redis::pipe();
        let now = server.now().await? as u64;
        let oldest = now.saturating_sub(self.shared.config.group_expiry);
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

/// The time by the clock of one of `servers`; of several, the first that tells it, whether it is there just now or not.
async fn time(servers: &[Arc<Server>]) -> Result<f64, LayerError> {
    if let [server] = servers {
        return server.now().await;
    }
    if let Some(now) = servers.iter().find_map(|server| server.time()) {
        return Ok(now);
    }
    for server in servers {
        if let Ok(now) = server.now().await {
            return Ok(now);
        }
    }
    // Who sends finds out that none is there.
    Ok(score::now())
}

/// The scores and members of `whole` at `indexes`.
fn pick<'a>(whole: &Append<'a>, indexes: &[usize]) -> (Vec<f64>, Vec<&'a Member>) {
    indexes
        .iter()
        .map(|&at| (whole.scores[at], whole.members[at]))
        .unzip()
}

#[async_trait]
impl<D: Dialect> ChannelLayer for Queues<D> {
    fn describe(&self) -> String {
        let addresses: Vec<_> = self
            .shared
            .servers
            .iter()
            .map(|server| server.address())
            .collect();
        format!("{} at {}", D::NAME, addresses.join(", "))
    }

    fn serializer(&self) -> Serializer {
        self.shared.config.serializer
    }

    fn seal(&self, payload: &[u8]) -> Member {
        D::seal(&self.shared.codec, payload)
    }

    fn unseal(&self, member: &Member) -> Result<Bytes, OpenError> {
        let (head, body) = (D::HEAD, &member.0);
        if body.len() < head {
            return Err(OpenError::Short(body.len()));
        }
        self.shared.codec.open_again(&body.slice(head..))
    }

    fn wire(&self) -> Wire {
        let wire = self.shared.codec.wire(self.serializer());
        Wire {
            head: wire.head + D::HEAD,
            ..wire
        }
    }

    fn seal_lifetime(&self) -> Option<Duration> {
        self.shared.codec.lifetime()
    }

    fn encode(&self, channel: &ChannelName, message: &Event) -> Member {
        let name = channel
            .is_process_local()
            .then(|| NewValue::from(channel.as_str()));
        self.encode_for(message, name)
    }

    async fn send(&self, channel: &ChannelName, members: &[Member]) -> Result<Sent, LayerError> {
        let servers = self.servers(channel);
        let members: Vec<&Member> = members.iter().collect();
        let now = time(servers).await?;
        let whole = Append {
            config: &self.shared.config,
            queue: &format!("{}{}", self.shared.config.prefix, channel.queue()),
            name: channel.queue(),
            capacity: self.shared.config.capacities.of(channel.as_str()),
            now: now as u64,
            scores: &self.scores.take(now, members.len()),
            members: &members,
        };
        let appended = match servers {
            // Nothing is sent; the servers say whether they would take something.
            servers if members.is_empty() => {
                let asked = servers.iter().map(|server| self.append(server, &whole));
                let answers = join_all(asked).await;
                let mut sum = None;
                let mut failure = None;
                for answer in answers {
                    match answer {
                        Ok(it) => {
                            let all = sum.get_or_insert_with(Appended::default);
                            all.expired += it.expired;
                            all.waiting += it.waiting;
                        }
                        Err(error) => failure = Some(error),
                    }
                }
                match (sum, failure) {
                    (None, Some(error)) => return Err(error),
                    (sum, _) => sum.unwrap_or_default(),
                }
            }
            [server] => self.append(server, &whole).await?,
            _ => self.spread(&whole).await?,
        };
        Ok(Sent {
            accepted: appended.accepted,
            receivers: None,
            expired: appended.expired,
            // Those that were passed over were not asked.
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
        let config = &self.shared.config;
        // One call for each: queues of a group lie in different parts of a cluster.
        let sends = queues.into_iter().map(async |(queue, names)| {
            let member = self.group_member(&names, message);
            let server = &self.shared.servers[consistent_hash(queue, self.shared.servers.len())];
            let now = server.now().await?;
            let append = Append {
                config,
                queue: &format!("{}{queue}", config.prefix),
                name: queue,
                capacity: config.capacities.of(names[0].as_str()),
                now: now as u64,
                scores: &self.scores.take(now, 1),
                members: &[&member],
            };
            if self.append(server, &append).await?.accepted == 0 {
                debug!(%group, queue, "a channel of the group is full and got nothing");
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
            .arg(self.shared.config.group_expiry);
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
        if self.shared.closed.is_cancelled() {
            return Err(LayerError::Closed);
        }
        let shared = self.shared.clone();
        // Channels_redis's own senders hash the full name, so replies may lie on any host: all are read.
        Ok(Arc::new(QueueReceiver::<D>::open(
            shared,
            channel.queue(),
            id,
        )))
    }

    fn expiry(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.shared.config.expiry))
    }

    async fn withdraw(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<Vec<bool>, LayerError> {
        let queue = format!("{}{}", self.shared.config.prefix, channel.queue());
        let mut pipeline = redis::Pipeline::with_capacity(members.len());
        for member in members {
            pipeline.add_command(D::withdraw(&Append {
                config: &self.shared.config,
                queue: &queue,
                name: channel.queue(),
                capacity: 0,
                now: 0,
                scores: &[],
                members: &[member],
            }));
        }
        // Which host has one is not known.
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
        let queue = format!("{}{}", self.shared.config.prefix, channel.queue());
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
        let servers = &self.shared.servers;
        try_join_all(
            servers
                .iter()
                .map(|server| rehearse::<D>(&self.shared, server)),
        )
        .await?;
        for channel in channels {
            self.send(channel, &[]).await?;
            let queue = format!("{}{}", self.shared.config.prefix, channel.queue());
            try_join_all(servers.iter().map(|server| look_at_keys(server, &queue))).await?;
        }
        Ok(())
    }

    async fn oldest(&self, channel: &ChannelName) -> Result<Option<f64>, LayerError> {
        let queue = format!("{}{}", self.shared.config.prefix, channel.queue());
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
        lease::claim(&self.shared.servers, &self.shared.config.prefix, claim).await
    }

    async fn release(&self, name: &str, holder: &Holder) -> Result<(), LayerError> {
        lease::release(
            &self.shared.servers,
            &self.shared.config.prefix,
            name,
            holder,
        )
        .await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, LayerError> {
        lease::look(&self.shared.servers, &self.shared.config.prefix, name).await
    }

    async fn ping(&self) -> Result<(), LayerError> {
        try_join_all(self.shared.servers.iter().map(|server| server.ping()))
            .await
            .map(drop)
    }

    async fn close(&self) {
        self.shared.closed.cancel();
        self.shared.servers.iter().for_each(|server| server.close());
    }
}
