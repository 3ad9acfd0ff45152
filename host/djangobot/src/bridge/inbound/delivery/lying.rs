//! What we put on a channel and nobody has taken yet, as far as the layer tells: kept until then, so that it can be taken
//! back before it expires there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use djangobot_channels::Member;

/// Events and bytes that are kept so, at most.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 16 << 20;

/// An event as it goes to the layer.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) seq: u64,
    pub(super) id: Arc<str>,
    pub(super) member: Member,
}

/// Events that lie on one channel of the layer, the oldest first.
#[derive(Default)]
pub(super) struct Lying {
    events: VecDeque<(Outgoing, Instant)>,
    bytes: usize,
}

impl Lying {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Notes that the layer took `events` just now.
    pub(super) fn sent(&mut self, events: impl IntoIterator<Item = Outgoing>) {
        let now = Instant::now();
        for event in events {
            self.bytes += event.member.0.len();
            self.events.push_back((event, now));
        }
    }

    /// Notes that `waiting` messages lie there, whoever put them there: readers take the oldest first. Gives how many of
    /// ours were taken.
    pub(super) fn waiting(&mut self, waiting: u64) -> usize {
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        let taken = self.events.len().saturating_sub(waiting);
        let gone = self.events.drain(..taken);
        self.bytes -= gone.map(|(event, _)| event.member.0.len()).sum::<usize>();
        taken
    }

    /// How long the oldest has lain there.
    pub(super) fn age(&self) -> Option<Duration> {
        self.events.front().map(|(_, at)| at.elapsed())
    }

    /// Whether there are more than may be kept here.
    pub(super) fn is_too_much(&self) -> bool {
        self.events.len() > MOST || self.bytes > MOST_BYTES
    }

    /// The numbers of the oldest and the newest.
    pub(super) fn ends(&self) -> Option<(u64, u64)> {
        let ((oldest, _), (newest, _)) = self.events.front().zip(self.events.back())?;
        Some((oldest.seq, newest.seq))
    }

    /// Gives all of them up.
    pub(super) fn take(&mut self) -> Vec<Outgoing> {
        self.bytes = 0;
        self.events.drain(..).map(|(event, _)| event).collect()
    }

    pub(super) fn events(&self) -> Vec<Outgoing> {
        self.events.iter().map(|(event, _)| event.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_longer_waits_was_taken_from_the_front() {
        let event = |seq| Outgoing {
            seq,
            id: "id".into(),
            member: Member(bytes::Bytes::from_static(b"member")),
        };
        let mut lying = Lying::default();
        lying.sent([event(1), event(2), event(3)]);
        assert_eq!(lying.waiting(5), 0, "others send there too");
        assert_eq!((lying.waiting(2), lying.ends()), (1, Some((2, 3))));
        assert_eq!((lying.waiting(0), lying.ends()), (2, None));
        assert!(lying.age().is_none());
        assert_eq!(lying.bytes, 0);
    }
}
