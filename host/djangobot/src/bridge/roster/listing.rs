//! The state of one list of the roster: when it was loaded, whether somebody asks for a load, and when the next one is
//! due.

use std::time::Duration;

use djangobot_slack::roster::{List, LoadReport};
use djangobot_slack::{ApiError, Backoff, Class};
use tokio::time::Instant;

/// The result of a search for a name.
#[derive(Debug)]
pub(crate) enum Search<T> {
    /// The roster knows it.
    Found(T),
    /// Slack's list was loaded since the search began, and does not have it.
    Absent,
    /// Slack does not give us the whole list, so that it may exist all the same. The reason is a clause.
    Unlisted(String),
}

/// The answer of a list to a search for a name that the roster does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ListAnswer {
    /// The list was not loaded since the search began.
    NotLoaded,
    /// The list is complete.
    Whole,
    /// The list is not complete, for this reason.
    Lacking(String),
}

/// A load of a list that has ended, well or badly.
#[derive(Debug, Clone, Copy)]
struct FinishedLoad {
    began: Instant,
    took: Duration,
}

/// The times between two loads of a list, counted from the beginning of one to that of the next.
#[derive(Debug, Clone)]
pub(super) struct Pauses {
    /// If somebody waits for a name that was not found.
    pub(super) asked: Duration,
    /// If a new session began, or a name was not found for which nobody waits.
    pub(super) stale: Duration,
    /// If there is no reason for an earlier load.
    pub(super) regular: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            asked: Duration::from_secs(5),
            stale: Duration::from_secs(20),
            regular: Duration::from_secs(1800),
        }
    }
}

/// The state of one list.
///
/// Times order its facts: `wanted` and `stale` count only if they are later than the begin of the last load, because
/// that load answers all that was missed before it began.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    /// When somebody last missed a name.
    wanted: Option<Instant>,
    /// The last moment at which it may have become incomplete, without anybody waiting.
    stale: Option<Instant>,
    last: Option<FinishedLoad>,
    /// The reason for which the last load was not complete.
    lacks: Option<String>,
    /// When a load is tried again after a failure that may pass, even if nobody asks for it.
    retry_at: Option<Instant>,
    backoff: Backoff,
}

