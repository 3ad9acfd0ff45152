//! Histories that were read to find a post, kept for the next one that is looked for in the same conversation.
//!
//! After a crash with a full disk every message of the outbox is in doubt, and Slack may let an app read a history once
//! a minute. So one reading has to serve all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use djangobot_event::lock::lock;
use djangobot_slack::Ts;
use serde_json::Value;

use crate::bridge::outbound::post::call::CallTime;
use crate::bridge::reply::SendFailure;

/// The most messages that are kept in all: some tens of megabytes if each of them is large.
const MESSAGES: usize = 10_000;

/// A place in which posts are seen: a conversation, or a thread of it.
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

/// The extent of a reading.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Extent {
    /// All of it since the time that was asked for: a post that is not there was not made.
    Whole,
    /// The newest part: the reading ended at the post that was looked for, or with a failure that may pass.
    Part,
    /// The newest part: there is more than is looked at, or than Slack lets us read in time.
    Cut(SendFailure),
}

/// The messages that one reading has seen.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// It reaches back to this time of Slack's; 1970 for as far as is looked at.
    pub(super) since: Ts,
    /// When the reading began. A call that had ended well before that is in it, if it had its effect.
    pub(super) began: Instant,
    /// Messages that may be ours, the newest first.
    pub(super) messages: Vec<Value>,
    pub(super) extent: Extent,
}

impl Snapshot {
    /// Whether a call made after `since` of Slack's, at `time`, is in it, or would not be found by another reading
    /// either.
    fn serves(&self, since: Ts, time: &CallTime) -> bool {
        // A reading without a time looks at few pages: one with a time may see more.
        let may_see_more = matches!(self.extent, Extent::Cut(_))
            && self.since == Ts::default()
            && since > Ts::default();
        self.since <= since && !may_see_more && self.began >= time.is_seen_from()
    }
}

/// The newest reading of each place, as many as there is room for.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<BTreeMap<Place, Arc<Snapshot>>>);

impl Snapshots {
    /// A reading that shows whether a call had its effect, which was made after `since` of Slack's, at `time`.
    pub(super) fn get(&self, place: &Place, since: Ts, time: &CallTime) -> Option<Arc<Snapshot>> {
        let snapshot = lock(&self.0).get(place).cloned();
        snapshot.filter(|it| it.serves(since, time))
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

    use super::*;
    use crate::bridge::outbound::post::call::{LAG, LowerBound};

    fn place(thread: Option<&str>) -> Place {
        Place {
            channel: "C1".into(),
            thread: thread.map(str::to_owned),
        }
    }

    fn time(ended: Instant) -> CallTime {
        let since = LowerBound::Slack(Ts::default());
        CallTime { since, ended }
    }

    fn snapshot(since: Ts, began: Instant, messages: usize, extent: Extent) -> Snapshot {
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
        let check = |since: u64, extent: Extent, call: (Ts, Instant), expect: bool| {
            let since = Ts::from_micros(since);
            let snapshots = Snapshots::default();
            snapshots.put(place(None), snapshot(since, now, 1, extent.clone()));
            let time = time(call.1);
            let found = snapshots.get(&place(None), call.0, &time).is_some();
            assert_eq!(found, expect, "{since} {extent:?} {call:?}");
            let other = snapshots.get(&place(Some("1.0")), call.0, &time);
            assert!(other.is_none());
        };
        let call = |since: u64, ended: Instant| (Ts::from_micros(since), ended);
        let cut = || Extent::Cut(SendFailure::new("too_much_history", "It is long."));
        let before = now - LAG;
        check(0, Extent::Whole, call(0, before), true);
        check(0, Extent::Whole, call(7, before), true);
        check(7, Extent::Part, call(8, before), true);
        check(7, Extent::Whole, call(6, before), false);
        // A reading from 7 on may be whole where one from 0 on is cut.
        check(0, cut(), call(7, before), false);
        check(0, cut(), call(0, before), true);
        check(7, cut(), call(8, before), true);
        check(0, Extent::Whole, call(0, now), false);
        check(0, Extent::Whole, call(0, now + LAG), false);
    }

    #[test]
    fn the_oldest_readings_go_where_there_are_too_many_messages() {
        let snapshots = Snapshots::default();
        let now = Instant::now();
        for number in 0..3 {
            let began = now + Duration::from_secs(number);
            let it = snapshot(Ts::default(), began, MESSAGES / 2, Extent::Whole);
            snapshots.put(place(Some(&number.to_string())), it);
        }
        let call = time(now - LAG);
        let kept = |number: &str| {
            snapshots
                .get(&place(Some(number)), Ts::default(), &call)
                .is_some()
        };
        assert_eq!(["0", "1", "2"].map(kept), [false, true, true]);
    }
}
