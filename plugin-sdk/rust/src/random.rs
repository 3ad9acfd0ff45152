//! Randomness that nobody can predict.

use crate::imports;

/// So many random bytes, 65536 at most.
pub fn bytes(count: u32) -> Vec<u8> {
    imports::random::bytes(count)
}

/// A random number.
pub fn number() -> u64 {
    imports::random::number()
}
