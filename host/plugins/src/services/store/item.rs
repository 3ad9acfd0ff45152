//! Items of a store: their sizes, and the errors of the store.

use std::time::{SystemTime, UNIX_EPOCH};

/// The bytes that an item counts in addition to its key and value, so that many tiny items do not fill the disk.
pub(super) const ITEM: u64 = 32;

/// Why a call of the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The key, the value or the store would be too large.
    #[error("{what} would have {bytes} bytes, and {allowed} are allowed")]
    OverQuota {
        /// `the key`, `the value` or `the store`.
        what: &'static str,
        /// The bytes that it would have.
        bytes: u64,
        /// The bytes that it may have.
        allowed: u64,
    },
    /// `increment` of a value that is not a decimal number of 64 bits, or would not stay one.
    #[error("the value is not a whole number of 64 bits, or would not stay one")]
    NotANumber,
    /// The file can't be read or written.
    #[error("{0}")]
    Unavailable(String),
}

/// A write that is made together with others, or only under a condition.
#[derive(Clone, Debug)]
pub struct StoreWrite {
    /// The key.
    pub key: String,
    /// The value; `None` deletes the key.
    pub value: Option<Vec<u8>>,
    /// The milliseconds after which the key is deleted.
    pub ttl_ms: Option<u64>,
}

/// An item of a store.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) value: Vec<u8>,
    /// Its expiry in Unix milliseconds; `None` if it never expires.
    pub(super) until: Option<i64>,
}

pub(super) fn check_size(what: &'static str, bytes: u64, allowed: u64) -> Result<(), StoreError> {
    if bytes <= allowed {
        return Ok(());
    }
    Err(StoreError::OverQuota {
        what,
        bytes,
        allowed,
    })
}

/// The bytes of an item that count against the quota.
pub(super) fn size_of(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + ITEM
}

/// The error of the database. Plugins get to see it, so it does not name the file.
pub(super) fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
