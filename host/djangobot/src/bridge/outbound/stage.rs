//! The stages of a message on its way out, as pieces of work that have ended. `outbound.rs` has the table of all stages.

use crate::bridge::outbound::message::{Message, PendingOutcome};
use crate::bridge::outbound::outbox::{Page, RowId};
use crate::bridge::outbound::through_plugins::AfterPlugins;
use crate::bridge::reply::SendFailure;
use crate::journal::JournalError;

/// The stage that a message has completed. Numbers are those of the table in `outbound.rs`.
pub(super) enum Stage {
    /// 2: the outbox has it, or not.
    Stored(Box<Message>, StoreResult),
    /// Between 2 and 3: messages that waited on the disk were read back, of those up to a number.
    Loaded(Result<Page, JournalError>, u64),
    /// 5: the plugins have answered.
    PassedPlugins { lane: String, after: AfterPlugins },
    /// 6: Slack has answered: there may be an outcome to report; or Slack refuses all that we send.
    Called {
        lane: String,
        /// The bytes that the message took up in memory.
        bytes: usize,
        outcome: Result<Option<Box<PendingOutcome>>, SendFailure>,
    },
    /// 7: its outcome was reported, and it is forgotten.
    Reported,
    /// Next to the others: the layer was asked to forget it.
    Released,
}

/// What became of the attempt to put a message into the outbox.
pub(super) enum StoreResult {
    Row(RowId),
    /// It was there already.
    Known,
    /// The disk refused it, or the message can't be decoded: it stays in the layer.
    LayerOnly,
}
