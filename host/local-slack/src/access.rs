//! Who may do what: tokens, scopes, rates, and answers that a test has prescribed.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Scopes that a token has at first: all that the methods here need.
const SCOPES: [&str; 20] = [
    "channels:history",
    "channels:manage",
    "channels:read",
    "chat:write",
    "chat:write.customize",
    "chat:write.public",
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
    "users:read",
];

/// How the next calls of a method are answered, instead of as they deserve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// For how many calls this holds; 0 for one.
    pub times: u64,
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

/// Whom a token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    Bot,
    Installer,
}

impl Speaker {
    pub(crate) fn of(token: &str) -> Option<Speaker> {
        if token.starts_with("xoxb-") {
            Some(Speaker::Bot)
        } else if token.starts_with("xoxp-") {
            Some(Speaker::Installer)
        } else {
            None
        }
    }
}

#[derive(Debug)]
pub(crate) struct Access {
    only: Option<String>,
    revoked: HashMap<String, String>,
    pub(crate) scopes: BTreeSet<String>,
    answers: HashMap<String, Vec<Answer>>,
    buckets: HashMap<String, Bucket>,
}

/// Tokens that refill at a steady rate.
#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Access {
    pub(crate) fn new(only: Option<String>) -> Access {
        Access {
            only,
            revoked: HashMap::new(),
            scopes: SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
            answers: HashMap::new(),
            buckets: HashMap::new(),
        }
    }

    /// Whom `token` speaks for, or Slack's error code.
    pub(crate) fn admit(&self, token: Option<&str>) -> Result<Speaker, String> {
        let token = token
            .filter(|token| !token.is_empty())
            .ok_or("not_authed")?;
        if let Some(error) = self.revoked.get(token) {
            return Err(error.clone());
        }
        if self.only.as_deref().is_some_and(|only| only != token) {
            return Err("invalid_auth".to_owned());
        }
        Speaker::of(token).ok_or_else(|| "invalid_auth".to_owned())
    }

    pub(crate) fn revoke(&mut self, token: &str, error: &str) {
        self.revoked.insert(token.to_owned(), error.to_owned());
    }

    /// Prescribes answers after those that were prescribed for the method before.
    pub(crate) fn answer(&mut self, method: &str, mut answer: Answer) {
        answer.times = answer.times.max(1);
        self.answers
            .entry(method.to_owned())
            .or_default()
            .push(answer);
    }

    pub(crate) fn clear_answers(&mut self) {
        self.answers.clear();
    }

    /// The prescribed answer for a call that came now.
    pub(crate) fn prescribed(&mut self, method: &str) -> Option<Answer> {
        let queue = self.answers.get_mut(method)?;
        let first = queue.first_mut()?;
        let answer = first.clone();
        first.times -= 1;
        if first.times == 0 {
            queue.remove(0);
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

    #[test]
    fn a_token_is_admitted_refused_or_revoked() {
        let check = |only: Option<&str>, token: Option<&str>, expect: Result<Speaker, &str>| {
            let mut access = Access::new(only.map(str::to_owned));
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
        check(Some("xoxb-1"), Some("xoxb-1"), Ok(Speaker::Bot));
        check(Some("xoxb-1"), Some("xoxb-2"), Err("invalid_auth"));
    }

    #[test]
    fn a_rate_has_bursts_and_says_how_long_to_wait() {
        let mut access = Access::new(None);
        for _ in 0..3 {
            access.spend("post C1", 60, 3).unwrap();
        }
        let wait = access.spend("post C1", 60, 3).unwrap_err();
        assert!(wait <= Duration::from_secs(1) && wait > Duration::ZERO);
        access.spend("post C2", 60, 3).unwrap();
    }

    #[test]
    fn prescribed_answers_hold_for_their_calls_and_in_their_order() {
        let mut access = Access::new(None);
        let error = |error: &str, times| Answer {
            error: Some(error.to_owned()),
            times,
            ..Answer::default()
        };
        access.answer("a", error("one", 2));
        access.answer("a", error("two", 0));
        let seen: Vec<_> = (0..4)
            .map(|_| access.prescribed("a").and_then(|answer| answer.error))
            .collect();
        let expect = [Some("one"), Some("one"), Some("two"), None];
        assert_eq!(seen, expect.map(|error| error.map(str::to_owned)));
    }
}
