//! The cursor of the outbox: up to which message all are queued. A new message goes on from memory, unless others wait
//! on the disk before it.

use crate::bridge::outbound::outbox::NumberRange;

/// A cursor over the numbers of messages in the outbox, which grow.
///
/// - `queued <= newest` always. All messages up to `queued` are in their lanes or finished. Those behind it, up to
///   `newest`, wait on the disk.
/// - While there is a barrier, `queued <= barrier <= newest`, and no message behind the barrier is read. Layer-only
///   messages have their place at the barrier: they are queued when `queued` has reached it, and then the barrier is
///   lifted.
/// - A new message goes on from memory only if it is `queued + 1` and there is no barrier. So messages are queued in
///   the order of their numbers, and each once.
#[derive(Debug)]
pub(super) struct OutboxCursor {
    /// All messages up to this number have been queued.
    queued: u64,
    /// The newest message that is known to be in the outbox.
    newest: u64,
    /// Whether messages are being read from the disk.
    is_loading: bool,
    /// The number behind which layer-only messages have their place, while there are any that are not queued.
    barrier: Option<u64>,
}

impl OutboxCursor {
    /// The cursor at a start: the outbox has messages up to number `newest`, of which none is queued.
    pub(super) fn new(newest: u64) -> Self {
        Self {
            queued: 0,
            newest,
            is_loading: false,
            barrier: None,
        }
    }

    /// Whether messages wait on the disk that may be queued, so those before the barrier.
    pub(super) fn has_waiting(&self) -> bool {
        self.is_loading || self.queued < self.upto()
    }

    /// The number up to which messages may be read.
    fn upto(&self) -> u64 {
        self.barrier.unwrap_or(self.newest)
    }

    /// Sets the barrier behind the newest message, unless there is one. Later messages wait for
    /// [`OutboxCursor::lift_barrier`].
    pub(super) fn set_barrier(&mut self) {
        self.barrier.get_or_insert(self.newest);
    }

    /// Lifts the barrier: all layer-only messages are queued.
    pub(super) fn lift_barrier(&mut self) {
        self.barrier = None;
    }

    /// Notes that message `number` was stored. Says whether it is the next one, and so goes on from memory. Otherwise
    /// it is read when its turn comes.
    pub(super) fn note_stored(&mut self, number: u64, has_room: bool) -> bool {
        let is_next =
            self.barrier.is_none() && !self.has_waiting() && number == self.queued + 1 && has_room;
        self.newest = self.newest.max(number);
        if is_next {
            self.queued = number;
        }
        is_next
    }

    /// Begins to read if messages wait. Gives the messages to read.
    pub(super) fn begin_load(&mut self) -> Option<NumberRange> {
        if self.is_loading || !self.has_waiting() {
            return None;
        }
        self.is_loading = true;
        Some(NumberRange {
            after: self.queued,
            upto: self.upto(),
        })
    }

    /// Notes that all messages up to number `last` were read and queued.
    pub(super) fn note_loaded(&mut self, last: u64) {
        self.is_loading = false;
        self.queued = self.queued.max(last);
        self.newest = self.newest.max(last);
    }

    /// Notes that reading failed.
    pub(super) fn note_load_failure(&mut self) {
        self.is_loading = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(after: u64, upto: u64) -> Option<NumberRange> {
        Some(NumberRange { after, upto })
    }

    #[test]
    fn a_new_message_goes_on_at_once_while_none_waits() {
        let mut cursor = OutboxCursor::new(0);
        assert!(cursor.note_stored(1, true) && cursor.note_stored(2, true));
        assert_eq!((cursor.has_waiting(), cursor.begin_load()), (false, None));
    }

    #[test]
    fn messages_of_an_earlier_run_come_first() {
        let mut cursor = OutboxCursor::new(5);
        assert!(!cursor.note_stored(6, true));
        assert_eq!(cursor.begin_load(), range(0, 6));
        assert_eq!(cursor.begin_load(), None, "one reads at a time");
        assert!(
            !cursor.note_stored(7, true),
            "it came while others were read"
        );
        cursor.note_loaded(6);
        assert_eq!(cursor.begin_load(), range(6, 7));
        cursor.note_loaded(7);
        assert!(!cursor.has_waiting() && cursor.note_stored(8, true));
    }

    #[test]
    fn a_message_that_finds_no_room_waits_and_those_behind_it_too() {
        let mut cursor = OutboxCursor::new(0);
        assert!(!cursor.note_stored(1, false) && !cursor.note_stored(2, true));
        assert_eq!(cursor.begin_load(), range(0, 2));
        cursor.note_loaded(2);
        assert!(cursor.note_stored(3, true));
    }

    #[test]
    fn messages_that_the_disk_refused_keep_their_place() {
        let mut cursor = OutboxCursor::new(0);
        assert!(!cursor.note_stored(1, false));
        cursor.set_barrier();
        assert!(!cursor.note_stored(2, true) && cursor.has_waiting());
        assert_eq!(cursor.begin_load(), range(0, 1));
        cursor.note_loaded(1);
        assert!(
            !cursor.has_waiting(),
            "now it is the turn of what is not on the disk"
        );
        cursor.set_barrier();
        assert!(!cursor.note_stored(3, true) && !cursor.has_waiting());
        cursor.lift_barrier();
        assert_eq!(cursor.begin_load(), range(1, 3));
        cursor.note_loaded(3);
        assert!(cursor.note_stored(4, true));
    }

    #[test]
    fn a_message_that_is_read_before_it_is_noted_is_not_queued_twice() {
        let mut cursor = OutboxCursor::new(0);
        // A plugin's message got number 2; number 1 is on the disk, and nobody has said so yet.
        assert!(!cursor.note_stored(2, true));
        assert_eq!(cursor.begin_load(), range(0, 2));
        cursor.note_loaded(2);
        assert!(!cursor.note_stored(1, true) && !cursor.has_waiting());
        assert!(cursor.note_stored(3, true));
    }
}
