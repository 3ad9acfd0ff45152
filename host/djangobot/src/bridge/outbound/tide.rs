//! How far the messages in the outbox have been taken up: what comes goes on at once, unless others wait on the disk.

/// Numbers of messages in the outbox.
#[derive(Debug)]
pub(super) struct Tide {
    /// All up to here have been taken up.
    taken_up: u64,
    /// The newest that is known to lie there.
    newest: u64,
    is_reading: bool,
    /// Messages that the disk could not take come between the one of this number and those behind it.
    barrier: Option<u64>,
}

impl Tide {
    /// Nothing has been taken up of what lies there, up to number `newest`.
    pub(super) fn new(newest: u64) -> Self {
        Self {
            taken_up: 0,
            newest,
            is_reading: false,
            barrier: None,
        }
    }

    /// Whether messages wait on the disk, before the barrier where there is one.
    pub(super) fn waits(&self) -> bool {
        self.is_reading || self.taken_up < self.upto()
    }

    fn upto(&self) -> u64 {
        self.barrier.unwrap_or(self.newest)
    }

    /// What is put there from here on waits until [`Tide::lift`].
    pub(super) fn bar(&mut self) {
        self.barrier.get_or_insert(self.newest);
    }

    pub(super) fn lift(&mut self) {
        self.barrier = None;
    }

    /// Notes that message `number` was put there. Says whether it is the next one, and so goes on from memory; else it is
    /// read when its turn comes.
    pub(super) fn kept(&mut self, number: u64, has_room: bool) -> bool {
        let is_next =
            self.barrier.is_none() && !self.waits() && number == self.taken_up + 1 && has_room;
        self.newest = self.newest.max(number);
        if is_next {
            self.taken_up = number;
        }
        is_next
    }

    /// Begins to read, where messages wait: those behind the first number, up to the second.
    pub(super) fn read(&mut self) -> Option<(u64, u64)> {
        if self.is_reading || !self.waits() {
            return None;
        }
        self.is_reading = true;
        Some((self.taken_up, self.upto()))
    }

    /// What was read has been taken up, to message `last`.
    pub(super) fn was_read(&mut self, last: u64) {
        self.is_reading = false;
        self.taken_up = self.taken_up.max(last);
        self.newest = self.newest.max(last);
    }

    /// Nothing could be read.
    pub(super) fn was_not_read(&mut self) {
        self.is_reading = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_goes_on_at_once_while_nothing_waits() {
        let mut tide = Tide::new(0);
        assert!(tide.kept(1, true) && tide.kept(2, true));
        assert_eq!((tide.waits(), tide.read()), (false, None));
    }

    #[test]
    fn what_an_earlier_run_left_comes_first() {
        let mut tide = Tide::new(5);
        assert!(!tide.kept(6, true));
        assert_eq!(tide.read(), Some((0, 6)));
        assert_eq!(tide.read(), None, "one reads at a time");
        assert!(!tide.kept(7, true), "it came while others were read");
        tide.was_read(6);
        assert_eq!(tide.read(), Some((6, 7)));
        tide.was_read(7);
        assert!(!tide.waits() && tide.kept(8, true));
    }

    #[test]
    fn what_finds_no_room_waits_and_with_it_what_follows() {
        let mut tide = Tide::new(0);
        assert!(!tide.kept(1, false) && !tide.kept(2, true));
        assert_eq!(tide.read(), Some((0, 2)));
        tide.was_read(2);
        assert!(tide.kept(3, true));
    }

    #[test]
    fn what_the_disk_could_not_take_keeps_its_place() {
        let mut tide = Tide::new(0);
        assert!(!tide.kept(1, false));
        tide.bar();
        assert!(!tide.kept(2, true) && tide.waits());
        assert_eq!(tide.read(), Some((0, 1)));
        tide.was_read(1);
        assert!(
            !tide.waits(),
            "now it is the turn of what is not on the disk"
        );
        tide.bar();
        assert!(!tide.kept(3, true) && !tide.waits());
        tide.lift();
        assert_eq!(tide.read(), Some((1, 3)));
        tide.was_read(3);
        assert!(tide.kept(4, true));
    }

    #[test]
    fn what_was_read_before_it_was_heard_of_is_not_taken_up_twice() {
        let mut tide = Tide::new(0);
        // A plugin's message got number 2; number 1 is on the disk, and nobody has said so yet.
        assert!(!tide.kept(2, true));
        assert_eq!(tide.read(), Some((0, 2)));
        tide.was_read(2);
        assert!(!tide.kept(1, true) && !tide.waits());
        assert!(tide.kept(3, true));
    }
}
