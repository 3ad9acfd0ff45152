//! Access to the Web API: tokens, scopes, rates, and answers that a test has prescribed.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::options::Options;

pub(crate) mod rotation;

use rotation::Rotation;

/// Scopes that a token has at first: all that the methods here need.
const SCOPES: [&str; 24] = [
    "channels:history",
    "channels:manage",
    "channels:read",
    "chat:write",
    "chat:write.customize",
    "chat:write.public",
    "commands",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "groups:write",
    "im:history",
    "im:read",
    "im:write",
    "mpim:history",
    "mpim:read",
    "mpim:write",
    "reactions:read",
    "reactions:write",
    "rtm:stream",
    "team:read",
    "usergroups:read",
    "users:read",
];

/// Scopes that an app-level token has at first.
const APP_SCOPES: [&str; 1] = ["connections:write"];

/// Stands for every method where an answer is prescribed.
const ANY: &str = "*";

/// A prescribed answer to the next calls of a method, in place of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// For how many calls this holds; 0 for one, or without end where a `probability` is given.
    pub times: u64,
    /// The share of the calls that get this answer, drawn for each; `None` for all.
    pub probability: Option<f64>,
    /// The same seed draws the same calls.
    pub seed: u64,
    /// Only calls that have this text in their arguments get the answer; all do where it is empty.
    pub contains: String,
    /// `"ok": false` with this error.
    pub error: Option<String>,
    /// The HTTP status; 0 for 200, or 429 where `retry_after` is given.
    pub status: u16,
    /// The `Retry-After` header, in seconds; the error is `ratelimited` where none is given.
    pub retry_after: Option<u64>,
    /// The answer is held back for so long.
    pub delay_ms: u64,
    /// The whole body: a string as it is, anything else as JSON.
    pub body: Option<Value>,
    /// Whether the call is carried out all the same, as when only the answer is lost.
    pub perform: bool,
    /// The connection is closed without an answer.
    pub hang_up: bool,
    /// The connection is closed after half of the body.
    pub truncate: bool,
}

impl Answer {
    /// Whether the call's own answer is to be replaced, not just delayed.
    pub(crate) fn replaces(&self) -> bool {
        self.error.is_some()
            || self.status != 0
            || self.retry_after.is_some()
            || self.body.is_some()
            || self.hang_up
    }
}

/// The user or app that a token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    Bot,
    Installer,
    /// The app itself, in no workspace.
    App,
}

impl Speaker {
    pub(crate) fn of(token: &str) -> Option<Self> {
        let plain = token.strip_prefix("xoxe.").unwrap_or(token);
        if plain.starts_with("xoxb-") {
            Some(Speaker::Bot)
        } else if plain.starts_with("xoxp-") {
            Some(Speaker::Installer)
        } else if token.starts_with("xapp-") {
            Some(Speaker::App)
        } else {
            None
        }
    }
}

#[derive(Debug)]
pub(crate) struct Access {
    only: Option<String>,
    only_app: Option<String>,
    pub(crate) rotation: Rotation,
    revoked: HashMap<String, String>,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) app_scopes: BTreeSet<String>,
    /// Each list is of one workspace, which the call has to name.
    pub(crate) org_wide: bool,
    answers: HashMap<String, Vec<PrescribedAnswer>>,
    buckets: HashMap<String, Bucket>,
}

/// An answer that was prescribed, and the dice for it.
#[derive(Debug)]
struct PrescribedAnswer {
    answer: Answer,
    dice: StdRng,
}

impl PrescribedAnswer {
    /// Whether this holds for the call that came now, with these arguments.
    fn holds(&mut self, arguments: &str) -> bool {
        if !arguments.contains(&self.answer.contains) {
            return false;
        }
        match self.answer.probability {
            None => true,
            Some(share) => self.dice.random::<f64>() < share,
        }
    }
}

