//! The state of Socket Mode's connections for metrics, and an alarm where Slack counts more of them than are ours.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use djangobot_event::lock;
use tokio::time::Instant;

/// Slack may count a socket for this long after it was closed.
const GRACE: Duration = Duration::from_secs(10);

/// Counts of Socket Mode's connections.
///
/// An app's envelopes are dealt out to all of its connections, and one that nobody reads swallows its share of them.
#[derive(Debug, Default)]
pub struct Health {
    open: AtomicU32,
    reported: AtomicU32,
    strangers: AtomicU32,
    alarms: AtomicU32,
    owned: Mutex<Owned>,
}

/// The sockets that are ours, or were until a moment ago.
#[derive(Debug, Default)]
struct Owned {
    count: u32,
    ended: Vec<Instant>,
}

/// A socket of ours, from before its handshake until it is closed.
#[derive(Debug)]
pub(super) struct OwnSocket {
    health: Arc<Health>,
    is_greeted: bool,
    /// It went silent. Slack may count it for hours, which is worth the alarm.
    pub(super) is_half_open: bool,
}

impl Health {
    /// Connections on which Slack has said hello and that have not ended.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// How many connections the app has in all, as Slack's last hello said.
    pub fn reported(&self) -> u32 {
        self.reported.load(Relaxed)
    }

    /// How many of these were not ours: of another host with the same token, or sockets that Slack holds for alive.
    pub fn strangers(&self) -> u32 {
        self.strangers.load(Relaxed)
    }

    /// How often Slack has said that there are too many connections.
    pub fn alarms(&self) -> u32 {
        self.alarms.load(Relaxed)
    }

    pub(super) fn own(self: &Arc<Health>) -> OwnSocket {
        self.owned().count += 1;
        OwnSocket {
            health: Arc::clone(self),
            is_greeted: false,
            is_half_open: false,
        }
    }

    fn owned(&self) -> std::sync::MutexGuard<'_, Owned> {
        lock::lock(&self.owned)
    }

    /// Takes in what a hello says, and raises the alarm where it is more than we have.
    fn counted(&self, reported: u32) {
        let ours = {
            let mut owned = self.owned();
            owned.ended.retain(|ended| ended.elapsed() < GRACE);
            owned.count + u32::try_from(owned.ended.len()).unwrap_or(u32::MAX)
        };
        self.reported.store(reported, Relaxed);
        let strangers = reported.saturating_sub(ours);
        self.strangers.store(strangers, Relaxed);
        if strangers > 0 {
            tracing::warn!(
                reported,
                ours,
                "Slack counts more Socket Mode connections of this app than are ours: another host uses the same \
                 app-level token, or a connection was lost without being closed; each gets its share of the events"
            );
        }
    }
}

impl OwnSocket {
    /// Slack said hello on it, and how many connections there are, if it did.
    pub(super) fn greeted(&mut self, reported: Option<u32>) {
        if !self.is_greeted {
            self.is_greeted = true;
            self.health.open.fetch_add(1, Relaxed);
        }
        if let Some(reported) = reported {
            self.health.counted(reported);
        }
    }

    /// Slack says that there are too many.
    pub(super) fn is_one_too_many(&self) {
        self.health.alarms.fetch_add(1, Relaxed);
        tracing::error!(
            open = self.health.open(),
            reported = self.health.reported(),
            "Slack says that the app has too many Socket Mode connections, and allows 10 in all: run fewer hosts with \
             this app-level token, or fewer connections in each"
        );
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if self.is_greeted {
            self.health.open.fetch_sub(1, Relaxed);
        }
        let mut owned = self.health.owned();
        owned.count = owned.count.saturating_sub(1);
        owned.ended.retain(|ended| ended.elapsed() < GRACE);
        if !self.is_half_open {
            owned.ended.push(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_not_ours_is_strange() {
        let health = Arc::new(Health::default());
        let mut one = health.own();
        let mut two = health.own();
        one.greeted(Some(2));
        assert_eq!(
            (health.open(), health.reported(), health.strangers()),
            (1, 2, 0)
        );
        two.greeted(Some(5));
        assert_eq!(
            (health.open(), health.reported(), health.strangers()),
            (2, 5, 3)
        );

        drop(one);
        two.greeted(Some(2));
        assert_eq!(
            (health.open(), health.strangers()),
            (1, 0),
            "one was closed a moment ago"
        );
        tokio::time::advance(GRACE).await;
        two.greeted(Some(2));
        assert_eq!(health.strangers(), 1, "Slack still counts it");

        let mut deaf = health.own();
        deaf.greeted(None);
        deaf.is_half_open = true;
        drop(deaf);
        two.greeted(Some(2));
        assert_eq!(
            health.strangers(),
            1,
            "a half-open socket is none of ours at once"
        );
        drop(two);
        assert_eq!(health.open(), 0);
    }
}
