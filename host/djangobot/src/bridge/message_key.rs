//! The key of a message that an app put into the layer.

use std::fmt;

use djangobot_channels::{Delivery, Wire};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Random bytes before a payload from which on no two members are the same.
const RANDOM_HEAD: usize = 8;

/// What a message is known by: the same whenever the layer gives it, and other than that of any other message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageKey(pub(crate) [u8; 16]);

impl MessageKey {
    /// The key of what a layer whose members are written as `wire` gave.
    pub(crate) fn of(delivery: &Delivery, wire: Wire) -> Self {
        let place = delivery.place;
        let is_unique = wire.sealed || wire.head >= RANDOM_HEAD || place.score != 0.0;
        if !is_unique {
            // A broadcast gives the same bytes for the same text, and gives nothing twice.
            return Self::new();
        }
        Self::hash(&[
            &delivery.member,
            &place.host.to_le_bytes(),
            &place.score.to_bits().to_le_bytes(),
        ])
    }

    /// The key of something that no layer gave.
    pub(crate) fn new() -> Self {
        Self(*uuid::Uuid::new_v4().as_bytes())
    }

    /// The key of what plugins put beside a message, by its place.
    pub(crate) fn beside(self, place: usize) -> Self {
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
