//! Memory in proportion to the input: no few bytes may have a parser ask for many.

/// The memory that any parser may take, in bytes, whatever the input.
const ALWAYS: usize = 16 << 10;

/// Runs `parse`, and panics if it held more than `factor` bytes for each byte of input at one time.
pub(crate) fn bounded<T>(input: &[u8], factor: usize, parse: impl FnOnce() -> T) -> T {
    bounded_by(ALWAYS + factor * input.len(), parse)
}

/// Runs `parse`, and panics if it held more than `limit` bytes at one time.
pub(crate) fn bounded_by<T>(limit: usize, parse: impl FnOnce() -> T) -> T {
    let mut outcome = None;
    let used = allocation_counter::measure(|| outcome = Some(parse()));
    assert!(
        used.bytes_max <= limit as u64,
        "{} bytes were held at one time, and {limit} are the most",
        used.bytes_max
    );
    outcome.expect("the closure has run")
}
