//! What a plugin may do so often in a minute, and what of its words may stand in a log.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Units of one token: so many fit a minute that what flows in each nanosecond is a whole number of them.
const TOKEN: u128 = 60_000_000_000;

/// An allowance for each minute. A full minute's may be taken at once; it flows back evenly.
#[derive(Debug)]
pub(crate) struct Meter {
    per_minute: u64,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    /// In units; see [`TOKEN`].
    units: u128,
    at: Instant,
}

impl Meter {
    /// A meter that begins full.
    pub(crate) fn new(per_minute: u64) -> Self {
        Self {
            per_minute,
            level: Mutex::new(Level {
                units: u128::from(per_minute) * TOKEN,
                at: Instant::now(),
            }),
        }
    }

    /// Takes `n`, or says after how long they might be there; [`Duration::MAX`] where they never are, being more than a
    /// minute's.
    pub(crate) fn try_take(&self, n: u64) -> Result<(), Duration> {
        self.try_take_at(n, Instant::now())
    }

    fn try_take_at(&self, n: u64, now: Instant) -> Result<(), Duration> {
        let full = u128::from(self.per_minute) * TOKEN;
        let wanted = u128::from(n) * TOKEN;
        if wanted > full {
            return Err(Duration::MAX);
        }
        // A panic elsewhere leaves a level that is as good as any.
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(level.at).as_nanos();
        let flowed = elapsed.saturating_mul(u128::from(self.per_minute));
        level.units = level.units.saturating_add(flowed).min(full);
        level.at = level.at.max(now);
        match level.units.checked_sub(wanted) {
            Some(left) => {
                level.units = left;
                Ok(())
            }
            None => {
                let nanos = (wanted - level.units).div_ceil(u128::from(self.per_minute.max(1)));
                Err(Duration::from_nanos(
                    u64::try_from(nanos).unwrap_or(u64::MAX),
                ))
            }
        }
    }
}

/// How much is looked at of a text, for each byte that may be shown of it: what is taken out shall cost little.
const LOOKED_AT: usize = 8;
const CUT: &str = "…";

/// One line of at most `max_bytes` for a log or a terminal. Line ends become a visible `\n`, tabs become spaces, and
/// control characters, terminal escapes and marks that change the direction of text are taken out.
pub fn sanitize_log(text: &str, max_bytes: usize) -> Cow<'_, str> {
    let text = text.trim_end_matches(['\n', '\r']);
    if text.len() <= max_bytes && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let looked_at = begin(text, max_bytes.saturating_mul(LOOKED_AT));
    let mut line = String::with_capacity(max_bytes.min(looked_at.len()));
    let mut rest = looked_at;
    let mut strings_end = true;
    while let Some(c) = rest.chars().next() {
        if line.len() > max_bytes {
            break;
        }
        rest = match escape_len(rest, &mut strings_end) {
            0 => &rest[c.len_utf8()..],
            skipped => {
                rest = &rest[skipped..];
                continue;
            }
        };
        match c {
            '\r' if rest.starts_with('\n') => {}
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => line.push_str("\\n"),
            '\t' => line.push(' '),
            c if is_plain(c) => line.push(c),
            _ => {}
        }
    }
    if line.len() > max_bytes || looked_at.len() < text.len() {
        let cut = if max_bytes < CUT.len() { "" } else { CUT };
        line.truncate(begin(&line, max_bytes - cut.len()).len());
        line.push_str(cut);
    }
    Cow::Owned(line)
}

