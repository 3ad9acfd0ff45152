//! A sorted set: members in the order of their scores, and those with the same score in the order of their bytes.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use bytes::Bytes;

/// How many bytes a member takes beyond its own, for its places in the two indexes.
pub(super) const MEMBER_OVERHEAD: usize = 160;

/// A sorted set with Redis's order. `order` and `members` always have the same members.
///
/// Finding a member by rank takes time linear in the rank, which is fine for queues of a hundred messages.
#[derive(Debug, Default)]
pub(super) struct SortedSet {
    order: BTreeSet<(Score, Bytes)>,
    members: HashMap<Bytes, MemberState>,
    /// Bytes of all members.
    bytes: usize,
    changes: u64,
}

/// The state of a member.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MemberState {
    pub(super) score: f64,
    /// Whether a reader had it and gave it back.
    pub(super) returned: bool,
}

/// A double with the order of scores in Redis: `-0` equals `0`, and NaN does not occur.
#[derive(Debug, Clone, Copy)]
struct Score(f64);

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}
impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Score {}

impl SortedSet {
    /// How many members it has.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The score of `member`.
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.get(member).map(|state| state.score)
    }

    /// Sets the score of `member`, and adds it if it is new; returns the score that it had.
    ///
    /// The bytes of a new member are copied, so that no network buffer is kept alive.
    pub(super) fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        self.place(
            member,
            MemberState {
                score,
                returned: false,
            },
        )
    }

    /// Puts back a member that was popped.
    pub(super) fn give_back(&mut self, member: &[u8], state: MemberState) {
        self.place(member, state);
    }

    fn place(&mut self, member: &[u8], state: MemberState) -> Option<f64> {
        let Some((shared, old)) = self.members.get_key_value(member) else {
            let member = Bytes::copy_from_slice(member);
            self.bytes += member.len();
            self.order.insert((Score(state.score), member.clone()));
            self.members.insert(member, state);
            self.changes += 1;
            return None;
        };
        let (member, old) = (shared.clone(), *old);
        if old.score.to_bits() != state.score.to_bits() {
            self.order.remove(&(Score(old.score), member.clone()));
            self.order.insert((Score(state.score), member.clone()));
            self.members.insert(member, state);
            self.changes += 1;
        }
        Some(old.score)
    }

    /// Removes `member`.
    pub(super) fn remove(&mut self, member: &[u8]) -> Option<MemberState> {
        let (member, state) = self.members.remove_entry(member)?;
        self.bytes -= member.len();
        self.changes += 1;
        self.order.remove(&(Score(state.score), member));
        Some(state)
    }

    /// Removes the first member: the one with the lowest score, and of several the one with the lowest bytes.
    pub(super) fn pop_first(&mut self) -> Option<(Bytes, MemberState)> {
        let (_, member) = self.order.pop_first()?;
        let state = self.members.remove(&member)?;
        self.bytes -= member.len();
        self.changes += 1;
        Some((member, state))
    }

    /// The highest score.
    pub(super) fn last_score(&self) -> Option<f64> {
        self.order.last().map(|(score, _)| score.0)
    }

    /// All members with their scores, in order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Bytes, f64)> {
        self.order.iter().map(|(score, member)| (member, score.0))
    }

    /// The members whose scores are in a range, in order.
    pub(super) fn range(
        &self,
        min: Bound<f64>,
        max: Bound<f64>,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, f64)> {
        let (from, to) = (lower(min), upper(max));
        let lowest = |score| (Score(score), Bytes::new());
        // BTreeSet panics at an empty or reversed range.
        let ends = match (from, to) {
            (Some(from), Some(to)) if from < to => {
                Some((Bound::Included(lowest(from)), Bound::Excluded(lowest(to))))
            }
            (Some(from), None) => Some((Bound::Included(lowest(from)), Bound::Unbounded)),
            _ => None,
        };
        let found = ends.map(|ends| self.order.range(ends));
        found
            .into_iter()
            .flatten()
            .map(|(score, member)| (member, score.0))
    }

    /// The number of members whose scores are in a range.
    pub(super) fn count(&self, min: Bound<f64>, max: Bound<f64>) -> usize {
        let all = (
            Bound::Included(f64::NEG_INFINITY),
            Bound::Included(f64::INFINITY),
        );
        if (min, max) == all {
            self.len()
        } else {
            self.range(min, max).count()
        }
    }

    /// Removes the members whose scores are in a range; returns their number.
    pub(super) fn remove_range(&mut self, min: Bound<f64>, max: Bound<f64>) -> usize {
        let found: Vec<Bytes> = self
            .range(min, max)
            .map(|(member, _)| member.clone())
            .collect();
        found
            .iter()
            .filter(|member| self.remove(member).is_some())
            .count()
    }

    /// Roughly how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes + self.len() * MEMBER_OVERHEAD
    }

    /// A number that grows with each change.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }
}

/// The lowest score of a range that starts at `min`, or `None` if no score is that high.
fn lower(min: Bound<f64>) -> Option<f64> {
    match min {
        Bound::Included(score) => Some(score),
        Bound::Excluded(f64::INFINITY) => None,
        Bound::Excluded(score) => Some(score.next_up()),
        Bound::Unbounded => Some(f64::NEG_INFINITY),
    }
}

/// The first score behind a range that ends at `max`, or `None` if the range has no end.
fn upper(max: Bound<f64>) -> Option<f64> {
    match max {
        Bound::Included(f64::INFINITY) | Bound::Unbounded => None,
        Bound::Included(score) => Some(score.next_up()),
        Bound::Excluded(score) => Some(score),
    }
}

#[cfg(test)]
mod tests;
