//! The trait of all channel layers, with its receivers and its errors.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::{Event, Value};

use crate::codec::OpenError;
use crate::lease::{Claim, Holder, Lease};
use crate::name::{CHANNEL_KEY, ChannelName, GroupName};
use crate::refusal::RefusalKind;
use crate::tls::TlsFailure;
use crate::wire::{DecodeError, Member, Serializer, Wire};

/// A channel layer: named queues between processes, as in Channels' specification.
///
/// Opening a layer does no I/O. While a server is away, each call fails with [`LayerError::Unavailable`]; if the server
/// answers with an error, with [`LayerError::Refused`]. The next call tries again. Each call makes one attempt, and the
/// caller decides about retries.
#[async_trait]
pub trait ChannelLayer: Send + Sync + 'static {
    /// The kind and the address of the layer, for people. It has no passwords.
    fn describe(&self) -> String;

    /// The format of payloads.
    fn serializer(&self) -> Serializer;

    /// Makes the member of a payload: adds the random prefix, and encrypts.
    ///
    /// This is done once for each message. So a second send after a lost answer puts the same member into the queue,
    /// which then has it only once, unless a reader took it in between.
    fn seal(&self, payload: &[u8]) -> Member;

    /// For how long readers accept a member of [`ChannelLayer::seal`]; `None` is for ever.
    ///
    /// An encrypted member contains the time at which it was sealed, and Python's readers stop with an error on one
    /// that is too old. A caller that stores members for longer must seal them again.
    fn seal_lifetime(&self) -> Option<Duration> {
        None
    }

    /// Finds the payload in a member of [`ChannelLayer::seal`], of any age.
    ///
    /// # Errors
    /// The reason why the member can't be opened.
    fn unseal(&self, member: &Member) -> Result<Bytes, OpenError>;

    /// The format of this layer's members. A caller that stores members beyond the life of the layer compares it:
    /// members of another [`Wire`] must be sealed again.
    fn wire(&self) -> Wire;

    /// Writes `message` for `channel` and seals it.
    ///
    /// Adds `__asgi_channel__` if the layer's readers need it to find a process-local channel.
    fn encode(&self, channel: &ChannelName, message: &Event) -> Member;

    /// Reads a received payload, without the `__asgi_channel__` that layers add.
    ///
    /// # Errors
    /// The reason why the payload is not a message.
    fn decode(&self, payload: &[u8]) -> Result<Event, DecodeError> {
        without_channel(self.serializer().read(payload)?)
    }

    /// As [`ChannelLayer::decode`], but keeps bytes that are not UTF-8, as [`Event::from_msgpack_with_bytes`] does.
    ///
    /// # Errors
    /// The reason why the payload is not a message.
    fn decode_with_bytes(&self, payload: &[u8]) -> Result<Event, DecodeError> {
        without_channel(match self.serializer() {
            Serializer::Msgpack => Event::from_msgpack_with_bytes(payload)?,
            Serializer::Json => Event::parse(payload.to_vec())?,
        })
    }

    /// Reads as many of the keys `wanted` as can be read in a payload that [`ChannelLayer::decode`] refuses.
    fn salvage(&self, payload: &[u8], wanted: &[&str]) -> Event {
        match self.serializer() {
            Serializer::Msgpack => Event::salvage_msgpack(payload, wanted),
            Serializer::Json => Event::salvage(payload, wanted),
        }
    }

    /// The process-local channels that a message is for; empty if it names none.
    fn addressees(&self, delivery: &Delivery) -> HashSet<String> {
        match &delivery.channel {
            Some(channel) => HashSet::from([channel.to_string()]),
            None => addressees(delivery, self.serializer()),
        }
    }

    /// Puts `members` on `channel`, in order, in one call. It accepts as many as the capacity has room for.
    ///
    /// Without members it asks the server whether the channel accepts messages.
    ///
    /// # Errors
    /// The server is away or refuses the call. A full channel is not an error.
    async fn send(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<SendReport, LayerError>;

    /// Puts `message` on each channel of `group` that has room. As in Channels, a full channel gets nothing.
    ///
    /// # Errors
    /// The server is away or refuses the call.
    async fn group_send(&self, group: &GroupName, message: &Event) -> Result<(), LayerError>;

    /// Adds `channel` to `group`, for the layer's `group_expiry`.
    ///
    /// # Errors
    /// The server is away or refuses the call, or the layer can't do this.
    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError>;

    /// Removes `channel` from `group`. A channel that is not in the group is not an error.
    ///
    /// # Errors
    /// The server is away or refuses the call.
    async fn group_discard(
        &self,
        group: &GroupName,
        channel: &ChannelName,
    ) -> Result<(), LayerError>;

    /// Opens a reader of `channel`.
    ///
    /// A name that ends with `!` stands for all names that begin with it: the reader gets the messages of all of them,
    /// and [`ChannelLayer::addressees`] names the channels of each message. In layers that store queues this is true of
    /// any other process-local name, too.
    ///
    /// `id` names the reader across restarts, and must be used by one reader at a time. Messages that a reader had
    /// taken and not finished when it ended come to the next reader of that id at once, and to any other reader when
    /// the lease has run out.
    ///
    /// # Errors
    /// The layer is closed, or the server is away or refuses the call.
    async fn receiver(
        &self,
        channel: &ChannelName,
        id: &ReceiverId,
    ) -> Result<Arc<dyn Receiver>, LayerError>;

    /// How long a message waits on a channel before it is lost; `None` if the layer stores no messages.
    fn expiry(&self) -> Option<Duration>;

    /// Removes those of `members` that are still on `channel`; returns for each whether it was. Nobody will read those.
    ///
    /// # Errors
    /// The server is away or refuses the call.
    async fn withdraw(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<Vec<bool>, LayerError>;

    /// How many messages wait on `channel`; `None` if the layer stores no messages.
    ///
    /// # Errors
    /// The server is away or refuses the call.
    async fn depth(&self, channel: &ChannelName) -> Result<Option<u64>, LayerError>;

    /// Tries everything that a bridge does, on each server, on a queue that nobody uses: sends a message, takes it,
    /// keeps it, gives it back, takes it again and finishes it. Then asks whether `channels` accept messages.
    ///
    /// # Errors
    /// A server that answers [`ChannelLayer::ping`] may refuse any of these steps; the error names the step.
    async fn rehearse(&self, channels: &[ChannelName]) -> Result<(), LayerError>;

    /// When the message that has waited longest on `channel` was sent, in Unix seconds by its sender's clock; `None` if
    /// the layer does not store that.
    ///
    /// # Errors
    /// The server is away or refuses the call.
    async fn oldest(&self, channel: &ChannelName) -> Result<Option<f64>, LayerError> {
        let _ = channel;
        Ok(None)
    }

    /// Takes a lease or renews it; returns the lease and its holder.
    ///
    /// # Errors
    /// The server is away or refuses the call.
    async fn claim(&self, claim: &Claim) -> Result<Lease, LayerError>;

    /// Gives up the lease `name`, if `holder` has it.
    ///
    /// # Errors
    /// The server is away or refuses the call.
    async fn release(&self, name: &str, holder: &Holder) -> Result<(), LayerError>;

    /// The lease `name` and its holder, if anybody holds it.
    ///
    /// # Errors
    /// The server is away or refuses the call.
    async fn lease(&self, name: &str) -> Result<Option<Lease>, LayerError>;

    /// Checks that each server answers.
    ///
    /// # Errors
    /// A server is away or refuses the call.
    async fn ping(&self) -> Result<(), LayerError>;

    /// Closes the connections and stops background work. Close the receivers first: a receiver that is open now ends as
    /// if its process had been killed.
    async fn close(&self);
}

/// The full channel names in a message: `send` writes a text, `group_send` a list.
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

/// Removes the key that names the process-local channels of a message.
fn without_channel(mut message: Event) -> Result<Event, DecodeError> {
    if message.field(CHANNEL_KEY).is_some() {
        message.remove(&format!("/{CHANNEL_KEY}"))?;
    }
    Ok(message)
}

/// One reader of one channel.
#[async_trait]
pub trait Receiver: Send + Sync {
    /// Waits for the next message. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The server can't be read now. The receiver goes on trying by itself, with pauses, so the caller only has to call
    /// again.
    async fn next(&self) -> Result<Delivery, LayerError>;

    /// Finishes `delivery`, so that the layer may forget it. Until then the layer keeps it.
    ///
    /// # Errors
    /// The server could not be told. The receiver tells it after reconnection, and the message comes again only if the
    /// process ends before that.
    async fn done(&self, delivery: &Delivery) -> Result<(), LayerError>;

    /// Gives unfinished messages back in their order, and stops.
    ///
    /// # Errors
    /// The server could not be told. The messages come again when the lease has run out.
    async fn close(&self) -> Result<(), LayerError>;
}

/// A message that was taken from a channel.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The bytes that were in the queue.
    pub member: Bytes,
    /// The payload without prefix and encryption, or the reason why it can't be opened.
    pub payload: Result<Bytes, OpenError>,
    /// Its place in the layer, for [`Receiver::done`].
    pub place: Place,
    /// Whether an earlier reader had taken it, and so may have acted on it.
    pub redelivered: bool,
    /// The channel on which it was published, if the layer reports that and the message does not.
    pub channel: Option<Arc<str>>,
}

