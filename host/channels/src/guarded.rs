//! A layer with a guard that is asked before each change that readers can see.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use djangobot_event::Event;

use crate::codec::OpenError;
use crate::layer::{ChannelLayer, LayerError, Receiver, ReceiverId, SendReport};
use crate::lease::{Claim, Holder, Lease};
use crate::name::{ChannelName, GroupName};
use crate::wire::{Member, Serializer, Wire};

/// Decides whether a layer may be changed now. The caller of the layer gets its error.
#[async_trait]
pub trait Guard: Send + Sync + 'static {
    /// Is asked before members are put on a channel.
    ///
    /// # Errors
    /// The members must not be sent now.
    async fn admit(&self, channel: &ChannelName, members: &[Member]) -> Result<(), LayerError>;

    /// Is asked before a message is put on the channels of a group, and before members are withdrawn.
    ///
    /// # Errors
    /// The layer must not be changed now.
    async fn admit_others(&self) -> Result<(), LayerError>;
}

/// A layer and its guard. Calls that the guard is not asked about go straight to the layer.
pub struct GuardedLayer<L: ?Sized, G: ?Sized> {
    /// The layer.
    pub layer: Arc<L>,
    /// The guard.
    pub guard: Arc<G>,
}

#[async_trait]
impl<L: ChannelLayer + ?Sized, G: Guard + ?Sized> ChannelLayer for GuardedLayer<L, G> {
    fn describe(&self) -> String {
        self.layer.describe()
    }

    fn serializer(&self) -> Serializer {
        self.layer.serializer()
    }

    fn seal(&self, payload: &[u8]) -> Member {
        self.layer.seal(payload)
    }

    fn seal_lifetime(&self) -> Option<Duration> {
        self.layer.seal_lifetime()
    }

    fn unseal(&self, member: &Member) -> Result<Bytes, OpenError> {
        self.layer.unseal(member)
    }

    fn wire(&self) -> Wire {
        self.layer.wire()
    }

    fn encode(&self, channel: &ChannelName, message: &Event) -> Member {
        self.layer.encode(channel, message)
    }

    async fn send(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<SendReport, LayerError> {
        self.guard.admit(channel, members).await?;
        self.layer.send(channel, members).await
    }

    async fn group_send(&self, group: &GroupName, message: &Event) -> Result<(), LayerError> {
        self.guard.admit_others().await?;
        self.layer.group_send(group, message).await
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.layer.group_add(group, channel).await
    }

    async fn group_discard(
        &self,
        group: &GroupName,
        channel: &ChannelName,
    ) -> Result<(), LayerError> {
        self.layer.group_discard(group, channel).await
    }

    async fn receiver(
        &self,
        channel: &ChannelName,
        id: &ReceiverId,
    ) -> Result<Arc<dyn Receiver>, LayerError> {
        self.layer.receiver(channel, id).await
    }

    fn expiry(&self) -> Option<Duration> {
        self.layer.expiry()
    }

    async fn withdraw(
        &self,
        channel: &ChannelName,
        members: &[Member],
    ) -> Result<Vec<bool>, LayerError> {
        self.guard.admit_others().await?;
        self.layer.withdraw(channel, members).await
    }

    async fn depth(&self, channel: &ChannelName) -> Result<Option<u64>, LayerError> {
        self.layer.depth(channel).await
    }

    async fn oldest(&self, channel: &ChannelName) -> Result<Option<f64>, LayerError> {
        self.layer.oldest(channel).await
    }

    async fn rehearse(&self, channels: &[ChannelName]) -> Result<(), LayerError> {
        self.layer.rehearse(channels).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Lease, LayerError> {
        self.layer.claim(claim).await
    }

    async fn release(&self, name: &str, holder: &Holder) -> Result<(), LayerError> {
        self.layer.release(name, holder).await
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, LayerError> {
        self.layer.lease(name).await
    }

    async fn ping(&self) -> Result<(), LayerError> {
        self.layer.ping().await
    }

    async fn close(&self) {
        self.layer.close().await;
    }
}
