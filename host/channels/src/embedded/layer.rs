//! The channel layer on the embedded store. It uses no sockets, and the same bytes as `channels_redis`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::{Event, NewValue};
use tokio_util::sync::CancellationToken;

use crate::codec::{Codec, OpenError};
use crate::embedded::command::scripts;
use crate::embedded::command_error::CommandError;
use crate::embedded::number::parse_double;
use crate::embedded::options::LayerOptions;
use crate::embedded::queues::{EmbeddedQueues, after, remove_older};
use crate::embedded::reader::QueueReader;
use crate::embedded::resp::Reply;
use crate::embedded::script::Script;
use crate::embedded::sorted_set::SortedSet;
use crate::embedded::state::SharedState;
use crate::embedded::store::MissingKey;
use crate::layer::{ChannelLayer, LayerError, Receiver, ReceiverId, SendReport};
use crate::lease::{self, Claim, Holder, Lease};
use crate::name::{CHANNEL_KEY, ChannelName, GroupName};
use crate::score;
use crate::wire::{Member, Serializer, Wire};

/// For how many seconds beyond the expiry an encrypted message can be opened, as in channels_redis.
const READ_GRACE: u64 = 10;

/// A channel layer on an [`EmbeddedServer`](super::EmbeddedServer)'s store; see its `layer`.
///
/// Keys and members are those of channels_redis's core layer, so that Python reads messages of this layer and the
/// reverse. Both wake each other at once. Readers keep unfinished messages, and give them back when they are closed or
/// dropped. [`ReceiverId`] has no meaning here, because nothing outlives the process.
#[derive(Debug)]
pub struct EmbeddedLayer {
    pub(super) queues: EmbeddedQueues,
}

impl EmbeddedLayer {
    pub(super) fn new(
        shared: Arc<SharedState>,
        address: SocketAddr,
        options: LayerOptions,
    ) -> Self {
        let codec = Codec::new(
            options.random_prefix_length,
            options.keys.clone(),
            Some(options.expiry.saturating_add(READ_GRACE)),
        );
        let queues = EmbeddedQueues {
            shared,
            address,
            options: Arc::new(options),
            codec,
            closed: CancellationToken::new(),
        };
        Self { queues }
    }

    fn group_key(&self, group: &GroupName) -> String {
        format!("{}:group:{group}", self.queues.options.prefix)
    }

    /// Runs one of the scripts for leases, as a client of the server would.
    fn run(&self, script: Script, name: &str, arguments: &[Bytes]) -> Result<Reply, LayerError> {
        let key = Bytes::from(lease::key(&self.queues.options.prefix, name));
        self.queues
            .with(|keyspace| scripts::run_on(keyspace, script, &[key], arguments))
    }

    /// Seals `message` with the names of the channels that it is for.
    fn encode_for(&self, channels: impl Into<NewValue>, message: &Event) -> Member {
        let mut message = message.clone();
        if let Err(error) = message.set(&format!("/{CHANNEL_KEY}"), channels) {
            // The root of an event is an object, and an object takes any key.
            tracing::error!(%error, "a message could not be addressed to its process-local channels");
        }
        self.seal_event(&message)
    }

    fn seal_event(&self, message: &Event) -> Member {
        let mut payload = Vec::with_capacity(message.raw().len());
        self.serializer().write(message, &mut payload);
        self.seal(&payload)
    }
}

#[async_trait]
impl ChannelLayer for EmbeddedLayer {
    fn describe(&self) -> String {
        format!("the embedded layer at {}", self.queues.address)
    }

    fn serializer(&self) -> Serializer {
        self.queues.options.serializer
    }

    fn seal_lifetime(&self) -> Option<Duration> {
        self.queues.codec.lifetime()
    }

    fn seal(&self, payload: &[u8]) -> Member {
        self.queues.codec.seal(payload)
    }

    fn unseal(&self, member: &Member) -> Result<Bytes, OpenError> {
        self.queues.codec.open_again(&member.0)
    }

    fn wire(&self) -> Wire {
        self.queues.codec.wire(self.serializer())
    }

    fn encode(&self, channel: &ChannelName, message: &Event) -> Member {
        if channel.is_process_local() {
            self.encode_for(NewValue::Text(channel.as_str().to_owned()), message)
        } else {
            self.seal_event(message)
        }
    }

