//! The channel layer on the embedded store: no sockets, and the bytes that `channels_redis` reads and writes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::{Event, NewValue};
use tokio_util::sync::CancellationToken;

use crate::capacity::Capacities;
use crate::codec::OpenError;
use crate::codec::{Codec, Key};
use crate::config::RedisConfig;
use crate::embedded::command::scripts;
use crate::embedded::number::parse_double;
use crate::embedded::reader::QueueReader;
use crate::embedded::refusal::Refusal;
use crate::embedded::resp::Reply;
use crate::embedded::script::Script;
use crate::embedded::sorted_set::{MEMBER_OVERHEAD, SortedSet};
use crate::embedded::state::{Shared, State};
use crate::embedded::store::{Absent, Keyspace, Millis};
use crate::layer::{ChannelLayer, LayerError, Receiver, ReceiverId, Sent};
use crate::lease::{self, Claim, Holder, Lease};
use crate::name::CHANNEL_KEY;
use crate::name::{ChannelName, GroupName};
use crate::refusal::RefusalKind;
use crate::score;
use crate::wire::{Member, Serializer, Wire};

/// For how many seconds more than a message waits its encryption can be opened, as channels_redis has it.
const READ_GRACE: u64 = 10;

/// A channel layer on an [`EmbeddedServer`](super::EmbeddedServer)'s store; see its `layer`.
///
/// Keys and members are those of channels_redis's core layer, so that Python reads what is
/// sent here and the reverse. Both wake each other at once. Readers keep what they took until it is done, and give
/// it back when they are closed or dropped; [`ReceiverId`] has no meaning here, since nothing outlives the process.
#[derive(Debug)]
pub struct EmbeddedLayer {
    pub(super) queues: Queues,
}

/// What the layer and its readers share.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    pub(super) shared: Arc<Shared>,
    pub(super) address: SocketAddr,
    pub(super) options: Arc<LayerOptions>,
    pub(super) codec: Codec,
    pub(super) closed: CancellationToken,
}

impl EmbeddedLayer {
    pub(super) fn new(shared: Arc<Shared>, address: SocketAddr, options: LayerOptions) -> Self {
        let codec = Codec::new(
            options.random_prefix_length,
            options.keys.clone(),
            Some(options.expiry.saturating_add(READ_GRACE)),
        );
        let queues = Queues {
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
        let answer = self
            .queues
            .with(|keyspace| scripts::run_on(keyspace, script, &[key], arguments))?;
        answer.map_err(|refusal| self.queues.refused(refusal))
    }

    /// Seals `message` with the names of the channels it is for.
    fn encode_for(&self, channels: impl Into<NewValue>, message: &Event) -> Member {
        let mut message = message.clone();
        if let Err(error) = message.set(&format!("/{CHANNEL_KEY}"), channels) {
            // An event's root is an object, and an object takes any key.
            tracing::error!(%error, "a message could not be addressed");
        }
        self.seal_event(&message)
    }

    fn seal_event(&self, message: &Event) -> Member {
        let mut payload = Vec::with_capacity(message.raw().len());
        self.serializer().write(message, &mut payload);
        self.seal(&payload)
    }
}

impl Queues {
    /// The key of the queue that carries `channel`.
    pub(super) fn key(&self, channel: &ChannelName) -> Bytes {
        format!("{}{}", self.options.prefix, channel.queue()).into()
    }

    /// Works on the layer's database, and wakes whom it concerns.
    fn with<R>(&self, work: impl FnOnce(&mut Keyspace<'_>) -> R) -> Result<R, LayerError> {
        if self.closed.is_cancelled() {
            return Err(LayerError::Closed);
        }
        let mut state = self.shared.lock();
        let result = work(&mut keyspace(&mut state));
        state.settle(None);
        Ok(result)
    }

    /// The server's own error: its memory is full, or another program uses a key for something else.
    pub(super) fn refused(&self, refusal: Refusal) -> LayerError {
        LayerError::Refused {
            address: self.address.to_string(),
            kind: match refusal {
                Refusal::Memory => RefusalKind::Memory,
                Refusal::WrongType => RefusalKind::WrongType,
                _ => RefusalKind::Request,
            },
            reason: refusal.to_string(),
        }
    }

    /// Puts members on a queue, as many as capacity and memory have room for.
    ///
    /// Where there is no memory for the first it fails, and may be tried again, as with a Redis at its `maxmemory`.
    fn send(
        &self,
        keyspace: &mut Keyspace<'_>,
        key: &[u8],
        capacity: usize,
        members: &[Member],
    ) -> Result<Sent, LayerError> {
        let now = score::now();
        let (mut expired, mut waiting) = (0, 0);
        let mut memory = keyspace.room();
        let mut is_out_of_memory = false;
        let accepted = keyspace.edit(key, Absent::Create, |set: &mut SortedSet| {
            expired = remove_older(set, now, self.options.expiry);
            // Later than all that is there, or what was sent first might be read last.
            let mut next = set.last_score().map_or(now, |last| now.max(last.next_up()));
            let mut accepted = 0;
            is_out_of_memory = members.is_empty() && memory < MEMBER_OVERHEAD;
            for Member(member) in members {
                if set.score(member).is_none() {
                    let cost = member.len() + MEMBER_OVERHEAD;
                    if set.len() >= capacity {
                        break;
                    }
                    if memory < cost {
                        is_out_of_memory = accepted == 0;
                        break;
                    }
                    memory -= cost;
                    set.insert(member, next);
                    next = next.next_up();
                }
                accepted += 1;
            }
            waiting = set.len();
            accepted
        });
        let accepted = accepted
            .map_err(|refusal| self.refused(refusal))?
            .unwrap_or(0);
        if is_out_of_memory {
            return Err(self.refused(Refusal::Memory));
        }
        if accepted > 0 {
            keyspace.set_deadline(key, Some(after(keyspace.now(), self.options.expiry)));
        }
        Ok(Sent {
            accepted,
            receivers: None,
            expired: expired as u64,
            waiting: Some(waiting as u64),
        })
    }
}

/// Takes out what is older than `expiry` seconds.
fn remove_older(set: &mut SortedSet, now: f64, expiry: u64) -> usize {
    let limit = now.trunc() - expiry as f64;
    set.remove_range(
        std::ops::Bound::Included(0.0),
        std::ops::Bound::Included(limit),
    )
}

/// The time `seconds` after `now`.
fn after(now: Millis, seconds: u64) -> Millis {
    now.saturating_add(seconds.saturating_mul(1000))
}

/// The layer's database, now.
pub(super) fn keyspace(state: &mut State) -> Keyspace<'_> {
    let now = state.now();
    state.store.at(DATABASE, now)
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

