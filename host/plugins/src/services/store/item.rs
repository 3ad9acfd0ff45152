//! An item of a store: its size, and why it is not stored.

/// What an item counts beside its key and value, so that many tiny ones do not fill the disk.
pub(super) const ITEM: u64 = 32;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// More than may be kept.
    #[error("{what} would have {bytes} bytes, and {allowed} are allowed")]
    OverQuota {
        /// The key, the value or the store.
        what: &'static str,
        /// How large it would be.
        bytes: u64,
        /// How large it may be.
        allowed: u64,
    },
    /// `increment` of what is no decimal number of 64 bits, or whose sum would be none.
    #[error("the value is no whole number of 64 bits, or would not stay one")]
    NotANumber,
    /// The file can't be read or written.
    #[error("{0}")]
    Unavailable(String),
}

/// A value and when it ends, in Unix milliseconds.
pub(super) type Item = (Vec<u8>, Option<i64>);

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

/// What an item counts against the quota.
pub(super) fn size_of(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + ITEM
}
