//! The one way in which this crate locks a mutex. It has a copy of its own, because this crate uses no other crate of the
//! workspace: a mistake that both sides shared would be found by no test.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also after a panic of another task: every critical section here leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
