//! The time of day.

use std::time::Duration;

use crate::imports;

/// The time since the Unix epoch.
pub fn now() -> Duration {
    Duration::from_millis(now_ms())
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    imports::clock::now_ms()
}
