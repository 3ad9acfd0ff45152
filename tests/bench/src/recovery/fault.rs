//! The faults.

use std::time::{Duration, Instant};

use djangobot_tests::Redis;
use local_slack::Connection;

use super::stream::Stream;
use crate::socket_mode::{SocketMode, Taker};

/// How long Redis is away, or frozen.
const AWAY: Duration = Duration::from_secs(1);
const FROZEN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    RedisRestarted,
    RedisFrozen,
    SocketsDropped,
    Killed,
    /// One connection of two says nothing more.
    OneSilent,
    AllSilent,
}

/// A fault that has been.
pub(super) struct Struck {
    /// The number of the first event that was given after it had set in.
    pub(super) from: usize,
    /// When it was over; when it had set in, if nothing ends it but the one it befell.
    pub(super) over: Instant,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RedisRestarted => "Redis stopped, and started after 1 s",
            Self::RedisFrozen => "Redis frozen for 2 s",
            Self::SocketsDropped => "Slack's sockets dropped",
            Self::Killed => "the program killed, and started again",
            Self::OneSilent => "one of two sockets goes silent",
            Self::AllSilent => "all sockets go silent",
        }
    }

    /// Events a second meanwhile: fewer than the taker can do, and only a few where many such takers run side by side.
    pub(super) fn rate(self, taker: Taker) -> u32 {
        match (self, taker) {
            (Self::OneSilent | Self::AllSilent, _) | (Self::SocketsDropped, Taker::Bolt) => 20,
            (_, Taker::Bolt) => 50,
            (_, Taker::Djangobot) => 200,
        }
    }

    /// How long a taker runs before: none connects twice in a moment.
    pub(super) fn after(self) -> Duration {
        match self {
            Self::RedisRestarted | Self::RedisFrozen | Self::Killed => Duration::ZERO,
            Self::SocketsDropped | Self::OneSilent | Self::AllSilent => Duration::from_secs(1),
        }
    }

    /// Lets it happen.
    pub(super) async fn strike(
        self,
        app: &mut SocketMode,
        redis: &mut Redis,
        stream: &Stream,
    ) -> Struck {
        let control = app.slack.control();
        let now = || Struck {
            from: stream.next(),
            over: Instant::now(),
        };
        match self {
            Self::RedisRestarted => {
                redis.stop();
                let struck = now();
                tokio::time::sleep(AWAY).await;
                redis.restart();
                Struck {
                    over: Instant::now(),
                    ..struck
                }
            }
            Self::RedisFrozen => {
                redis.freeze();
                let struck = now();
                tokio::time::sleep(FROZEN).await;
                redis.thaw();
                Struck {
                    over: Instant::now(),
                    ..struck
                }
            }
            Self::SocketsDropped => {
                let over = Instant::now();
                let before = control.connections();
                control.drop_connections(None);
                // Events that come before they are gone may still go through.
                let is_old = |one: &Connection| before.iter().any(|old| old.id == one.id);
                control.wait_until(|now| !now.iter().any(is_old)).await;
                Struck { over, ..now() }
            }
            Self::Killed => {
                app.kill().await;
                let struck = now();
                app.start_again().await;
                struck
            }
            Self::OneSilent => {
                let first = control.connections().first().map(|one| one.id);
                control.freeze(first);
                now()
            }
            Self::AllSilent => {
                control.freeze(None);
                now()
            }
        }
    }
}
