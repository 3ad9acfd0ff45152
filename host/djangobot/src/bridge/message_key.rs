//! The key of a message that an app put into the layer, by which it is known if the layer gives it again.

use std::fmt;

use djangobot_channels::{Delivery, Wire};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// So many random bytes before a payload make each member unique.
const RANDOM_HEAD: usize = 8;

/// The key of a message: the same one each time the layer gives the message, and different from that of any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageKey(pub(crate) [u8; 16]);

impl MessageKey {
    /// The key of a message that a layer gave whose members are written as `wire` says.
    pub(crate) fn of(delivery: &Delivery, wire: Wire) -> Self {
        let place = delivery.place;
        // A member with a random head differs from each other one, and a queue with scores tells equal members apart by
        // the time at which they came.
        let is_unique = wire.sealed || wire.head >= RANDOM_HEAD || place.score != 0.0;
        if !is_unique {
            // A broadcast layer gives the same bytes for the same text, and never gives a message twice.
            return Self::new();
        }
        Self::hash(&[
            &delivery.member,
            &place.host.to_le_bytes(),
            &place.score.to_bits().to_le_bytes(),
        ])
    }

    /// The key of a message that no layer gave.
    pub(crate) fn new() -> Self {
        Self(*uuid::Uuid::new_v4().as_bytes())
    }

    /// The key of the message that a plugin emitted next to this one, at place `place`. The same plugin's output for
    /// the same message has the same keys, so that nothing is sent twice after a crash.
    pub(crate) fn emitted(self, place: usize) -> Self {
        Self::hash(&[&self.0, &place.to_le_bytes()])
    }

    fn hash(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        let (mut key, hash) = ([0; 16], hash.finalize());
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }
}

impl fmt::Display for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
