//! The stages of a message on its way out, as results of work that has ended. `outbound.rs` has the table of all
//! stages.

use crate::bridge::outbound::message::{Message, PendingOutcome};
use crate::bridge::outbound::outbox::{Page, RowId};
use crate::bridge::outbound::through_plugins::PluginStageResult;
use crate::bridge::reply::SendFailure;
use crate::journal::JournalError;

/// A stage that a message has completed. The numbers are those of the table in `outbound.rs`.
pub(super) enum Stage {
    /// 2: the outbox has stored it, or not.
    Stored(Box<Message>, StoreResult),
    /// Between 2 and 3: messages that waited on the disk were read, up to this number.
    Loaded(Result<Page, JournalError>, u64),
    /// 5: the plugins have answered.
    PassedPlugins {
        lane: String,
        after: PluginStageResult,
    },
    /// 6: the tries are over. There is an outcome to report, or none because of a stop, or Slack refuses all that we
    /// send.
    Called {
        lane: String,
        /// The bytes that the message took up in memory.
        bytes: usize,
        outcome: Result<Option<Box<PendingOutcome>>, SendFailure>,
    },
    /// 7: the outcome was reported, and the message is forgotten.
    Reported,
    /// Outside of the order: the layer was asked to forget the message.
    Released,
}

/// The result of stage 2.
pub(super) enum StoreResult {
    Row(RowId),
    /// The outbox has the message already.
    Known,
    /// The disk refused it, or the message can't be decoded: it stays in the layer.
    LayerOnly,
}
