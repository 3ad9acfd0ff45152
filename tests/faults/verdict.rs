//! Whether a run kept what is promised.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::evidence::{Evidence, Handled, end_of_id};
use crate::host::End;
use crate::plan::{Plan, Transport};

/// The verdict on a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Verdict {
    /// Promises that were not kept, each with the evidence.
    pub(crate) broken: Vec<String>,
    /// Events that Slack had for the app.
    pub(crate) events: usize,
    /// Those of them that were handled.
    pub(crate) handled: usize,
    /// Events that the layer had and that the app's reader lost, which gives a message up once it has asked for it.
    pub(crate) lost_by_reader: usize,
    /// Handlings beyond the first, by cause.
    pub(crate) again: BTreeMap<&'static str, usize>,
    /// Events that Slack itself gave in another order than they were written in.
    pub(crate) given_out_of_order: usize,
    /// Messages that the app put on the layer.
    pub(crate) sends: usize,
    /// Those of them that Slack has.
    pub(crate) posted: usize,
    /// Those that the app was told of that they failed, by error.
    pub(crate) reported: BTreeMap<String, usize>,
    /// Those of the reported ones that Slack has all the same.
    pub(crate) reported_and_posted: usize,
    /// Lives of the host beyond the first.
    pub(crate) restarts: usize,
}

/// How many of a kind are named in a failure.
const NAMED: usize = 5;

impl Verdict {
    /// Judges what a run left.
    pub(crate) fn judge(plan: &Plan, evidence: &Evidence) -> Verdict {
        let mut verdict = Verdict {
            restarts: evidence.lives.len().saturating_sub(1),
            ..Verdict::default()
        };
        let arrivals = Arrivals::read(plan, evidence);
        verdict.events_are_handled(evidence, &arrivals);
        verdict.repetitions_are_explained(evidence, &arrivals);
        verdict.order_is_kept(plan, evidence, &arrivals);
        verdict.sends_are_posted(evidence);
        verdict.nobody_panics(evidence);
        verdict
    }

    pub(crate) fn broke(&mut self, what: String) {
        self.broken.push(what);
    }

    fn events_are_handled(&mut self, evidence: &Evidence, arrivals: &Arrivals) {
        let (expected, handled) = (evidence.expected(), evidence.handled());
        self.events = expected.len();
        let mut lost = Vec::new();
        for key in &expected {
            if handled.contains_key(key) {
                self.handled += 1;
                continue;
            }
            if evidence.was_told(key) {
                self.lost_by_reader += 1;
            } else {
                let (channel, conversation, name) = key;
                let place = arrivals.of(&end_of_id(key));
                lost.push(format!("{name} of {channel} in {conversation}{place}"));
            }
        }
        self.name("events were never handled", &lost);
        let uninvited: Vec<String> = evidence
            .notes
            .handled
            .iter()
            .filter(|it| !evidence.is_given(&it.channel, &it.conversation))
            .map(|it| it.id.clone())
            .collect();
        self.name("events came that the app is not subscribed to", &uninvited);
        let expired: Vec<String> = evidence.told.expired.iter().cloned().collect();
        self.name("events were thrown away by the layer as too old", &expired);
    }

    fn repetitions_are_explained(&mut self, evidence: &Evidence, arrivals: &Arrivals) {
        let mut unexplained = Vec::new();
        for all in evidence.handled().values().filter(|all| all.len() > 1) {
            let first = all[0];
            if all.iter().any(|one| one.id != first.id) {
                unexplained.push(format!("{} has several ids", first.id));
                continue;
            }
            let placed = evidence.told.events.get(first.name());
            let made = placed.map_or(0, |placed| placed.members.len());
            let put = placed.map_or(0, |placed| placed.times);
            let cause = if made > 1 {
                if !arrivals.explain(&first.id) {
                    unexplained.push(format!("{}{}", first.id, arrivals.of(&first.id)));
                }
                "after a kill"
            } else if put > 1 {
                "layer"
            } else {
                "reader"
            };
            *self.again.entry(cause).or_default() += all.len() - 1;
        }
        self.name("events were made twice with no kill between", &unexplained);
    }