/// Tokens that refill at a steady rate.
#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Access {
    pub(crate) fn new(options: &Options) -> Self {
        let set = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Access {
            only: options.token.clone(),
            only_app: options.app_token.clone(),
            rotation: Rotation::new(options.oauth.clone()),
            revoked: HashMap::new(),
            scopes: set(&SCOPES),
            app_scopes: set(&APP_SCOPES),
            org_wide: options.org_wide,
            answers: HashMap::new(),
            buckets: HashMap::new(),
        }
    }

    /// The speaker of a token, or Slack's error code.
    pub(crate) fn admit(&self, token: Option<&str>) -> Result<Speaker, String> {
        let token = token
            .filter(|token| !token.is_empty())
            .ok_or("not_authed")?;
        if let Some(error) = self.revoked.get(token) {
            return Err(error.clone());
        }
        if let Some(judgement) = self.rotation.judge(token) {
            return judgement.map(|()| Speaker::Bot).map_err(str::to_owned);
        }
        let speaker = Speaker::of(token).ok_or("invalid_auth")?;
        let only = match speaker {
            Speaker::App => &self.only_app,
            Speaker::Bot | Speaker::Installer => &self.only,
        };
        match only.as_deref() {
            Some(only) if only != token => Err("invalid_auth".to_owned()),
            // A token that expires was issued here or is forged.
            None if token.starts_with("xoxe.") => Err("invalid_auth".to_owned()),
            _ => Ok(speaker),
        }
    }

    /// The scopes of a token of this kind.
    pub(crate) fn scopes_of(&self, speaker: Speaker) -> &BTreeSet<String> {
        match speaker {
            Speaker::App => &self.app_scopes,
            Speaker::Bot | Speaker::Installer => &self.scopes,
        }
    }

    pub(crate) fn revoke(&mut self, token: &str, error: &str) {
        self.revoked.insert(token.to_owned(), error.to_owned());
    }

    /// Prescribes answers after those that were prescribed for the method before.
    pub(crate) fn answer(&mut self, method: &str, mut answer: Answer) {
        if answer.probability.is_none() {
            answer.times = answer.times.max(1);
        }
        let dice = StdRng::seed_from_u64(answer.seed);
        self.answers
            .entry(method.to_owned())
            .or_default()
            .push(PrescribedAnswer { answer, dice });
    }

    /// Removes the prescribed answers that `keep` rejects.
    pub(crate) fn keep_answers(&mut self, keep: impl Fn(&Answer) -> bool) {
        for queue in self.answers.values_mut() {
            queue.retain(|prescribed| keep(&prescribed.answer));
        }
    }

    /// The prescribed answer for a call that came now, with these arguments: one for this method, or else one for all.
    pub(crate) fn prescribed(&mut self, method: &str, arguments: &str) -> Option<Answer> {
        [method, ANY]
            .into_iter()
            .find_map(|method| self.prescribed_for(method, arguments))
    }

    fn prescribed_for(&mut self, method: &str, arguments: &str) -> Option<Answer> {
        let queue = self.answers.get_mut(method)?;
        let place = queue.iter_mut().position(|one| one.holds(arguments))?;
        let answer = queue[place].answer.clone();
        match answer.times {
            0 => {}
            1 => {
                queue.remove(place);
            }
            _ => queue[place].answer.times -= 1,
        }
        Some(answer)
    }

    /// Counts one use of `what`; the time to wait where it is too early.
    pub(crate) fn spend(
        &mut self,
        what: &str,
        per_minute: u32,
        burst: u32,
    ) -> Result<(), Duration> {
        let now = Instant::now();
        let per_second = f64::from(per_minute) / 60.0;
        let full = f64::from(burst);
        let bucket = self.buckets.entry(what.to_owned()).or_insert(Bucket {
            left: full,
            filled: now,
        });
        let gained = now.duration_since(bucket.filled).as_secs_f64() * per_second;
        bucket.left = (bucket.left + gained).min(full);
        bucket.filled = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(only: Option<&str>) -> Access {
        Access::new(&Options {
            token: only.map(str::to_owned),
            ..Options::default()
        })
    }

    #[test]
    fn a_token_is_admitted_refused_or_revoked() {
        let check = |only: Option<&str>, token: Option<&str>, expect: Result<Speaker, &str>| {
            let mut access = access(only);
            access.revoke("xoxb-gone", "token_revoked");
            assert_eq!(
                access.admit(token).map_err(|error| error.to_string()),
                expect.map_err(str::to_owned)
            );
        };
        check(None, None, Err("not_authed"));
        check(None, Some(""), Err("not_authed"));
        check(None, Some("hello"), Err("invalid_auth"));
        check(None, Some("xoxb-1"), Ok(Speaker::Bot));
        check(None, Some("xoxp-1"), Ok(Speaker::Installer));
        check(None, Some("xoxb-gone"), Err("token_revoked"));
        check(None, Some("xapp-1"), Ok(Speaker::App));
        check(None, Some("xoxe.xoxb-1-forged"), Err("invalid_auth"));
        check(Some("xoxe.xoxb-1"), Some("xoxe.xoxb-1"), Ok(Speaker::Bot));
        check(Some("xoxb-1"), Some("xapp-1"), Ok(Speaker::App));
        check(Some("xoxb-1"), Some("xoxb-1"), Ok(Speaker::Bot));
        check(Some("xoxb-1"), Some("xoxb-2"), Err("invalid_auth"));
    }

    #[test]
    fn a_rate_has_bursts_and_says_how_long_to_wait() {
        let mut access = access(None);
        for _ in 0..3 {
            access.spend("post C1", 60, 3).unwrap();
        }
        let wait = access.spend("post C1", 60, 3).unwrap_err();
        assert!(wait <= Duration::from_secs(1) && wait > Duration::ZERO);
        access.spend("post C2", 60, 3).unwrap();
    }

    #[test]
    fn prescribed_answers_hold_for_their_calls_and_in_their_order() {
        let mut access = access(None);
        let error = |error: &str, times| Answer {
            error: Some(error.to_owned()),
            times,
            ..Answer::default()
        };
        access.answer("a", error("one", 2));
        access.answer("a", error("two", 0));
        let seen: Vec<_> = (0..4)
            .map(|_| access.prescribed("a", "").and_then(|answer| answer.error))
            .collect();
        let expect = [Some("one"), Some("one"), Some("two"), None];
        assert_eq!(seen, expect.map(|error| error.map(str::to_owned)));
    }

    #[test]
    fn an_answer_can_be_for_calls_that_hold_a_text() {
        let mut access = access(None);
        access.answer(
            "a",
            Answer {
                status: 500,
                contains: "poison".to_owned(),
                ..Answer::default()
            },
        );
        assert_eq!(access.prescribed("a", "{\"text\": \"fine\"}"), None);
        assert!(access.prescribed("a", "{\"text\": \"poison\"}").is_some());
    }

    #[test]
    fn some_answers_can_be_taken_back() {
        let mut access = access(None);
        for contains in ["", "poison"] {
            access.answer(
                "a",
                Answer {
                    contains: contains.to_owned(),
                    ..Answer::default()
                },
            );
        }
        access.keep_answers(|answer| !answer.contains.is_empty());
        assert_eq!(access.prescribed("a", "fine"), None);
        assert!(access.prescribed("a", "poison").is_some());
    }

    #[test]
    fn an_answer_of_a_probability_befalls_its_share_of_the_calls() {
        let drawn = |seed| {
            let mut access = access(None);
            access.answer(
                "*",
                Answer {
                    status: 500,
                    probability: Some(0.25),
                    seed,
                    ..Answer::default()
                },
            );
            let calls = (0..1000).map(|_| access.prescribed("chat.postMessage", "").is_some());
            calls.collect::<Vec<bool>>()
        };
        let befallen = drawn(7).iter().filter(|befallen| **befallen).count();
        assert!((200..300).contains(&befallen), "{befallen}");
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }
}
