//! The one trait that every channel layer implements, and the values that pass through it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::{Event, Value};

use crate::codec::OpenError;
use crate::lease::{Claim, Holder, Lease};
use crate::name::CHANNEL_KEY;
use crate::name::{ChannelName, GroupName};
use crate::refusal::RefusalKind;
use crate::tls::TlsFailure;
use crate::wire::{DecodeError, Member, Serializer, Wire};

/// A channel layer: named queues between processes, as Channels' specification has them.
///
/// Opening one does no I/O; a server that is away is a [`LayerError::Unavailable`] of each call,
/// and one that answers with an error a [`LayerError::Refused`]; the next call tries again. Retrying is the caller's: nothing here sleeps and repeats.
#[async_trait]
pub trait ChannelLayer: Send + Sync + 'static {
    /// What it is and where, for people: no passwords in it.
    fn describe(&self) -> String;

    /// How payloads are written.
    fn serializer(&self) -> Serializer;

    /// Makes the bytes that go on the wire of a payload: random prefix, encryption.
    ///
    /// Done once for a message, so that sending it again after a lost answer puts the same
    /// member in the queue, which then is there once (unless a reader took it between).
    fn seal(&self, payload: &[u8]) -> Member;

    /// How long readers open what [`ChannelLayer::seal`] made; `None`: for ever.
    ///
    /// An encrypted member carries the time at which it was sealed, and Python's readers end on one that is too old.
    /// Who keeps members for longer than this seals them anew.
    fn seal_lifetime(&self) -> Option<Duration> {
        None
    }

    /// Finds the payload in what [`ChannelLayer::seal`] made, of whatever age.
    fn unseal(&self, member: &Member) -> Result<Bytes, OpenError>;

    /// How this layer's members are written. Who keeps members beyond the layer's life compares it: those of another
    /// [`Wire`] have to be made anew.
    fn wire(&self) -> Wire;

    /// Writes `message` for `channel` and seals it.
    ///
    /// Adds `__asgi_channel__` where the layer's readers need it to find a process-local channel.
    fn encode(&self, channel: &ChannelName, message: &Event) -> Member;

    /// Reads a payload that was received, without the `__asgi_channel__` that layers add.
    fn decode(&self, payload: &[u8]) -> Result<Event, DecodeError> {
        without_channel(self.serializer().read(payload)?)
    }

    /// As [`ChannelLayer::decode`], but bytes that are not UTF-8 are kept, as [`Event::from_msgpack_with_bytes`] does.
    fn decode_with_bytes(&self, payload: &[u8]) -> Result<Event, DecodeError> {
        without_channel(match self.serializer() {
            Serializer::Msgpack => Event::from_msgpack_with_bytes(payload)?,
            Serializer::Json => Event::parse(payload.to_vec())?,
        })
    }

    /// The members among `wanted` of a payload that [`ChannelLayer::decode`] refuses, where they can be read.
    fn salvage(&self, payload: &[u8], wanted: &[&str]) -> Event {
        match self.serializer() {
            Serializer::Msgpack => Event::salvage_msgpack(payload, wanted),
            Serializer::Json => Event::salvage(payload, wanted),
        }
    }

    /// The process-local channels that a message is for; empty where it names none.
    fn addressees(&self, delivery: &Delivery) -> HashSet<String> {
        match &delivery.channel {
            Some(channel) => HashSet::from([channel.to_string()]),
            None => addressees(delivery, self.serializer()),
        }
    }

    /// Puts `members` on `channel`, in order, in one call; takes as many as capacity has room for.
    ///
    /// Without members it says whether the channel takes anything: the server is asked all the same.
    async fn send(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<SendReport, LayerError>;

    /// Puts `message` on each channel of `group` that has room; a full one is passed over, as in Channels.
    async fn group_send(&self, group: &GroupName, message: &Event) -> Result<(), LayerError>;

    /// Adds `channel` to `group`, for the layer's `group_expiry`.
    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError>;

    /// Takes `channel` out of `group`; one that is not in it is no error.
    async fn group_discard(
        &self,
        group: &GroupName,
        channel: &ChannelName,
    ) -> Result<(), LayerError>;

    /// Opens a reader of `channel`. One that ends with `!` stands for all names that begin with it: the reader gets the
    /// messages of all, and [`ChannelLayer::addressees`] says whose each is. So it is with any other process-local name
    /// where the layer keeps queues.
    ///
    /// `id` names the reader across restarts, and one reader at a time: what it had taken and not finished when it ended
    /// comes again to the next reader of that id at once, and to any other after the lease.
    async fn receiver(
        &self,
        channel: &ChannelName,
        id: &ReceiverId,
    ) -> Result<Arc<dyn Receiver>, LayerError>;

    /// How long a message waits on a channel before it is lost; `None` where the layer keeps none.
    fn expiry(&self) -> Option<Duration>;

    /// Takes back those of `members` that lie on `channel` still; says of each whether it did. Nobody reads them then.
    async fn withdraw(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<Vec<bool>, LayerError>;

    /// How many messages wait on `channel`, where the layer keeps any.
    async fn depth(&self, channel: &ChannelName) -> Result<Option<u64>, LayerError>;

    /// Does on each server, on a queue that nobody uses, all that a bridge does there: puts a message on it, takes, keeps and
    /// gives it back, takes and finishes it. Then asks whether `channels` would take something. A server that answers to
    /// [`ChannelLayer::ping`] may refuse any of that; the error says which.
    async fn rehearse(&self, channels: &[ChannelName]) -> Result<(), LayerError>;

    /// When the message that has waited longest on `channel` was put there, in Unix seconds by its sender's clock, where
    /// the layer keeps that.
    async fn oldest(&self, channel: &ChannelName) -> Result<Option<f64>, LayerError> {
        let _ = channel;
        Ok(None)
    }

    /// Takes a lease, or renews it, and says who holds it now.
    async fn claim(&self, claim: &Claim) -> Result<Lease, LayerError>;

    /// Gives the lease `name` up, where `holder` has it.
    async fn release(&self, name: &str, holder: &Holder) -> Result<(), LayerError>;

    /// Who holds the lease `name`.
    async fn lease(&self, name: &str) -> Result<Option<Lease>, LayerError>;

    /// Asks each server whether it is there.
    async fn ping(&self) -> Result<(), LayerError>;

    /// Gives connections back and stops background work. Close the receivers first: one that is open
    /// now ends as if it had been killed.
    async fn close(&self);
}

/// The full names in a message of a queue: a text from `send`, a list from `group_send`.
fn addressees(delivery: &Delivery, serializer: Serializer) -> HashSet<String> {
    let Ok(payload) = &delivery.payload else {
        return HashSet::new();
    };
    let Ok(message) = serializer.read(payload) else {
        return HashSet::new();
    };
    match message.field(CHANNEL_KEY) {
        Some(Value::Text(name)) => HashSet::from([name.into_owned()]),
        Some(Value::Json(list)) => serde_json::from_str(list.as_ref()).unwrap_or_default(),
        _ => HashSet::new(),
    }
}

/// A message without the key that tells readers which process-local channel it is for.
fn without_channel(mut message: Event) -> Result<Event, DecodeError> {
    if message.field(CHANNEL_KEY).is_some() {
        message.remove(&format!("/{CHANNEL_KEY}"))?;
    }
    Ok(message)
}

/// One reader of one channel.
#[async_trait]
pub trait Receiver: Send + Sync {
    /// The next message, waiting for it. Dropping the future loses nothing.
    ///
    /// An error says that the server can't be read now. The receiver goes on trying by itself, with
    /// pauses, so calling again is all that is needed.
    async fn next(&self) -> Result<Delivery, LayerError>;

    /// Says that `delivery` is finished with and may be forgotten. Until then it is kept.
    ///
    /// After an error the server does not know yet; the receiver tells it when it is back, and the
    /// message comes again only if the process ends before that.
    async fn done(&self, delivery: &Delivery) -> Result<(), LayerError>;

    /// Gives back what was taken and not finished, in its order, and stops.
    async fn close(&self) -> Result<(), LayerError>;
}

/// A message as it was taken from a channel.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The bytes as they lay in the queue.
    pub member: Bytes,
    /// The payload, unwrapped and decrypted, or why it could not be.
    pub payload: Result<Bytes, OpenError>,
    /// Where it lay, for the layer's own use in [`Receiver::done`].
    pub place: Place,
    /// Whether an earlier reader had taken it already and may have acted on it.
    pub redelivered: bool,
    /// The channel that it was published on, where the layer tells that instead of the message.
    pub channel: Option<Arc<str>>,
}