impl Default for Listing {
    fn default() -> Self {
        Self {
            wanted: None,
            stale: None,
            last: None,
            lacks: None,
            retry_at: None,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

impl Listing {
    /// Notes that somebody waits for a name that it lacked at this moment.
    pub(super) fn want(&mut self, at: Instant) {
        self.wanted = self.wanted.max(Some(at));
    }

    /// Notes that a session began at this moment. Slack does not report changes between two sessions.
    pub(super) fn session_began(&mut self, at: Instant) {
        self.stale = self.stale.max(Some(at));
    }

    /// Notes that it lacked an id at this moment. During a load that means nothing.
    pub(super) fn note_lack(&mut self, at: Instant) {
        if self.last.is_some_and(|load| at > load.began + load.took) {
            self.stale = self.stale.max(Some(at));
        }
    }

    /// Whether a load has ended, well or badly.
    pub(super) fn has_ended(&self) -> bool {
        self.last.is_some()
    }

    /// Whether the last load was complete, so that what is not in it is not in Slack either.
    pub(super) fn is_whole(&self) -> bool {
        self.has_ended() && self.lacks.is_none()
    }

    /// The answer to a search that began at `asked`.
    pub(super) fn answer(&self, asked: Instant) -> ListAnswer {
        // A load that began earlier may have passed the place of the name before Slack had it.
        match (self.last, &self.lacks) {
            (Some(load), None) if load.began >= asked => ListAnswer::Whole,
            (Some(load), Some(why)) if load.began >= asked => ListAnswer::Lacking(why.clone()),
            _ => ListAnswer::NotLoaded,
        }
    }

    /// When the next load is due.
    pub(super) fn due(&self, pauses: &Pauses) -> Instant {
        let Some(FinishedLoad { began, took }) = self.last else {
            // It was never loaded.
            return Instant::now();
        };
        // A list that takes long to load is loaded less often.
        let is_later = |at: Option<Instant>| at.is_some_and(|at| at > began);
        let mut due = began + pauses.regular;
        if is_later(self.stale) {
            due = due.min(began + pauses.stale.max(took * 10));
        }
        if let Some(retry_at) = self.retry_at {
            due = due.min(retry_at);
        }
        if is_later(self.wanted) {
            due = due.min(began + pauses.asked.max(took * 2));
        }
        due
    }

    /// Notes the end of a load that began at `began`.
    pub(super) fn note_load(
        &mut self,
        list: List,
        began: Instant,
        loaded: Result<LoadReport, ApiError>,
    ) {
        let is_first = !self.has_ended();
        self.last = Some(FinishedLoad {
            began,
            took: began.elapsed(),
        });
        self.retry_at = None;
        let what = list.name();
        let lacks = match loaded {
            Ok(LoadReport { warnings, .. }) => {
                self.backoff.succeeded();
                let lacks = warnings.iter().map(ToString::to_string);
                Some(lacks.collect::<Vec<_>>().join("; ")).filter(|lacks| !lacks.is_empty())
            }
            Err(error) if matches!(error.class(), Class::Fatal | Class::Permanent) => {
                Some(format!("{what} can't be listed: {error}"))
            }
            Err(error) => {
                self.retry_at = Some(Instant::now() + self.backoff.failed());
                Some(format!("{what} can't be listed now: {error}"))
            }
        };
        match (&self.lacks, &lacks) {
            (Some(_), None) => tracing::info!("{what} can be listed again"),
            (before, Some(lacks)) if is_first || before.is_none() => tracing::warn!("{lacks}"),
            (_, Some(lacks)) => tracing::debug!("{lacks}"),
            (None, None) => {}
        }
        self.lacks = lacks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses() -> Pauses {
        Pauses {
            asked: Duration::from_secs(5),
            stale: Duration::from_secs(20),
            regular: Duration::from_secs(1800),
        }
    }

    #[test]
    fn a_list_is_due_sooner_the_better_the_reason() {
        let mut listing = Listing::default();
        assert!(
            listing.due(&pauses()) <= Instant::now(),
            "at first, at once"
        );
        let began = Instant::now();
        listing.note_load(List::Users, began, Ok(LoadReport::default()));
        let after = |listing: &Listing| (listing.due(&pauses()) - began).as_secs();
        assert_eq!(after(&listing), 1800);
        listing.note_lack(began);
        listing.session_began(began);
        assert_eq!(after(&listing), 1800, "it was read since");
        listing.session_began(began + Duration::from_millis(1));
        assert_eq!(after(&listing), 20);
        listing.want(began);
        assert_eq!(after(&listing), 20, "it was read since");
        listing.want(began + Duration::from_millis(1));
        assert_eq!(after(&listing), 5);
    }

    #[test]
    fn a_list_that_takes_long_is_not_read_all_the_time() {
        let mut listing = Listing::default();
        let began = Instant::now() - Duration::from_secs(40);
        listing.note_load(List::Users, began, Ok(LoadReport::default()));
        listing.note_lack(began + Duration::from_secs(1));
        assert_eq!((listing.due(&pauses()) - began).as_secs(), 1800);
        listing.note_lack(Instant::now());
        assert!((400..500).contains(&(listing.due(&pauses()) - began).as_secs()));
        listing.want(Instant::now());
        assert!((80..90).contains(&(listing.due(&pauses()) - began).as_secs()));
    }

    #[test]
    fn only_a_load_that_began_since_answers() {
        let mut listing = Listing::default();
        let asked = Instant::now();
        assert_eq!(listing.answer(asked), ListAnswer::NotLoaded);
        listing.note_load(List::Users, asked, Ok(LoadReport::default()));
        assert_eq!(listing.answer(asked), ListAnswer::Whole);
        let later = asked + Duration::from_nanos(1);
        assert_eq!(listing.answer(later), ListAnswer::NotLoaded);
    }
}
