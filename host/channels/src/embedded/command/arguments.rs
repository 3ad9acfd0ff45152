//! Reads the arguments of commands.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::embedded::command_error::CommandError;
use crate::embedded::number;

/// Reads an integer.
pub(super) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    number::parse_integer(text).ok_or(CommandError::NotInteger)
}

/// Whether an argument is this option, in any case.
pub(super) fn is(argument: &[u8], option: &str) -> bool {
    argument.eq_ignore_ascii_case(option.as_bytes())
}

/// Reads a time to wait, in seconds. 0 is for ever, which is `None`.
pub(super) fn wait_limit(text: &[u8]) -> Result<Option<Duration>, CommandError> {
    let seconds = number::parse_double(text).ok_or(CommandError::NotTimeout)?;
    if seconds < 0.0 {
        return Err(CommandError::NegativeTimeout);
    }
    if seconds == 0.0 {
        return Ok(None);
    }
    Duration::try_from_secs_f64(seconds)
        .map(Some)
        .map_err(|_| CommandError::NotTimeout)
}

/// The first and last index of a range that a command gives. `None` if no item is in it.
pub(super) fn index_range(start: i64, end: i64, length: usize) -> Option<RangeInclusive<usize>> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_end = |index: i64| {
        if index < 0 {
            index.saturating_add(length)
        } else {
            index
        }
    };
    let (start, end) = (from_end(start).max(0), from_end(end).min(length - 1));
    if start > end {
        return None;
    }
    Some(usize::try_from(start).ok()?..=usize::try_from(end).ok()?)
}
