//! The choice of hosts for the members of one call, if a channel may use several hosts.

use std::collections::HashMap;
use std::sync::Mutex;

use djangobot_event::lock::lock;

/// The next host of each general channel. Members go to the hosts one after the other.
///
/// channels_redis's reader visits the hosts in turn, and at each waits for one message. So each member goes to the next
/// host, per channel, starting with the first: a reader that started with the channel gets all messages in the order in
/// which they were sent, and any other reader gets an even share. If the members of a call stayed on one host, such a
/// reader would wait at another host while they expire.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, usize>>);

impl Turns {
    /// The first host for `members` new messages of `queue`; the others follow in turn.
    pub(crate) fn advance(&self, queue: &str, members: usize, hosts: usize) -> usize {
        let mut turns = lock(&self.0);
        let turn = match turns.get_mut(queue) {
            Some(turn) => turn,
            None => turns.entry(queue.to_owned()).or_default(),
        };
        let first = *turn;
        *turn = (first + members) % hosts;
        first
    }
}

/// The distribution of the members of one call over the hosts.
///
/// Each member is either waiting for one host, or taken by one. Only the members before the first that no host took
/// count as accepted, since the caller sends all others again; those of them that a host did take are strays.
#[derive(Debug)]
pub(crate) struct Deal {
    /// For each host, the indexes of members that wait to be sent there, in order.
    waiting: Vec<Vec<usize>>,
    /// For each member, the host that took it.
    taken: Vec<Option<usize>>,
    /// Whether each host is passed over, because it is full or does not answer.
    passed_over: Vec<bool>,
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
            passed_over: vec![false; hosts],
        }
    }

    /// Passes over `host` from now on. The members that waited for it go to the other hosts in turn.
    pub(crate) fn pass_over(&mut self, host: usize) {
        self.passed_over[host] = true;
        let others: Vec<usize> = (1..self.passed_over.len())
            .map(|step| (host + step) % self.passed_over.len())
            .filter(|&other| !self.passed_over[other])
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

    /// The hosts to send to now, with their members; empty when nothing more can be done.
    pub(crate) fn round(&self) -> Vec<Share> {
        let ready = |&host: &usize| !self.passed_over[host] && !self.waiting[host].is_empty();
        (0..self.passed_over.len())
            .filter(ready)
            .map(|host| Share {
                host,
                members: self.waiting[host].clone(),
            })
            .collect()
    }

    /// Notes that `host` took the first `accepted` of the members that waited for it.
    pub(crate) fn took(&mut self, host: usize, accepted: usize) {
        let accepted = accepted.min(self.waiting[host].len());
        for member in self.waiting[host].drain(..accepted) {
            self.taken[member] = Some(host);
        }
    }

    /// How many members from the front were taken.
    pub(crate) fn accepted(&self) -> usize {
        self.taken.iter().take_while(|host| host.is_some()).count()
    }

    /// The members behind the first that no host took, at the hosts that took them. The caller will send them again, so
    /// they must be withdrawn.
    pub(crate) fn strays(&self) -> Vec<Share> {
        let mut stray = vec![Vec::new(); self.passed_over.len()];
        for (member, host) in self.taken.iter().enumerate().skip(self.accepted()) {
            if let Some(host) = *host {
                stray[host].push(member);
            }
        }
        stray
            .into_iter()
            .enumerate()
            .filter(|(_, members)| !members.is_empty())
            .map(|(host, members)| Share { host, members })
            .collect()
    }
}

/// The members that one host gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) host: usize,
    /// Indexes of the call's members, in order.
    pub(crate) members: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(host: usize, members: &[usize]) -> Share {
        let members = members.to_vec();
        Share { host, members }
    }

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
        let shares = [share(0, &[2]), share(1, &[0, 3]), share(2, &[1])];
        assert_eq!(Deal::new(4, 3, 1).round(), shares);
    }

    #[test]
    fn a_host_that_is_passed_over_gets_no_members() {
        let mut deal = Deal::new(5, 3, 0);
        deal.pass_over(1);
        assert_eq!(deal.round(), [share(0, &[0, 3, 4]), share(2, &[1, 2])]);
        deal.pass_over(2);
        assert_eq!(deal.round(), [share(0, &[0, 1, 2, 3, 4])]);
        deal.pass_over(0);
        assert!(deal.round().is_empty());
        assert_eq!(deal.accepted(), 0);
    }

    #[test]
    fn members_behind_a_gap_are_not_accepted() {
        let mut deal = Deal::new(5, 2, 0);
        deal.took(0, 1);
        deal.took(1, 2);
        assert_eq!(deal.accepted(), 2);
        assert_eq!(deal.strays(), [share(1, &[3])]);
        deal.took(0, 9);
        assert_eq!((deal.accepted(), deal.strays()), (5, Vec::new()));
    }
}
