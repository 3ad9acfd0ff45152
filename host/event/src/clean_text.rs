//! Text that came from outside, made fit to be shown.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// Text from a guest, from Slack, from the app or from a server, fit for a log, a terminal or an answer: one line, cut to a
/// bound, without control characters, terminal escapes and marks that turn the direction of text or hide in it.
///
/// Line ends become a visible `\n` and tabs become spaces. Whatever came from outside passes through here before it is
/// shown.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CleanText(String);

/// The longest line of a text that is shown in its own lines, in bytes.
const MAX_LINE: usize = 4 << 10;
/// The most lines of such a text.
const MAX_LINES: usize = 2_000;

impl CleanText {
    /// Bytes of a text that nothing else is said of: enough for a sentence, and little enough for one line.
    pub const LENGTH: usize = 500;

    /// The first [`CleanText::LENGTH`] bytes.
    pub fn new(text: &str) -> Self {
        Self::within(text, Self::LENGTH)
    }

    /// The first `max_bytes`.
    pub fn within(text: &str, max_bytes: usize) -> Self {
        Self(clean(text, max_bytes).into_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As [`CleanText::within`], of a text that a log is mostly given as it is.
    pub fn line(text: &str, max_bytes: usize) -> Cow<'_, str> {
        clean(text, max_bytes)
    }

    /// A text of many lines, such as a compiler's messages, each of them clean.
    pub fn lines(text: &str) -> String {
        let mut shown = String::new();
        for line in text.lines().take(MAX_LINES) {
            shown.push_str(&clean(line, MAX_LINE));
            shown.push('\n');
        }
        if !text.ends_with('\n') {
            shown.pop();
        }
        shown
    }

    /// A JSON text in which all that is not clean is an escape, so that it is the same JSON. Line ends between its tokens
    /// stay.
    pub fn json(text: &str) -> Cow<'_, str> {
        let is_odd = |c: char| c != '\n' && !is_plain(c);
        if !text.contains(is_odd) {
            return Cow::Borrowed(text);
        }
        let mut shown = String::with_capacity(text.len() + 64);
        for c in text.chars() {
            match is_odd(c) {
                // Outside of strings JSON has no such characters.
                true => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        shown.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                false => shown.push(c),
            }
        }
        Cow::Owned(shown)
    }
}

impl fmt::Display for CleanText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// As that of a text.
impl fmt::Debug for CleanText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Deref for CleanText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for CleanText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&String> for CleanText {
    fn from(text: &String) -> Self {
        Self::new(text)
    }
}

impl From<String> for CleanText {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<CleanText> for String {
    fn from(text: CleanText) -> Self {
        text.0
    }
}

impl PartialEq<str> for CleanText {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for CleanText {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// How much is looked at of a text, for each byte that may be shown of it: what is taken out shall cost little.
const LOOKED_AT: usize = 8;
const CUT: &str = "…";

/// One line of at most `max_bytes`. Line ends become a visible `\n`, tabs become spaces, and
/// control characters, terminal escapes and marks that change the direction of text are taken out.
fn clean(text: &str, max_bytes: usize) -> Cow<'_, str> {
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
    // U+200C and U+200D join the parts of emoji and of some scripts' letters.
    let invisible = matches!(c,
        '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
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
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn one_harmless_line_is_left_of_a_text() {
        let check = |text: &str, expect: &str| {
            let line = clean(text, 40);
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
            assert_eq!(clean(text, max), expect, "{max}");
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
        clean(&text, 1 << 16);
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn lines_stay_lines_and_are_clean() {
        assert_eq!(CleanText::lines("a\n\u{1b}[2Jb\r\nc"), "a\nb\nc");
        assert_eq!(CleanText::lines("a\n"), "a\n");
        let long = "x\n".repeat(100_000);
        assert_eq!(CleanText::lines(&long).lines().count(), MAX_LINES);
    }

    #[test]
    fn json_stays_the_same_json() {
        let check = |text: &str, expect: &str| {
            let shown = CleanText::json(text);
            assert_eq!(shown, expect);
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(read(&shown), read(text));
        };
        check("{\n  \"a\": \"é 🎉\"\n}", "{\n  \"a\": \"é 🎉\"\n}");
        check(
            "[\"\u{7f}\u{9b}2J\u{202e}\u{2028}\u{e0041}\"]",
            "[\"\\u007f\\u009b2J\\u202e\\u2028\\udb40\\udc41\"]",
        );
    }
}
