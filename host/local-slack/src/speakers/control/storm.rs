//! A storm: one connection after another is disconnected, cut or silenced, at random.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::Control;
use crate::core::Core;
use crate::fault::Reason;
use crate::speakers::socket_mode;

/// What the storm is like.
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
    fn default() -> Storm {
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
            struck += u64::from(strike(&self.core, which, how, storm.freeze_ms).await);
        }
        struck
    }
}

async fn strike(core: &Core, which: u64, how: u8, freeze_ms: u64) -> bool {
    let sockets = core.sockets.get(None);
    let Some(place) = which.checked_rem(sockets.len() as u64) else {
        return false;
    };
    let socket = &sockets[place as usize];
    match how {
        0 if socket.is_in_socket_mode() => socket_mode::disconnect(core, socket, Reason::Warning),
        1 if socket.is_in_socket_mode() => {
            socket_mode::disconnect(core, socket, Reason::RefreshRequested);
        }
        2 => {
            socket.freeze(true);
            tokio::time::sleep(Duration::from_millis(freeze_ms)).await;
            socket.freeze(false);
        }
        _ => socket.close.cancel(),
    }
    true
}