    /// First handlings go in the order of arrival: for each event some arrival can be named, each later than the one
    /// before. On RTM they also go in the order of Slack's history. An event that the reader took more often than it was
    /// handled was lost in its place by the reader, and handled when it came again: it says nothing of the order.
    ///
    /// Where a host said that live events waited no longer for the history, the history's come behind them.
    fn order_is_kept(&mut self, plan: &Plan, evidence: &Evidence, arrivals: &Arrivals) {
        let mut wrong = Vec::new();
        let waits_no_longer = "wait no longer for Slack's history";
        let mut lives = evidence.lives.iter();
        let is_in_order = !lives.any(|life| life.log.contains(waits_no_longer));
        let mut handlings: HashMap<&str, usize> = HashMap::new();
        for one in &evidence.notes.handled {
            *handlings.entry(one.name()).or_default() += 1;
        }
        let taken = |one: &Handled| evidence.told.taken.get(one.name()).copied().unwrap_or(0);
        let keeps_its_place = |one: &&Handled| taken(one) <= handlings[one.name()];
        for ((_, conversation), firsts) in first_handlings(evidence) {
            let mut at = 0;
            let mut newest = "";
            for one in firsts.into_iter().filter(keeps_its_place) {
                let places = arrivals.places.get(&*one.id);
                let next = places.and_then(|it| it.iter().find(|place| **place >= at));
                match next {
                    Some(place) => at = *place,
                    None => wrong.push(format!(
                        "{} of {conversation} was handled after what arrived later",
                        one.id
                    )),
                }
                if one.channel == "slack.message" {
                    if *one.ts < *newest {
                        self.given_out_of_order += 1;
                        if plan.transport == Transport::Rtm && is_in_order {
                            wrong.push(format!(
                                "{} of {conversation} was handled after {newest}",
                                one.ts
                            ));
                        }
                    } else {
                        newest = &one.ts;
                    }
                }
            }
        }
        self.name("events were handled out of order", &wrong);
    }

    fn sends_are_posted(&mut self, evidence: &Evidence) {
        let mut posts: HashMap<&str, Vec<&str>> = HashMap::new();
        for post in evidence
            .history
            .iter()
            .filter(|it| it.text.starts_with('~'))
        {
            posts.entry(&*post.text).or_default().push(&*post.ts);
        }
        let reported = evidence.reported();
        let told_as_sent: HashSet<&str> = evidence
            .notes
            .outcomes
            .iter()
            .filter(|(_, was_sent, _)| *was_sent)
            .map(|(label, ..)| &**label)
            .collect();
        self.sends = evidence.told.sends.len();
        let (mut lost, mut doubled, mut lied) = (Vec::new(), Vec::new(), Vec::new());
        let mut refused = Vec::new();
        for (label, placed) in &evidence.told.sends {
            let times = posts.get(&**label).map_or(0, Vec::len);
            let error = reported.get(&**label);
            self.posted += usize::from(times > 0);
            if let Some(error) = error {
                *self.reported.entry((*error).to_owned()).or_default() += 1;
                self.reported_and_posted += usize::from(times > 0);
            }
            if label.starts_with("~n/") && *error.unwrap_or(&"") == "channel_not_found" {
                refused.push(label.clone());
            }
            if times == 0 && error.is_none() {
                lost.push(label.clone());
            }
            if times == 0 && told_as_sent.contains(&**label) {
                lied.push(label.clone());
            }
            if times > 1 {
                doubled.push(format!(
                    "{label} {times} times, put on the layer as {} members",
                    placed.members.len()
                ));
            }
        }
        self.name("messages were neither posted nor reported", &lost);
        self.name("names of Slack's were refused", &refused);
        self.name("messages were told as sent that Slack does not have", &lied);
        self.name("messages were posted more than once", &doubled);
        self.name("messages were posted out of order", &out_of_order(evidence));
    }

    fn nobody_panics(&mut self, evidence: &Evidence) {
        let panics: Vec<String> = evidence
            .lives
            .iter()
            .flat_map(|life| life.log.lines())
            .filter(|line| line.contains("panicked at"))
            .map(ToOwned::to_owned)
            .collect();
        self.name("panics in the host", &panics);
    }

    fn name(&mut self, what: &str, which: &[String]) {
        if !which.is_empty() {
            let named = which.iter().take(NAMED).map(|it| format!("\n    {it}"));
            let rest = which.len().saturating_sub(NAMED);
            let more = if rest > 0 {
                format!("\n    and {rest} more")
            } else {
                String::new()
            };
            self.broke(format!(
                "{} {what}:{}{more}",
                which.len(),
                named.collect::<String>()
            ));
        }
    }
}

