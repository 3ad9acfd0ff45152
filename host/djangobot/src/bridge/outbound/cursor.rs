//! How far the messages in the outbox have been queued: a new one goes on from memory, unless others wait on the disk.

/// Numbers of messages in the outbox.
///
/// `queued <= newest` always. All messages up to `queued` are in their lanes or finished; those between it and `newest`
/// wait on the disk. While there is a barrier, `queued <= barrier <= newest`, and nothing behind the barrier is read.
#[derive(Debug)]
pub(super) struct OutboxCursor {
    /// All up to here have been queued.
    queued: u64,
    /// The newest that is known to lie there.
    newest: u64,
    /// Messages are being read back from the disk.
    is_loading: bool,
    /// Messages that the disk could not take come between the one of this number and those behind it.
    barrier: Option<u64>,
}

impl OutboxCursor {
    /// Nothing has been taken up of what lies there, up to number `newest`.
    pub(super) fn new(newest: u64) -> Self {
        Self {
            queued: 0,
            newest,
            is_loading: false,
            barrier: None,
        }
    }

    /// Whether messages wait on the disk, before the barrier where there is one.
    pub(super) fn waits(&self) -> bool {
        self.is_loading || self.queued < self.upto()
    }

    fn upto(&self) -> u64 {
        self.barrier.unwrap_or(self.newest)
    }

    /// What is put there from here on waits until [`OutboxCursor::lift`].
    pub(super) fn bar(&mut self) {
        self.barrier.get_or_insert(self.newest);
    }

    pub(super) fn lift(&mut self) {
        self.barrier = None;
    }

    /// Notes that message `number` was put there. Says whether it is the next one, and so goes on from memory; else it is
    /// read when its turn comes.
    pub(super) fn stored(&mut self, number: u64, has_room: bool) -> bool {
        let is_next =
            self.barrier.is_none() && !self.waits() && number == self.queued + 1 && has_room;
        self.newest = self.newest.max(number);
        if is_next {
            self.queued = number;
        }
        is_next
    }

    /// Begins to read, where messages wait: those behind the first number, up to the second.
    pub(super) fn begin_load(&mut self) -> Option<(u64, u64)> {
        if self.is_loading || !self.waits() {
            return None;
        }
        self.is_loading = true;
        Some((self.queued, self.upto()))
    }

    /// What was read has been taken up, to message `last`.
    pub(super) fn loaded(&mut self, last: u64) {
        self.is_loading = false;
        self.queued = self.queued.max(last);
        self.newest = self.newest.max(last);
    }

    /// Nothing could be read.
    pub(super) fn load_failed(&mut self) {
        self.is_loading = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_goes_on_at_once_while_nothing_waits() {
        let mut cursor = OutboxCursor::new(0);
        assert!(cursor.stored(1, true) && cursor.stored(2, true));
        assert_eq!((cursor.waits(), cursor.begin_load()), (false, None));
    }

    #[test]
    fn what_an_earlier_run_left_comes_first() {
        let mut cursor = OutboxCursor::new(5);
        assert!(!cursor.stored(6, true));
        assert_eq!(cursor.begin_load(), Some((0, 6)));
        assert_eq!(cursor.begin_load(), None, "one reads at a time");
        assert!(!cursor.stored(7, true), "it came while others were read");
        cursor.loaded(6);
        assert_eq!(cursor.begin_load(), Some((6, 7)));
        cursor.loaded(7);
        assert!(!cursor.waits() && cursor.stored(8, true));
    }

    #[test]
    fn what_finds_no_room_waits_and_with_it_what_follows() {
        let mut cursor = OutboxCursor::new(0);
        assert!(!cursor.stored(1, false) && !cursor.stored(2, true));
        assert_eq!(cursor.begin_load(), Some((0, 2)));
        cursor.loaded(2);
        assert!(cursor.stored(3, true));
    }

    #[test]
    fn what_the_disk_could_not_take_keeps_its_place() {
        let mut cursor = OutboxCursor::new(0);
        assert!(!cursor.stored(1, false));
        cursor.bar();
        assert!(!cursor.stored(2, true) && cursor.waits());
        assert_eq!(cursor.begin_load(), Some((0, 1)));
        cursor.loaded(1);
        assert!(
            !cursor.waits(),
            "now it is the turn of what is not on the disk"
        );
        cursor.bar();
        assert!(!cursor.stored(3, true) && !cursor.waits());
        cursor.lift();
        assert_eq!(cursor.begin_load(), Some((1, 3)));
        cursor.loaded(3);
        assert!(cursor.stored(4, true));
    }

    #[test]
    fn what_loaded_before_it_was_heard_of_is_not_queued_twice() {
        let mut cursor = OutboxCursor::new(0);
        // A plugin's message got number 2; number 1 is on the disk, and nobody has said so yet.
        assert!(!cursor.stored(2, true));
        assert_eq!(cursor.begin_load(), Some((0, 2)));
        cursor.loaded(2);
        assert!(!cursor.stored(1, true) && !cursor.waits());
        assert!(cursor.stored(3, true));
    }
}
