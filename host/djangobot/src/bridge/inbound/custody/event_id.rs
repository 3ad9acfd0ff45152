//! The identity of an event, and the keys by which the ledger knows it.

use crate::fingerprint::fingerprint;

/// The hashed ids of an event: Slack's own, and that of a message in its history.
pub(super) type Keys = [Option<u64>; 2];

/// The identity of an event, by the way on which it came: this decides which earlier events may be the same one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventId<'a> {
    /// Slack's own id of the event or its envelope: all events that have it are the same one. A message has
    /// `history_id` in Slack's history as well.
    Given {
        id: &'a str,
        history_id: Option<&'a str>,
    },
    /// The id that we made for an event on RTM, which gives nothing twice: only history may have given it before.
    Live(&'a str),
    /// The id of a message in Slack's history.
    History(&'a str),
}

impl EventId<'_> {
    /// The keys of this event, and those by which it is known if it came before.
    pub(super) fn keys(self) -> (Keys, Keys) {
        let own = |id: &str| fingerprint(id.as_bytes());
        let in_history = |id: &str| own(id).rotate_left(1) ^ HISTORY;
        match self {
            Self::Given { id, history_id } => (
                [Some(own(id)), history_id.map(own)],
                [Some(own(id)), history_id.map(in_history)],
            ),
            Self::Live(id) => ([Some(own(id)), None], [Some(in_history(id)), None]),
            Self::History(id) => (
                [Some(in_history(id)), None],
                [Some(own(id)), Some(in_history(id))],
            ),
        }
    }
}

/// Makes the keys of history differ from those of live events with the same id, so that two live events with one id
/// stay two. The number is 2^64 divided by the golden ratio, whose bits are well mixed.
const HISTORY: u64 = 0x9e37_79b9_7f4a_7c15;