/// The place of a delivery: its host, and its score there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// The index of the host.
    pub host: usize,
    /// The score in the queue (Unix seconds).
    pub score: f64,
}

/// The outcome of a call of [`ChannelLayer::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendReport {
    /// How many of the members from the front were accepted.
    pub accepted: usize,
    /// How many receivers there were, if the layer is a broadcast. 0 means that nobody got the message.
    pub receivers: Option<u64>,
    /// How many older messages were removed because their expiry had passed: nobody read them in time.
    pub expired: u64,
    /// How many messages wait on the channel now; `None` if that is not known.
    pub waiting: Option<u64>,
}

/// The name of a reader across restarts: letters, digits and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReceiverId(pub Arc<str>);

/// The reason why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LayerError {
    /// The server can't be reached, or went away without an answer. A retry may succeed.
    #[error("the channel layer at {address} does not answer: {reason}")]
    Unavailable {
        /// The server's address, without a password.
        address: String,
        /// The reason, from the client library.
        reason: String,
    },
    /// The server answered with an error.
    #[error("the channel layer at {address} refused a request: {reason}")]
    Refused {
        /// The server's address, without a password.
        address: String,
        /// The text of the server's error.
        reason: String,
        /// The kind of the error, which says whether waiting may help.
        kind: RefusalKind,
    },
    /// TLS with the server failed: one side does not accept the other's certificate, they have no version in common, or
    /// one of them does not speak TLS. A retry succeeds once somebody has repaired that.
    #[error("the channel layer at {address} can't be reached: {reason}")]
    Tls {
        /// The server's address, without a password.
        address: String,
        /// The reason; if a certificate was refused, which one and why.
        reason: String,
        /// The kind of failure, by its cure.
        kind: TlsFailure,
    },
    /// This kind of layer does not support the operation.
    #[error("{layer} does not support {operation}")]
    Unsupported {
        /// The kind of layer.
        layer: &'static str,
        /// The operation.
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

    /// The kind of error that the server answered, if it answered one.
    pub fn refusal(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused { kind, .. } => Some(*kind),
            _ => None,
        }
    }
}
