//! Slack's `ts`, `1355517523.000005`: seconds since 1970, with microseconds that tell messages apart.

/// A `ts` in microseconds; `None` where it is none.
pub fn micros(ts: &str) -> Option<u64> {
    let (seconds, fraction) = ts.split_once('.')?;
    let is_number = |text: &str, most: usize| {
        text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(seconds, 20) || !is_number(fraction, 6) {
        return None;
    }
    let seconds: u64 = seconds.parse().ok()?;
    let micros: u64 = format!("{fraction:0<6}").parse().ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}
