//! The stages of an answer between the layer and an address.

use bytes::Bytes;
use djangobot_channels::Delivery;

use crate::bridge::message_key::MessageKey;
use crate::bridge::reply::Reply;

/// An answer as the layer gave it, and the channel for its outcome.
pub(super) struct AnswerDelivery {
    pub(super) delivery: Delivery,
    pub(super) key: MessageKey,
    pub(super) reply: Reply,
}

/// An answer that waits for its turn at an address, or is being posted.
pub(super) struct PendingAnswer {
    pub(super) answered: AnswerDelivery,
    pub(super) body: Bytes,
    /// The index of the address among those of its question.
    pub(super) address: usize,
}
