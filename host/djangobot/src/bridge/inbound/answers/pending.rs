//! An answer of an app, from the layer to its turn at an address.

use bytes::Bytes;
use djangobot_channels::Delivery;

use crate::bridge::message_key::MessageKey;
use crate::bridge::reply::Reply;

/// An answer that was taken off the layer, and where the app hears of it.
pub(super) struct Taken {
    pub(super) delivery: Delivery,
    pub(super) key: MessageKey,
    pub(super) reply: Reply,
}

/// An answer that waits for its turn at an address.
pub(super) struct Pending {
    pub(super) taken: Taken,
    pub(super) body: Bytes,
    /// Which one of the event's.
    pub(super) address: usize,
}
