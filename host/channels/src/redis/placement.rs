//! Which hosts the members of one call go to, where a channel may use several.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Deals the members of general channels out to hosts, one after the other.
///
/// channels_redis's reader visits the hosts in turn and takes one message from each, waiting until
/// there is one. So each member goes to the next host, per channel, starting with the first: a
/// reader that started with the channel gets all messages in the order in which they were sent,
/// and any other gets an even share. (Keeping the members of a call on one host would leave such a
/// reader waiting at another while they expire.)
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, usize>>);

impl Turns {
    /// The first host for `members` new messages of `queue`; the others follow in turn.
    pub(crate) fn advance(&self, queue: &str, members: usize, hosts: usize) -> usize {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = match turns.get_mut(queue) {
            Some(turn) => turn,
            None => turns.entry(queue.to_owned()).or_default(),
        };
        let first = *turn;
        *turn = (first + members) % hosts;
        first
    }
}

/// Where the members of one call stand.
#[derive(Debug)]
pub(crate) struct Deal {
    /// For each host, the indexes of members that wait to be sent there, in order.
    waiting: Vec<Vec<usize>>,
    /// For each member, the host that took it.
    taken: Vec<Option<usize>>,
    /// The hosts that are full or do not answer.
    out: Vec<bool>,
}

impl Deal {
    pub(crate) fn new(members: usize, hosts: usize, first: usize) -> Self {
        let mut waiting = vec![Vec::new(); hosts];
        for member in 0..members {
            waiting[(first + member) % hosts].push(member);
        }
        Self {
            waiting,
            taken: vec![None; members],
            out: vec![false; hosts],
        }
    }

    /// Passes over `host` from now on; what waited for it goes to the others in turn.
    pub(crate) fn pass_over(&mut self, host: usize) {
        self.out[host] = true;
        let others: Vec<usize> = (1..self.out.len())
            .map(|step| (host + step) % self.out.len())
            .filter(|&other| !self.out[other])
            .collect();
        if others.is_empty() {
            return;
        }
        for (nth, member) in std::mem::take(&mut self.waiting[host])
            .into_iter()
            .enumerate()
        {
            self.waiting[others[nth % others.len()]].push(member);
        }
        for other in others {
            self.waiting[other].sort_unstable();
        }
    }

    /// The hosts to send to now, each with its members' indexes; empty when nothing more can be done.
    pub(crate) fn round(&self) -> Vec<(usize, Vec<usize>)> {
        let ready = |&host: &usize| !self.out[host] && !self.waiting[host].is_empty();
        (0..self.out.len())
            .filter(ready)
            .map(|host| (host, self.waiting[host].clone()))
            .collect()
    }

    /// Notes that `host` took the first `accepted` of what waited for it.
    pub(crate) fn took(&mut self, host: usize, accepted: usize) {
        let accepted = accepted.min(self.waiting[host].len());
        for member in self.waiting[host].drain(..accepted) {
            self.taken[member] = Some(host);
        }
    }

    /// How many members were taken, from the front.
    pub(crate) fn accepted(&self) -> usize {
        self.taken.iter().take_while(|host| host.is_some()).count()
    }

    /// Members behind the first that nobody took, with the host that has them: the caller will
    /// send them again, so they must be taken back.
    pub(crate) fn stray(&self) -> Vec<(usize, Vec<usize>)> {
        let mut stray = vec![Vec::new(); self.out.len()];
        for (member, host) in self.taken.iter().enumerate().skip(self.accepted()) {
            if let Some(host) = *host {
                stray[host].push(member);
            }
        }
        stray
            .into_iter()
            .enumerate()
            .filter(|(_, members)| !members.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_go_to_the_hosts_in_turn_and_the_next_call_goes_on_from_there() {
        let turns = Turns::default();
        assert_eq!(
            [
                turns.advance("q", 4, 3),
                turns.advance("q", 1, 3),
                turns.advance("other", 1, 3)
            ],
            [0, 1, 0]
        );
        assert_eq!(
            Deal::new(4, 3, 1).round(),
            [(0, vec![2]), (1, vec![0, 3]), (2, vec![1])]
        );
    }

    #[test]
    fn a_host_that_is_out_is_passed_over() {
        let mut deal = Deal::new(5, 3, 0);
        deal.pass_over(1);
        assert_eq!(deal.round(), [(0, vec![0, 3, 4]), (2, vec![1, 2])]);
        deal.pass_over(2);
        assert_eq!(deal.round(), [(0, vec![0, 1, 2, 3, 4])]);
        deal.pass_over(0);
        assert!(deal.round().is_empty());
        assert_eq!(deal.accepted(), 0);
    }

    #[test]
    fn what_lies_behind_a_gap_is_not_accepted() {
        let mut deal = Deal::new(5, 2, 0);
        deal.took(0, 1);
        deal.took(1, 2);
        assert_eq!(deal.accepted(), 2);
        assert_eq!(deal.stray(), [(1, vec![3])]);
        deal.took(0, 9);
        assert_eq!((deal.accepted(), deal.stray()), (5, Vec::new()));
    }
}
