//! The identity of an event, and the keys by which the ledger tells whether it came before.

use crate::fingerprint::fingerprint;

/// The hashed ids of an event: the one by which it came, and for a message that came with Slack's id, the one by which
/// its history would give it live.
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

/// Two sets of keys. They differ, because not every event with the same id is the same event.
pub(super) struct EventKeys {
    /// The keys under which the event is noted, for those that come later.
    pub(super) own: Keys,
    /// The keys under which it was noted if it came before.
    pub(super) earlier: Keys,
}

impl EventId<'_> {
    /// The keys of this event.
    ///
    /// | it came | it is noted as | it came before if noted as |
    /// |---|---|---|
    /// | with Slack's id | live, by that id and by its id in history | live by Slack's id, or read from history |
    /// | on RTM | live | read from history |
    /// | from history | read from history | live, or read from history |
    ///
    /// So a live event never counts as a copy of another live one, unless Slack gave both the same id.
    pub(super) fn keys(self) -> EventKeys {
        let live = |id: &str| fingerprint(id.as_bytes());
        let read = |id: &str| live(id).rotate_left(1) ^ READ_FROM_HISTORY;
        match self {
            Self::Given { id, history_id } => EventKeys {
                own: [Some(live(id)), history_id.map(live)],
                earlier: [Some(live(id)), history_id.map(read)],
            },
            Self::Live(id) => EventKeys {
                own: [Some(live(id)), None],
                earlier: [Some(read(id)), None],
            },
            Self::History(id) => EventKeys {
                own: [Some(read(id)), None],
                earlier: [Some(live(id)), Some(read(id))],
            },
        }
    }
}

/// Makes the keys of messages that were read from history differ from those of live events with the same id. The number
/// is 2^64 divided by the golden ratio, whose bits are well mixed.
const READ_FROM_HISTORY: u64 = 0x9e37_79b9_7f4a_7c15;
