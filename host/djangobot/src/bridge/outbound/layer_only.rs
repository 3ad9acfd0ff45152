//! Layer-only messages: the disk refused them, and they stay in the layer's processing key until they are sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long no message is taken while there are layer-only messages. Usually all are sent by then, and those that
/// follow go to the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts the layer-only messages until they are finished.
///
/// `newer` and `older` are shared with the messages, so that a count above one means that some of them live. When some
/// have lived for [`PATIENCE`], `newer` becomes `older`: from then on later messages may join them (as `newer`), until
/// all of the older ones are finished.
#[derive(Debug, Default)]
pub(super) struct LayerOnlyCounts {
    newer: LayerOnlyCount,
    /// The messages that were there when [`PATIENCE`] was over.
    older: LayerOnlyCount,
    /// The moment since which there have been newer ones, while there are no older ones.
    since: Option<Instant>,
}

/// Counts one layer-only message for as long as it lives.
pub(super) type LayerOnlyCount = Arc<()>;

impl LayerOnlyCounts {
    /// Counts one more, until the value is dropped.
    pub(super) fn count(&self) -> LayerOnlyCount {
        self.newer.clone()
    }

    /// Whether all of them are finished.
    pub(super) fn is_over(&mut self) -> bool {
        let is_over = is_single(&self.newer) && is_single(&self.older);
        if is_over {
            self.since = None;
        }
        is_over
    }

    /// Whether later messages have to join them, because they would expire on their channel otherwise: some have been
    /// there for longer than [`PATIENCE`], behind a call that fails for minutes for example.
    pub(super) fn lasts(&mut self, now: Instant) -> bool {
        if !is_single(&self.older) {
            return true;
        }
        if self.is_over() {
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < PATIENCE {
            return false;
        }
        self.older = std::mem::take(&mut self.newer);
        self.since = None;
        true
    }
}

fn is_single(counted: &LayerOnlyCount) -> bool {
    Arc::strong_count(counted) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_messages_join_those_that_stay_for_long_until_they_are_finished() {
        let (mut counts, start) = (LayerOnlyCounts::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(counts.is_over() && !counts.lasts(at(0)));
        let first = counts.newer.clone();
        assert!(!counts.is_over());
        assert!(!counts.lasts(at(0)) && !counts.lasts(at(9)));
        assert!(counts.lasts(at(10)));
        let second = counts.newer.clone();
        assert!(counts.lasts(at(11)));
        drop(first);
        // The message that joined it has its own time to be sent.
        assert!(!counts.is_over() && !counts.lasts(at(12)));
        drop(second);
        assert!(counts.is_over());
        // The next ones have their own, too.
        let _third = counts.newer.clone();
        assert!(!counts.lasts(at(100)) && counts.lasts(at(110)));
    }
}
