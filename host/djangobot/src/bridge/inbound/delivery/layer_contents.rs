//! The events that we put on a channel of the layer and that no reader has taken yet, as far as the layer's answers
//! show. Copies of them are kept, so that they can be taken back before they expire there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use djangobot_channels::Member;

/// The most events of which copies are kept.
const MAX_EVENTS: usize = 10_000;
/// The most bytes of such copies.
const MAX_BYTES: usize = 16 << 20;

/// An event as it goes to the layer.
#[derive(Clone)]
pub(super) struct OutgoingEvent {
    pub(super) seq: u64,
    pub(super) id: Arc<str>,
    pub(super) member: Member,
}

/// The numbers of the oldest and the newest of some events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) oldest: u64,
    pub(super) newest: u64,
}

/// Events that lie on one channel of the layer, the oldest first. Readers take the oldest first, so the last `n` of
/// them lie there still if the layer says that `n` messages wait.
#[derive(Default)]
pub(super) struct LayerContents {
    /// Each with the moment at which the layer took it.
    events: VecDeque<(OutgoingEvent, Instant)>,
    bytes: usize,
}

impl LayerContents {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Adds events that the layer took just now.
    pub(super) fn add(&mut self, events: impl IntoIterator<Item = OutgoingEvent>) {
        let now = Instant::now();
        for event in events {
            self.bytes += event.member.0.len();
            self.events.push_back((event, now));
        }
    }

    /// Removes the events that readers have taken, if `waiting` messages lie there now. Others may send there too,
    /// which only makes it remove fewer. Gives how many it removed.
    pub(super) fn remove_taken(&mut self, waiting: u64) -> usize {
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

    /// Whether there are more than may be kept.
    pub(super) fn is_over_limit(&self) -> bool {
        self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES
    }

    /// The numbers of the oldest and the newest event.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        let ((oldest, _), (newest, _)) = self.events.front().zip(self.events.back())?;
        Some(Bounds {
            oldest: oldest.seq,
            newest: newest.seq,
        })
    }

    /// Removes all events.
    pub(super) fn clear(&mut self) {
        self.bytes = 0;
        self.events.clear();
    }

    pub(super) fn events(&self) -> Vec<OutgoingEvent> {
        self.events.iter().map(|(event, _)| event.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_no_longer_wait_were_taken_from_the_front() {
        let event = |seq| OutgoingEvent {
            seq,
            id: "id".into(),
            member: Member(bytes::Bytes::from_static(b"member")),
        };
        let mut contents = LayerContents::default();
        contents.add([event(1), event(2), event(3)]);
        assert_eq!(contents.remove_taken(5), 0, "others send there too");
        assert_eq!(
            (contents.remove_taken(2), contents.bounds()),
            (
                1,
                Some(Bounds {
                    oldest: 2,
                    newest: 3
                })
            )
        );
        assert_eq!((contents.remove_taken(0), contents.bounds()), (2, None));
        assert!(contents.age().is_none());
        assert_eq!(contents.bytes, 0);
    }
}
