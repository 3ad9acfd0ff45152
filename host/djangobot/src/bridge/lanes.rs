//! Lanes keep the order within a conversation: in each lane one job runs at a time, and the others wait for their turn.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The number of a lane, by which the plugin host chooses among a plugin's instances. The events of one lane go to one
/// instance, which sees them in their order.
pub(crate) fn lane_number(lane: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    lane.hash(&mut hasher);
    hasher.finish()
}

/// Jobs by lane. Lanes that are not busy take no memory, so that there may be any number of conversations.
///
/// A lane exists in `waiting` exactly while a job of it runs, which is not in its queue; `behind` is the sum of the
/// queues' lengths.
pub(crate) struct Lanes<J> {
    /// Lanes in which a job runs, with what waits behind it.
    waiting: HashMap<String, VecDeque<J>>,
    /// How many jobs wait behind others.
    behind: usize,
}

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            behind: 0,
        }
    }
}

impl<J> Lanes<J> {
    /// How many jobs run: one in each busy lane.
    pub(crate) fn running(&self) -> usize {
        self.waiting.len()
    }

    /// How many jobs wait behind others.
    pub(crate) fn behind(&self) -> usize {
        self.behind
    }

    /// Whether a job runs in `lane`.
    pub(crate) fn is_busy(&self, lane: &str) -> bool {
        self.waiting.contains_key(lane)
    }

    /// Takes a job. Gives it back to be run at once if its lane is free.
    pub(crate) fn admit(&mut self, lane: &str, job: J) -> Option<J> {
        match self.waiting.get_mut(lane) {
            Some(queue) => {
                queue.push_back(job);
                self.behind += 1;
                None
            }
            None => {
                self.waiting.insert(lane.to_owned(), VecDeque::new());
                Some(job)
            }
        }
    }

    /// Puts jobs before those that wait in `lane`, in which a job runs now.
    pub(crate) fn put_first(&mut self, lane: &str, jobs: Vec<J>) {
        let queue = self.waiting.entry(lane.to_owned()).or_default();
        for job in jobs.into_iter().rev() {
            queue.push_front(job);
            self.behind += 1;
        }
    }

    /// Ends the job that ran in `lane`. Gives the next one to run.
    pub(crate) fn finish(&mut self, lane: &str) -> Option<J> {
        let next = self.waiting.get_mut(lane).and_then(VecDeque::pop_front);
        match next {
            Some(_) => self.behind -= 1,
            None => {
                self.waiting.remove(lane);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_runs_one_job_at_a_time_in_order_and_lanes_do_not_wait_for_each_other() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.admit("a", 1), Some(1));
        assert_eq!(lanes.admit("a", 2), None);
        assert_eq!(lanes.admit("b", 3), Some(3));
        assert_eq!((lanes.running(), lanes.behind()), (2, 1));
        assert!(lanes.is_busy("a") && !lanes.is_busy("c"));
        assert_eq!(lanes.finish("a"), Some(2));
        assert_eq!(lanes.finish("a"), None);
        assert_eq!(lanes.finish("b"), None);
        assert_eq!((lanes.running(), lanes.behind()), (0, 0));
        assert_eq!(lanes.admit("a", 4), Some(4));
    }

    #[test]
    fn jobs_that_a_job_leaves_behind_come_before_those_that_waited() {
        let mut lanes = Lanes::default();
        lanes.admit("a", 1);
        lanes.admit("a", 4);
        lanes.put_first("a", vec![2, 3]);
        assert_eq!(lanes.behind(), 3);
        let order: Vec<_> = std::iter::from_fn(|| lanes.finish("a")).collect();
        assert_eq!((order, lanes.running()), (vec![2, 3, 4], 0));
    }
}