/// The beginning of a text: at most `max` bytes, and whole characters.
fn begin(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Whether a character may stand in a line as it is.
fn is_plain(c: char) -> bool {
    let turns_text = matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let invisible = matches!(c,
        '\u{2028}' | '\u{2029}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    !(c.is_control() || turns_text || invisible)
}

/// How many bytes the terminal escape at the beginning of `text` has, 0 where there is none (ECMA-48). `strings_end`
/// remembers whether one of its strings may still find its end, so that no text is searched twice.
fn escape_len(text: &str, strings_end: &mut bool) -> usize {
    let mut chars = text.chars();
    let (kind, begin) = match chars.next() {
        Some('\u{1b}') => match chars.next() {
            Some(next) => (next, 1 + next.len_utf8()),
            None => return 1,
        },
        // C1: one character for ESC and one of the upper-case column.
        Some(c @ '\u{80}'..='\u{9f}') => (char::from(c as u8 - 0x40), c.len_utf8()),
        _ => return 0,
    };
    let body = &text[begin..];
    match kind {
        '[' => begin + sequence_len(body, '\u{20}'..='\u{3f}', '\u{40}'..='\u{7e}'),
        'P' | 'X' | ']' | '^' | '_' if *strings_end => match string_len(body) {
            Some(len) => begin + len,
            None => {
                *strings_end = false;
                begin
            }
        },
        '\u{20}'..='\u{2f}' => begin + sequence_len(body, '\u{20}'..='\u{2f}', '\u{30}'..='\u{7e}'),
        '\u{30}'..='\u{7e}' => begin,
        // Not an escape at all: the ESC alone goes, and what follows it is looked at for itself.
        _ => 1,
    }
}

/// The rest of a sequence: parameters, and the character that ends it.
fn sequence_len(
    text: &str,
    within: std::ops::RangeInclusive<char>,
    last: std::ops::RangeInclusive<char>,
) -> usize {
    let len = text.find(|c| !within.contains(&c)).unwrap_or(text.len());
    match text[len..].chars().next() {
        Some(c) if last.contains(&c) => len + 1,
        _ => len,
    }
}

/// A string up to its end, which is BEL, ESC \ or the one character for that.
fn string_len(text: &str) -> Option<usize> {
    let at = text.find(['\u{7}', '\u{1b}', '\u{9c}'])?;
    let end = &text[at..];
    match end.chars().next()? {
        '\u{7}' => Some(at + 1),
        '\u{9c}' => Some(at + 2),
        _ if end[1..].starts_with('\\') => Some(at + 2),
        // Another escape ends it as well, and is one itself.
        _ => Some(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_allowance_may_go_at_once_and_flows_back_evenly() {
        let meter = Meter::new(60);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(meter.try_take_at(60, at(0)), Ok(()));
        let Err(wait) = meter.try_take_at(2, at(500)) else {
            panic!("it is empty");
        };
        // The meter began a little before `start`.
        assert!(wait <= Duration::from_millis(1500) && wait > Duration::from_millis(1400));
        assert_eq!(meter.try_take_at(2, at(500) + wait), Ok(()));
        assert!(meter.try_take_at(1, at(2100)).is_err());
        assert_eq!(meter.try_take_at(60, at(3_600_000)), Ok(()));
        assert!(meter.try_take_at(1, at(3_600_000)).is_err());
        // A clock that goes back gives nothing.
        assert!(meter.try_take_at(1, at(0)).is_err());
        assert!(meter.try_take_at(1, at(3_600_000)).is_err());
    }

    #[test]
    fn more_than_a_minutes_allowance_is_never_given() {
        let check = |per_minute, n, expect| {
            assert_eq!(
                Meter::new(per_minute).try_take(n),
                expect,
                "{n} of {per_minute}"
            );
        };
        check(0, 1, Err(Duration::MAX));
        check(0, 0, Ok(()));
        check(10, 11, Err(Duration::MAX));
        check(10, 10, Ok(()));
        check(u64::MAX, u64::MAX, Ok(()));
    }

    #[test]
    fn one_harmless_line_is_left_of_a_text() {
        let check = |text: &str, expect: &str| {
            let line = sanitize_log(text, 40);
            assert_eq!(line, expect, "{text:?}");
            assert!(line.len() <= 40);
        };
        check("", "");
        check("plain, ünïcode, 👩‍👩‍👧", "plain, ünïcode, 👩‍👩‍👧");
        check("line\r\n", "line");
        check("a\nb\r\nc\rd\u{2028}e", "a\\nb\\nc\\nd\\ne");
        check("a\tb\0c\u{7}d\u{8}\u{7f}", "a bcd");
        check("\u{1b}[31;1mred\u{1b}[0m", "red");
        check("\u{1b}]0;title\u{7}x\u{1b}]8;;http://a\u{1b}\\y", "xy");
        check("\u{1b}P+q544e\u{1b}\\x\u{1b}(Bz\u{1b}cw\u{1b}7", "xzw");
        check("\u{9b}2Jx\u{9d}0;t\u{9c}y\u{85}z", "xyz");
        check("\u{1b}]never ends", "never ends");
        check("\u{1b}]0;t\u{1b}[31mx", "x");
        check("a\u{1b}", "a");
        check("a\u{1b}é\u{1b}\nb", "aé\\nb");
        check("a\u{1b}[31", "a");
        check("a\u{1b}[é", "aé");
        check("ab\u{202e}dc\u{2066}\u{200f}\u{feff}\u{e0041}", "abdc");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let check = |text: &str, max: usize, expect: &str| {
            assert_eq!(sanitize_log(text, max), expect, "{max}");
        };
        check("0123456789", 10, "0123456789");
        check("0123456789a", 10, "0123456…");
        check("éééééé", 10, "ééé…");
        check("0123456789\n", 10, "0123456789");
        check("abc", 2, "ab");
        check("abc", 0, "");
        check(&"\u{1b}[m".repeat(1000), 10, "…");
        check("\n\nabcdefgh", 10, "\\n\\nabc…");
    }

    #[test]
    fn a_text_made_to_be_slow_is_not() {
        let text = "\u{1b}]".repeat(1 << 18);
        let start = Instant::now();
        sanitize_log(&text, 1 << 16);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