    async fn send(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<SendReport, LayerError> {
        let capacity = self.queues.options.capacities.of(channel.as_str());
        let key = self.queues.key(channel);
        self.queues
            .with(|keyspace| self.queues.send(keyspace, &key, capacity, members))
    }

    async fn group_send(&self, group: &GroupName, message: &Event) -> Result<(), LayerError> {
        let key = self.group_key(group);
        let names = self.queues.with(|keyspace| {
            keyspace.edit(key.as_bytes(), MissingKey::Ignore, |set: &mut SortedSet| {
                remove_older(set, score::now(), self.queues.options.group_expiry);
                set.iter()
                    .map(|(member, _)| member.clone())
                    .collect::<Vec<_>>()
            })
        })?;
        // As in channels_redis, one message for each queue, which names all channels of that queue.
        let mut queues: BTreeMap<Bytes, Vec<ChannelName>> = BTreeMap::new();
        for name in names.unwrap_or_default() {
            if let Some(name) = std::str::from_utf8(&name)
                .ok()
                .and_then(|name| ChannelName::new(name).ok())
            {
                queues.entry(self.queues.key(&name)).or_default().push(name);
            }
        }
        for (key, names) in queues {
            let list = serde_json::Value::from_iter(names.iter().map(ChannelName::as_str));
            let member = self.encode_for(NewValue::Json(list.to_string().into()), message);
            let capacity = names
                .first()
                .map_or(0, |name| self.queues.options.capacities.of(name.as_str()));
            let sent = self
                .queues
                .with(|keyspace| self.queues.send(keyspace, &key, capacity, &[member]))?;
            if sent.accepted == 0 {
                tracing::debug!(%group, queue = %key.escape_ascii(), "a message to the group was dropped for a channel that is full");
            }
        }
        Ok(())
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        let key = self.group_key(group);
        self.queues.with(|keyspace| {
            keyspace.edit(key.as_bytes(), MissingKey::Create, |set: &mut SortedSet| {
                set.insert(channel.as_str().as_bytes(), score::now())
            })?;
            let deadline = after(keyspace.now(), self.queues.options.group_expiry);
            keyspace.set_deadline(key.as_bytes(), Some(deadline));
            Ok(())
        })
    }

    async fn group_discard(
        &self,
        group: &GroupName,
        channel: &ChannelName,
    ) -> Result<(), LayerError> {
        let key = self.group_key(group);
        self.queues.with(|keyspace| {
            let channel = channel.as_str().as_bytes();
            keyspace.edit(key.as_bytes(), MissingKey::Ignore, |set: &mut SortedSet| {
                set.remove(channel)
            })?;
            Ok(())
        })
    }

    async fn receiver(
        &self,
        channel: &ChannelName,
        _: &ReceiverId,
    ) -> Result<Arc<dyn Receiver>, LayerError> {
        if self.queues.closed.is_cancelled() {
            return Err(LayerError::Closed);
        }
        let key = self.queues.key(channel);
        Ok(Arc::new(QueueReader::new(self.queues.clone(), key)))
    }

    fn expiry(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.queues.options.expiry))
    }

    async fn withdraw(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<Vec<bool>, LayerError> {
        let key = self.queues.key(channel);
        let removed: Option<Vec<bool>> = self.queues.with(|keyspace| {
            keyspace.edit(&key, MissingKey::Ignore, |set: &mut SortedSet| {
                let removed = members.iter().map(|Member(it)| set.remove(it).is_some());
                removed.collect()
            })
        })?;
        Ok(removed.unwrap_or_else(|| vec![false; members.len()]))
    }

    async fn depth(&self, channel: &ChannelName) -> Result<Option<u64>, LayerError> {
        let key = self.queues.key(channel);
        self.queues.with(|keyspace| {
            let set = keyspace.collection::<SortedSet>(&key)?;
            Ok(Some(set.map_or(0, |set| set.len() as u64)))
        })
    }

    /// The store is in this process. It refuses a call only if its memory is full or a key holds a value of another
    /// kind.
    async fn rehearse(&self, channels: &[ChannelName]) -> Result<(), LayerError> {
        self.ping().await?;
        for channel in channels {
            self.send(channel, &[]).await?;
        }
        Ok(())
    }

    async fn oldest(&self, channel: &ChannelName) -> Result<Option<f64>, LayerError> {
        let key = self.queues.key(channel);
        self.queues.with(|keyspace| {
            let set = keyspace.collection::<SortedSet>(&key)?;
            Ok(set.and_then(|set| set.iter().next().map(|(_, score)| score)))
        })
    }

    async fn claim(&self, claim: &Claim) -> Result<Lease, LayerError> {
        let arguments = lease::claim_arguments(claim, score::now()).map(Bytes::from);
        let answer = self.run(Script::ClaimLease, &claim.name, &arguments)?;
        let held = match &answer {
            Reply::Array(answer) => match &answer[..] {
                [Reply::Bulk(member), Reply::Bulk(number)] => {
                    let number = parse_double(number).unwrap_or_default();
                    lease::read(member, number, &claim.holder.id)
                }
                _ => None,
            },
            _ => None,
        };
        held.ok_or_else(|| {
            self.queues.refused(CommandError::Other(
                "ERR the lease that was claimed has no holder",
            ))
        })
    }

    async fn release(&self, name: &str, holder: &Holder) -> Result<(), LayerError> {
        let arguments = lease::release_arguments(holder).map(Bytes::from);
        self.run(Script::ReleaseLease, name, &arguments).map(drop)
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, LayerError> {
        let key = lease::key(&self.queues.options.prefix, name);
        self.queues.with(|keyspace| {
            let set = keyspace.collection::<SortedSet>(key.as_bytes())?;
            let held = set.and_then(|set| set.iter().next());
            Ok(held.and_then(|(member, number)| lease::read(member, number, "")))
        })
    }

    async fn ping(&self) -> Result<(), LayerError> {
        self.queues.with(|_| Ok(()))
    }

    async fn close(&self) {
        self.queues.closed.cancel();
    }
}
