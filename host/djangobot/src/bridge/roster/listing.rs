//! How one list of the roster stands: when it was read, who wants it read again, and when that is due.

use std::time::Duration;

use djangobot_slack::roster::{List, LoadReport};
use djangobot_slack::{ApiError, Backoff, Class};
use tokio::time::Instant;

/// What came of a search for a name.
#[derive(Debug)]
pub(crate) enum Search<T> {
    /// The roster knows it.
    Found(T),
    /// Slack's list was read since the search began, and it is not there.
    Absent,
    /// Slack does not give us the whole list, so that it may be there all the same. The reason is a sentence without its
    /// full stop.
    Unlisted(String),
}

/// The times between two loads of a list, counted from the beginning of one to that of the next.
#[derive(Debug, Clone)]
pub(super) struct Pauses {
    /// After a name was not found for which somebody waits.
    pub(super) asked: Duration,
    /// After a new session began, or a name was not found for which nobody waits.
    pub(super) stale: Duration,
    /// Without any reason.
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

/// How one list stands.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    /// When somebody last missed a name.
    wanted: Option<Instant>,
    /// Since when it may lack something, for which nobody waits.
    stale: Option<Instant>,
    /// When the last load that has ended began, and how long it took.
    last: Option<(Instant, Duration)>,
    /// Why it is not whole, after its last load.
    lacks: Option<String>,
    /// After a failure that may pass: when it is tried again, whoever wants it.
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
    /// Somebody misses a name at this time.
    pub(super) fn want(&mut self, at: Instant) {
        self.wanted = self.wanted.max(Some(at));
    }

    /// What happened between two sessions, Slack does not tell.
    pub(super) fn session_began(&mut self, at: Instant) {
        self.stale = self.stale.max(Some(at));
    }

    /// It lacked something at this time. While it was being read, that says nothing.
    pub(super) fn lacked(&mut self, at: Instant) {
        if self.last.is_some_and(|(began, took)| at > began + took) {
            self.stale = self.stale.max(Some(at));
        }
    }

    /// Whether a load has ended, well or badly.
    pub(super) fn has_ended(&self) -> bool {
        self.last.is_some()
    }

    /// Whether what is not in it is not in Slack either, as far as is known.
    pub(super) fn is_whole(&self) -> bool {
        self.has_ended() && self.lacks.is_none()
    }

    /// What the list says of a name that was missed at `asked`; `None` where it has not been read since.
    pub(super) fn answer(&self, asked: Instant) -> Option<Result<(), String>> {
        let (began, _) = self.last?;
        (began >= asked).then(|| self.lacks.clone().map_or(Ok(()), Err))
    }

    /// When it is to be loaded next.
    pub(super) fn due(&self, pauses: &Pauses) -> Instant {
        let Some((began, took)) = self.last else {
            // Never yet.
            return Instant::now();
        };
        // A list that takes long to read is not read all the time.
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

    /// A load that began at `began` has ended.
    pub(super) fn ended(
        &mut self,
        list: List,
        began: Instant,
        loaded: Result<LoadReport, ApiError>,
    ) {
        let is_first = !self.has_ended();
        self.last = Some((began, began.elapsed()));
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
            (Some(_), None) => tracing::info!("{what} are listed again"),
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
        listing.ended(List::Users, began, Ok(LoadReport::default()));
        let after = |listing: &Listing| (listing.due(&pauses()) - began).as_secs();
        assert_eq!(after(&listing), 1800);
        listing.lacked(began);
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
        listing.ended(List::Users, began, Ok(LoadReport::default()));
        listing.lacked(began + Duration::from_secs(1));
        assert_eq!((listing.due(&pauses()) - began).as_secs(), 1800);
        listing.lacked(Instant::now());
        assert!((400..500).contains(&(listing.due(&pauses()) - began).as_secs()));
        listing.want(Instant::now());
        assert!((80..90).contains(&(listing.due(&pauses()) - began).as_secs()));
    }

    #[test]
    fn only_a_load_that_began_since_answers() {
        let mut listing = Listing::default();
        let asked = Instant::now();
        assert_eq!(listing.answer(asked), None);
        listing.ended(List::Users, asked, Ok(LoadReport::default()));
        assert_eq!(listing.answer(asked), Some(Ok(())));
        assert_eq!(listing.answer(asked + Duration::from_nanos(1)), None);
    }
}
