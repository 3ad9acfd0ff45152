//! How one list of the roster stands: when it was read, who wants it read again, and when that is due.

use std::time::Duration;

use djangobot_slack::roster::{List, Loaded};
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
    /// After a name was not found.
    pub(super) asked: Duration,
    /// After a new session began.
    pub(super) session: Duration,
    /// Without any reason.
    pub(super) regular: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            asked: Duration::from_secs(5),
            session: Duration::from_secs(300),
            regular: Duration::from_secs(1800),
        }
    }
}

/// How one list stands.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    /// When somebody last missed a name.
    wanted: Option<Instant>,
    /// A session began since the list was read.
    is_stale: bool,
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
            is_stale: false,
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

    pub(super) fn session_began(&mut self) {
        self.is_stale = true;
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
        let asked = began + pauses.asked.max(took * 2);
        let mut due = began + pauses.regular;
        if self.is_stale {
            due = due.min(began + pauses.session);
        }
        if let Some(retry_at) = self.retry_at {
            due = due.min(retry_at);
        }
        if self.wanted.is_some_and(|wanted| wanted > began) {
            due = due.min(asked);
        }
        due
    }

    /// A load that began at `began` has ended.
    pub(super) fn ended(&mut self, list: List, began: Instant, loaded: Result<Loaded, ApiError>) {
        let is_first = !self.has_ended();
        self.last = Some((began, began.elapsed()));
        self.is_stale = false;
        self.retry_at = None;
        let what = list.name();
        let lacks = match loaded {
            Ok(Loaded { warnings, .. }) => {
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
            session: Duration::from_secs(300),
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
        listing.ended(List::Users, began, Ok(Loaded::default()));
        let after = |listing: &Listing| (listing.due(&pauses()) - began).as_secs();
        assert_eq!(after(&listing), 1800);
        listing.session_began();
        assert_eq!(after(&listing), 300);
        listing.want(began);
        assert_eq!(after(&listing), 300, "it was read since");
        listing.want(began + Duration::from_millis(1));
        assert_eq!(after(&listing), 5);
    }

    #[test]
    fn a_list_that_takes_long_is_read_for_half_of_the_time_at_most() {
        let mut listing = Listing::default();
        let began = Instant::now() - Duration::from_secs(40);
        listing.ended(List::Users, began, Ok(Loaded::default()));
        listing.want(Instant::now());
        assert!((listing.due(&pauses()) - began).as_secs() >= 80);
    }

    #[test]
    fn only_a_load_that_began_since_answers() {
        let mut listing = Listing::default();
        let asked = Instant::now();
        assert_eq!(listing.answer(asked), None);
        listing.ended(List::Users, asked, Ok(Loaded::default()));
        assert_eq!(listing.answer(asked), Some(Ok(())));
        assert_eq!(listing.answer(asked + Duration::from_nanos(1)), None);
    }
}