/// The events that the host says it got from Slack, in its order.
struct Arrivals {
    /// By id: the places among all arrivals that were not known before.
    places: HashMap<String, Vec<usize>>,
    /// By id: the lives in which these were.
    lives: HashMap<String, Vec<usize>>,
    /// Whether the ids of what was handled could be kept when a life ended.
    forgets: Vec<bool>,
    ends: Vec<End>,
}

impl Arrivals {
    fn read(plan: &Plan, evidence: &Evidence) -> Arrivals {
        let mut arrivals = Arrivals {
            places: HashMap::new(),
            lives: HashMap::new(),
            forgets: evidence
                .lives
                .iter()
                .map(|life| life.end == End::Killed || plan.fills_disk())
                .collect(),
            ends: evidence.lives.iter().map(|life| life.end).collect(),
        };
        let mut place = 0;
        for (life, log) in evidence.lives.iter().map(|life| &life.log).enumerate() {
            for line in log.lines().filter(|it| it.contains("\"event received\"")) {
                let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
                    continue;
                };
                let id = line["id"].as_str().unwrap_or_default().to_owned();
                arrivals.places.entry(id.clone()).or_default().push(place);
                arrivals.lives.entry(id).or_default().push(life);
                place += 1;
            }
        }
        arrivals
    }

    /// Whether an event that was made twice may have been: each making but the last was in a life that ended before it
    /// could be remembered.
    fn explain(&self, id: &str) -> bool {
        let Some(lives) = self.lives.get(id) else {
            return false;
        };
        let made: BTreeSet<usize> = lives.iter().copied().collect();
        let mut before_last = made.iter().rev().skip(1);
        made.len() == lives.len() && before_last.all(|life| self.forgets[*life])
    }

    fn of(&self, end_of_id: &str) -> String {
        let found = self.lives.iter().find(|(id, _)| id.ends_with(end_of_id));
        match found {
            Some((_, lives)) => {
                let lives: Vec<String> = lives
                    .iter()
                    .map(|life| format!("{} ({:?})", life + 1, self.ends[*life]))
                    .collect();
                format!(", arrived in the host's life {}", lives.join(", "))
            }
            None => ", never arrived".to_owned(),
        }
    }
}

/// The first handling of each event, in the order of handling, by channel and conversation.
fn first_handlings(evidence: &Evidence) -> BTreeMap<(&str, &str), Vec<&Handled>> {
    let mut seen = HashSet::new();
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for one in &evidence.notes.handled {
        if seen.insert((&one.channel, &one.id)) {
            all.entry((&*one.channel, &*one.conversation))
                .or_default()
                .push(one);
        }
    }
    all
}

/// Messages of one sender to one conversation that stand before an earlier one. The sender numbers what it sends, the
/// worker's answers go in the order in which it handled.
fn out_of_order(evidence: &Evidence) -> Vec<String> {
    let handled: HashMap<&str, usize> = evidence
        .notes
        .answers
        .iter()
        .enumerate()
        .map(|(at, label)| (&**label, at))
        .collect();
    let mut newest: HashMap<(&str, &str), (usize, &str)> = HashMap::new();
    let mut seen = HashSet::new();
    let mut wrong = Vec::new();
    for post in &evidence.history {
        let Some((sender, number)) = sender(&post.text) else {
            continue;
        };
        if !seen.insert(&*post.text) {
            continue;
        }
        let at = match sender {
            "a" => handled.get(&*post.text).copied().unwrap_or(0),
            _ => number,
        };
        let last = newest
            .entry((sender, &*post.conversation))
            .or_insert((at, &*post.text));
        if at < last.0 {
            wrong.push(format!("{} after {}", post.text, last.1));
        } else {
            *last = (at, &*post.text);
        }
    }
    wrong
}

/// The parts of a label: `~s/C1/17~`.
fn sender(label: &str) -> Option<(&str, usize)> {
    let (sender, rest) = label.strip_prefix('~')?.split_once('/')?;
    let (_, number) = rest.strip_suffix('~')?.split_once('/')?;
    Some((sender, number.parse().ok()?))
}
