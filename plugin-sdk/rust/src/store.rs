//! A key-value store of the plugin's own, which outlives reloads, updates and restarts. It needs the grant `store`.
//!
//! ```
//! use djangobot_plugin::{Error, store};
//! use std::time::Duration;
//!
//! # fn f() -> Result<(), Error> {
//! let seen = store::increment("messages", 1)?;
//! store::set_json("last", &("U1", seen))?;
//! store::set_for("greeted/U1", "yes", Duration::from_secs(86_400))?;
//! assert_eq!(store::text("greeted/U1")?.as_deref(), Some("yes"));
//! # Ok(())
//! # }
//! # f().unwrap();
//! ```

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, imports};

pub use crate::bindings::djangobot::plugin::store::{Item, StoreError};

/// The most keys that one call lists.
const PAGE: u32 = 1_000;

/// The value of a key.
///
/// # Errors
/// See [`StoreError`].
pub fn get(key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    imports::store::get(key)
}

/// The value of a key, as text.
///
/// # Errors
/// A [`StoreError`], or the value is not UTF-8.
pub fn text(key: &str) -> Result<Option<String>, Error> {
    Ok(get(key)?.map(String::from_utf8).transpose()?)
}

/// The value of a key, as a type of your own: [`set_json`] sets such a value.
///
/// # Errors
/// A [`StoreError`], or the value is not JSON of that type.
pub fn json<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    match get(key)? {
        None => Ok(None),
        Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
    }
}

/// Sets a key until it is deleted.
///
/// # Errors
/// See [`StoreError`].
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), StoreError> {
    imports::store::set(key, value.as_ref(), None)
}

/// Sets a key for a while.
///
/// # Errors
/// See [`StoreError`].
pub fn set_for(key: &str, value: impl AsRef<[u8]>, time: Duration) -> Result<(), StoreError> {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    imports::store::set(key, value.as_ref(), Some(ms))
}

/// Sets a key to a value of your own, as JSON, until it is deleted.
///
/// # Errors
/// A [`StoreError`], or the value can't be written as JSON.
pub fn set_json(key: &str, value: &impl Serialize) -> Result<(), Error> {
    Ok(set(key, serde_json::to_vec(value)?)?)
}

/// The values of many keys in one call, in their order.
///
/// # Errors
/// See [`StoreError`].
pub fn get_many(keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    imports::store::get_many(keys)
}

/// All keys that begin with `prefix`, in the order of their bytes. Many keys take several calls of the host.
///
/// # Errors
/// See [`StoreError`].
pub fn keys(prefix: &str) -> Result<Vec<String>, StoreError> {
    let mut keys = Vec::new();
    loop {
        let page = imports::store::keys(prefix, keys.last().map(String::as_str), PAGE)?;
        let is_last = page.len() < PAGE as usize;
        keys.extend(page);
        if is_last {
            return Ok(keys);
        }
    }
}

/// Sets and deletes many keys: all of them, or none if one is refused.
///
/// # Errors
/// See [`StoreError`].
pub fn set_many(items: &[Item]) -> Result<(), StoreError> {
    imports::store::set_many(items)
}

/// Sets a key if its value is `expected`, where `None` means that there is none. Returns whether it did.
///
/// # Errors
/// See [`StoreError`].
pub fn compare_and_set(
    key: &str,
    expected: Option<&[u8]>,
    value: impl AsRef<[u8]>,
) -> Result<bool, StoreError> {
    let item = Item {
        key: key.to_owned(),
        value: Some(value.as_ref().to_vec()),
        ttl_ms: None,
    };
    imports::store::compare_and_set(expected, &item)
}

/// Deletes a key. A key that does not exist is not an error.
///
/// # Errors
/// See [`StoreError`].
pub fn delete(key: &str) -> Result<(), StoreError> {
    imports::store::delete(key)
}

/// Adds to the number at a key, which begins at 0, and returns the sum.
///
/// # Errors
/// See [`StoreError`].
pub fn increment(key: &str, by: i64) -> Result<i64, StoreError> {
    imports::store::increment(key, by)
}
