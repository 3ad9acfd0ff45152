//! Locks a mutex, in the one way that this crate uses.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, even if a thread panicked while it held the lock.
///
/// Every holder in this crate leaves the value whole before it calls anything that may panic, so a poisoned lock says
/// nothing about the value.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
