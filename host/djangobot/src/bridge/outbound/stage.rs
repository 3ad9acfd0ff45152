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
    /// Between 2 and 3: messages that waited on the disk were read.
    Loaded {
        page: Result<Page, JournalError>,
        /// The number of the last message that was to be read.
        upto: u64,
    },
    /// 5: the plugins have answered.
    PassedPlugins {
        lane: String,
        after: PluginStageResult,
    },
    /// 6: the tries are over.
    Called {
        lane: String,
        /// The bytes that the message took up in memory.
        bytes: usize,
        result: CallResult,
    },
    /// 7: the outcome was reported, and the message is forgotten.
    Reported,
    /// Outside of the order: the layer was asked to forget the message.
    Released,
}

/// The result of stage 6.
pub(super) enum CallResult {
    /// There is an outcome to report.
    Outcome(Box<PendingOutcome>),
    /// A stop came first. The next start takes the message up from where it is stored.
    Stopped,
    /// Slack refuses all that we send.
    Barred(SendFailure),
}

/// The result of stage 2.
pub(super) enum StoreResult {
    Row(RowId),
    /// The outbox has the message already.
    Known,
    /// The disk refused it, or the message can't be decoded: it stays in the layer.
    LayerOnly,
}