/// Where a delivery lay: which host, and its score or sequence there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Index of the host.
    pub host: usize,
    /// The score in the queue (Unix seconds).
    pub score: f64,
}

/// What a call of [`ChannelLayer::send`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendReport {
    /// How many of the members were taken, from the front.
    pub accepted: usize,
    /// How many receivers there were, where the layer is a broadcast; 0 means that nobody got it.
    pub receivers: Option<u64>,
    /// How many messages were found to be older than the layer's expiry, and are gone: nobody read them in time.
    pub expired: u64,
    /// How many messages wait on the channel now, where the layer keeps any.
    pub waiting: Option<u64>,
}

/// Names a reader across restarts; letters, digits and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReceiverId(pub Arc<str>);

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LayerError {
    /// The server can't be reached, or went away without an answer: worth trying again.
    #[error("the channel layer at {address} does not answer: {reason}")]
    Unavailable {
        /// The server's address, without a password.
        address: String,
        /// What went wrong, from the client library.
        reason: String,
    },
    /// The server answered with an error.
    #[error("the channel layer at {address} refused: {reason}")]
    Refused {
        /// The server's address, without a password.
        address: String,
        /// The server's own words.
        reason: String,
        /// What kind of error it is, and so whether waiting may help.
        kind: RefusalKind,
    },
    /// There is no TLS with the server: one side does not accept the other's certificate, or they do not understand each
    /// other, or one of them speaks none. Trying again helps where somebody mends it.
    #[error("the channel layer at {address} can't be reached: {reason}")]
    Tls {
        /// The server's address, without a password.
        address: String,
        /// Which certificate is refused and why, or what else went wrong.
        reason: String,
        /// What can be done about it.
        kind: TlsFailure,
    },
    /// This layer has no such operation (the 2016 layer's groups, say).
    #[error("{layer} has no {operation}")]
    Unsupported {
        /// The layer's kind.
        layer: &'static str,
        /// What was asked.
        operation: &'static str,
    },
    /// The layer was closed.
    #[error("the channel layer is closed")]
    Closed,
}

impl LayerError {
    /// Whether the same call may succeed later with nothing changed on our side.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Tls { .. } => true,
            Self::Refused { kind, .. } => kind.may_pass(),
            Self::Unsupported { .. } | Self::Closed => false,
        }
    }

    /// The kind of error that the server answered, where it answered one.
    pub fn refusal(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused { kind, .. } => Some(*kind),
            _ => None,
        }
    }
}
