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

use crate::{Error, host};

pub use crate::bindings::djangobot::plugin::store::StoreError;

/// The value of a key.
///
/// # Errors
/// See [`StoreError`].
pub fn get(key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    host::store::get(key)
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
    host::store::set(key, value.as_ref(), None)
}

/// Sets a key for a while.
///
/// # Errors
/// See [`StoreError`].
pub fn set_for(key: &str, value: impl AsRef<[u8]>, time: Duration) -> Result<(), StoreError> {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    host::store::set(key, value.as_ref(), Some(ms))
}

/// Sets a key to a value of your own, as JSON, until it is deleted.
///
/// # Errors
/// A [`StoreError`], or the value can't be written as JSON.
pub fn set_json(key: &str, value: &impl Serialize) -> Result<(), Error> {
    Ok(set(key, serde_json::to_vec(value)?)?)
}

/// Deletes a key. A key that does not exist is not an error.
///
/// # Errors
/// See [`StoreError`].
pub fn delete(key: &str) -> Result<(), StoreError> {
    host::store::delete(key)
}

/// Adds to the number at a key, which begins at 0, and returns the sum.
///
/// # Errors
/// See [`StoreError`].
pub fn increment(key: &str, by: i64) -> Result<i64, StoreError> {
    host::store::increment(key, by)
}
