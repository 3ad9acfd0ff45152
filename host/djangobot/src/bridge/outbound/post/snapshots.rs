//! Histories that were read to find a post, kept for the next one that is looked for in the same conversation.
//!
//! After a crash with a full disk every message of the outbox is in doubt, and Slack may let an app read a history once a
//! minute. So one reading has to serve all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use djangobot_event::lock::lock;
use serde_json::Value;

use super::call::CallTime;

/// Messages that are kept in all: some tens of megabytes, where each of them is large.
const MESSAGES: usize = 10_000;

/// Where posts are seen: a conversation, or a thread of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) channel: String,
    pub(super) thread: Option<String>,
}

impl Place {
    /// The method of Slack's that gives its messages.
    pub(super) fn method(&self) -> &'static str {
        match self.thread {
            Some(_) => "conversations.replies",
            None => "conversations.history",
        }
    }
}

/// How much of a history a reading has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it since the time that was asked for: a post that is not there was not made.
    Whole,
    /// The newest part, as far as the post that was looked for.
    Part,
    /// The newest part; there is more than is ever looked at.
    TooMuch,
}

/// What one reading has seen.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// It reaches back to this time of Slack's, in seconds; 0 for as far as is looked at.
    pub(super) since: f64,
    /// When the reading began. A call that had ended well before that is in it, if it had its effect.
    pub(super) began: Instant,
    /// Messages that may be ours, the newest first.
    pub(super) messages: Vec<Value>,
    pub(super) extent: Extent,
}

impl Snapshot {
    /// Whether a post of that time is in it, if it is anywhere.
    fn serves(&self, time: &CallTime) -> bool {
        let reaches_back = match self.extent {
            Extent::Whole | Extent::Part => self.since <= time.since,
            Extent::TooMuch => self.since == time.since,
        };
        reaches_back && self.began >= time.is_seen_from()
    }
}

/// The newest reading of each place, as many as there is room for.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<BTreeMap<Place, Arc<Snapshot>>>);

impl Snapshots {
    /// A reading that shows whether a call of that time had its effect.
    pub(super) fn get(&self, place: &Place, time: &CallTime) -> Option<Arc<Snapshot>> {
        let snapshot = lock(&self.0).get(place).cloned();
        snapshot.filter(|it| it.serves(time))
    }

    /// Keeps a reading; the oldest ones go where there are too many messages.
    pub(super) fn put(&self, place: Place, snapshot: Snapshot) {
        let mut kept = lock(&self.0);
        kept.insert(place, Arc::new(snapshot));
        // An empty reading counts, too, so that the number of places has a bound.
        let size = |it: &Snapshot| it.messages.len().max(1);
        let mut total: usize = kept.values().map(|it| size(it)).sum();
        while total > MESSAGES
            && let Some(oldest) = kept.iter().min_by_key(|(_, it)| it.began)
        {
            let oldest = oldest.0.clone();
            total -= kept.remove(&oldest).map_or(0, |it| size(&it));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::call::LAG;
    use super::*;

    fn place(thread: Option<&str>) -> Place {
        Place {
            channel: "C1".into(),
            thread: thread.map(str::to_owned),
        }
    }

    fn snapshot(since: f64, began: Instant, messages: usize, extent: Extent) -> Snapshot {
        Snapshot {
            since,
            began,
            messages: vec![Value::Null; messages],
            extent,
        }
    }

    #[test]
    fn a_reading_serves_calls_that_ended_before_it_began_and_that_it_reaches_back_to() {
        let now = Instant::now();
        let check = |since: f64, extent, call: CallTime, expect: bool| {
            let snapshots = Snapshots::default();
            snapshots.put(place(None), snapshot(since, now, 1, extent));
            let found = snapshots.get(&place(None), &call).is_some();
            assert_eq!(found, expect, "{since} {extent:?} {call:?}");
            assert!(snapshots.get(&place(Some("1.0")), &call).is_none());
        };
        let call = |since: f64, ended: Instant| CallTime { since, ended };
        let before = now - LAG;
        check(0.0, Extent::Whole, call(0.0, before), true);
        check(0.0, Extent::Whole, call(7.0, before), true);
        check(7.0, Extent::Part, call(8.0, before), true);
        check(7.0, Extent::Whole, call(6.0, before), false);
        // A reading from 7 on may be whole where one from 0 on is cut.
        check(0.0, Extent::TooMuch, call(7.0, before), false);
        check(0.0, Extent::TooMuch, call(0.0, before), true);
        check(0.0, Extent::Whole, call(0.0, now), false);
        check(0.0, Extent::Whole, call(0.0, now + LAG), false);
    }

    #[test]
    fn the_oldest_readings_go_where_there_are_too_many_messages() {
        let snapshots = Snapshots::default();
        let now = Instant::now();
        for number in 0..3 {
            let began = now + Duration::from_secs(number);
            let it = snapshot(0.0, began, MESSAGES / 2, Extent::Whole);
            snapshots.put(place(Some(&number.to_string())), it);
        }
        let call = CallTime {
            since: 0.0,
            ended: now - LAG,
        };
        let kept = |number: &str| snapshots.get(&place(Some(number)), &call).is_some();
        assert_eq!(["0", "1", "2"].map(kept), [false, true, true]);
    }
}
