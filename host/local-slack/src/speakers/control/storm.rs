//! A storm: one connection after another is disconnected, cut or silenced, at random.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::fault::Reason;
use crate::socket::{self, Sockets};
use crate::speakers::control::handle::Control;

/// The settings of a storm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storm {
    /// How many blows.
    pub blows: u64,
    /// The time from one to the next, in milliseconds, on average.
    pub every_ms: u64,
    /// For so long a connection is silenced, in milliseconds, before it goes on.
    pub freeze_ms: u64,
    /// The same seed gives the same storm, on the same connections.
    pub seed: u64,
}

impl Default for Storm {
    fn default() -> Self {
        Storm {
            blows: 20,
            every_ms: 100,
            freeze_ms: 200,
            seed: 1,
        }
    }
}

impl Control {
    /// Strikes connections at random until the storm is over; how many were struck.
    pub async fn storm(&self, storm: Storm) -> u64 {
        let mut dice = StdRng::seed_from_u64(storm.seed);
        let mut struck = 0;
        for _ in 0..storm.blows {
            let pause = dice.random_range(0..=storm.every_ms.saturating_mul(2));
            let (which, how) = (dice.random::<u64>(), dice.random_range(0..5));
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let blow = Blow {
                which,
                how,
                freeze: Duration::from_millis(storm.freeze_ms),
                warning_time: self.core.options.warning_time,
            };
            struck += u64::from(strike(&self.core.sockets, blow).await);
        }
        struck
    }
}

/// One blow of a storm.
struct Blow {
    /// Drawn at random: it chooses the connection.
    which: u64,
    /// Drawn at random: it chooses what happens to the connection.
    how: u8,
    /// How long a silenced connection stays silent.
    freeze: Duration,
    warning_time: Duration,
}

/// Strikes one connection; false where none is open.
async fn strike(sockets: &Sockets, blow: Blow) -> bool {
    let sockets = sockets.get(None);
    let Some(place) = blow.which.checked_rem(sockets.len() as u64) else {
        return false;
    };
    let socket = &sockets[place as usize];
    match blow.how {
        0 if socket.is_in_socket_mode() => {
            socket::disconnect(socket, Reason::Warning, blow.warning_time);
        }
        1 if socket.is_in_socket_mode() => {
            socket::disconnect(socket, Reason::RefreshRequested, blow.warning_time);
        }
        2 => {
            socket.freeze(true);
            tokio::time::sleep(blow.freeze).await;
            socket.freeze(false);
        }
        _ => socket.close.cancel(),
    }
    true
}