    async fn send(&self, channel: &ChannelName, members: &[Member]) -> Result<Sent, LayerError> {
        let capacity = self.queues.options.capacities.of(channel.as_str());
        let key = self.queues.key(channel);
        self.queues
            .with(|keyspace| self.queues.send(keyspace, &key, capacity, members))?
    }

    async fn group_send(&self, group: &GroupName, message: &Event) -> Result<(), LayerError> {
        let key = self.group_key(group);
        let names = self.queues.with(|keyspace| {
            let names = keyspace.edit(key.as_bytes(), Absent::Leave, |set: &mut SortedSet| {
                remove_older(set, score::now(), self.queues.options.group_expiry);
                set.iter()
                    .map(|(member, _)| member.clone())
                    .collect::<Vec<_>>()
            });
            names.map_err(|refusal| self.queues.refused(refusal))
        })??;
        // One message for each queue, which names all its channels, as channels_redis has it.
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
                .with(|keyspace| self.queues.send(keyspace, &key, capacity, &[member]))??;
            if sent.accepted == 0 {
                tracing::debug!(%group, queue = %key.escape_ascii(), "a channel of the group is full and was passed over");
            }
        }
        Ok(())
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        let key = self.group_key(group);
        self.queues.with(|keyspace| {
            keyspace
                .edit(key.as_bytes(), Absent::Create, |set: &mut SortedSet| {
                    set.insert(channel.as_str().as_bytes(), score::now())
                })
                .map_err(|refusal| self.queues.refused(refusal))?;
            let deadline = after(keyspace.now(), self.queues.options.group_expiry);
            keyspace.set_deadline(key.as_bytes(), Some(deadline));
            Ok(())
        })?
    }

    async fn group_discard(
        &self,
        group: &GroupName,
        channel: &ChannelName,
    ) -> Result<(), LayerError> {
        let key = self.group_key(group);
        self.queues.with(|keyspace| {
            let channel = channel.as_str().as_bytes();
            keyspace
                .edit(key.as_bytes(), Absent::Leave, |set: &mut SortedSet| {
                    set.remove(channel)
                })
                .map_err(|refusal| self.queues.refused(refusal))?;
            Ok(())
        })?
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
        let removed = self.queues.with(|keyspace| {
            keyspace.edit(&key, Absent::Leave, |set: &mut SortedSet| {
                let removed = members.iter().map(|Member(it)| set.remove(it).is_some());
                removed.collect()
            })
        })?;
        let removed: Option<Vec<bool>> = removed.map_err(|refusal| self.queues.refused(refusal))?;
        Ok(removed.unwrap_or_else(|| vec![false; members.len()]))
    }

    async fn depth(&self, channel: &ChannelName) -> Result<Option<u64>, LayerError> {
        let key = self.queues.key(channel);
        self.queues.with(|keyspace| {
            let set = keyspace
                .collection::<SortedSet>(&key)
                .map_err(|refusal| self.queues.refused(refusal))?;
            Ok(Some(set.map_or(0, |set| set.len() as u64)))
        })?
    }

    /// The store is in this process, and refuses only what its memory or a key's kind does not allow.
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
            let set = keyspace
                .collection::<SortedSet>(&key)
                .map_err(|refusal| self.queues.refused(refusal))?;
            Ok(set.and_then(|set| set.iter().next().map(|(_, score)| score)))
        })?
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
            self.queues
                .refused(Refusal::Other("ERR a lease has no holder"))
        })
    }

    async fn release(&self, name: &str, holder: &Holder) -> Result<(), LayerError> {
        let arguments = lease::release_arguments(holder).map(Bytes::from);
        self.run(Script::ReleaseLease, name, &arguments).map(drop)
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, LayerError> {
        let key = lease::key(&self.queues.options.prefix, name);
        self.queues.with(|keyspace| {
            let set = keyspace
                .collection::<SortedSet>(key.as_bytes())
                .map_err(|refusal| self.queues.refused(refusal))?;
            let held = set.and_then(|set| set.iter().next());
            Ok(held.and_then(|(member, number)| lease::read(member, number, "")))
        })?
    }

    async fn ping(&self) -> Result<(), LayerError> {
        self.queues.with(|_| ())
    }

    async fn close(&self) {
        self.queues.closed.cancel();
    }
}
