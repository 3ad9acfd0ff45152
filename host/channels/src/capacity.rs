//! The number of messages that a channel may hold: channels_redis's `capacity` and `channel_capacity`.

use regex::Regex;

/// The capacities of a layer.
///
/// A channel has the capacity of the first pattern, in the order of the settings, that matches
/// its full name, or else the default (`BaseChannelLayer.get_capacity`).
#[derive(Debug, Clone)]
pub struct Capacities {
    default: usize,
    patterns: Vec<PatternCapacity>,
}

/// The capacity of the channels that match a pattern.
#[derive(Debug, Clone)]
struct PatternCapacity {
    regex: Regex,
    capacity: usize,
}

/// A pattern of `channel_capacity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// Python's `fnmatch`: `*`, `?`, `[seq]`, `[!seq]`, against the whole name.
    Glob(&'a str),
    /// A regular expression, matched from the start of the name, as `re.match` does.
    Regex(&'a str),
}

/// A regular expression that Rust's `regex` crate can't compile.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the pattern {pattern:?} is not supported ({reason}); use a glob, or a regular expression without look-around and back-references"
)]
pub struct PatternError {
    /// The pattern as it was given.
    pub pattern: String,
    /// The reason of the regex compiler, in one line.
    pub reason: String,
}

impl Capacities {
    /// Capacities without patterns: every channel holds `default` messages.
    pub fn new(default: usize) -> Self {
        Self {
            default,
            patterns: Vec::new(),
        }
    }

    /// Sets the capacity of channels that match `pattern` and no earlier one.
    ///
    /// # Errors
    /// The pattern is not supported.
    pub fn add(&mut self, pattern: Pattern<'_>, capacity: usize) -> Result<(), PatternError> {
        let (given, expression) = match pattern {
            Pattern::Glob(glob) => (glob, glob_expression(glob)),
            // It is used unchanged: a comment at its end would swallow anything that is appended.
            Pattern::Regex(text) => (text, text.to_owned()),
        };
        let regex = Regex::new(&expression).map_err(|error| PatternError {
            pattern: given.to_owned(),
            reason: error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        })?;
        self.patterns.push(PatternCapacity { regex, capacity });
        Ok(())
    }

    /// How many messages `channel` (its full name) may hold.
    pub fn of(&self, channel: &str) -> usize {
        let matches = |pattern: &&PatternCapacity| {
            let found = pattern.regex.find(channel);
            found.is_some_and(|found| found.start() == 0)
        };
        let matching = self.patterns.iter().find(matches);
        matching.map_or(self.default, |pattern| pattern.capacity)
    }
}

/// Writes a glob as a regular expression, as Python's `fnmatch.translate` does.
fn glob_expression(glob: &str) -> String {
    let mut out = String::from("^(?s:");
    let mut rest = glob.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' => match set(rest.as_str()) {
                Some((expression, length)) => {
                    out.push_str(&expression);
                    rest = rest.as_str()[length..].chars();
                }
                // A bracket without its end stands for itself.
                None => out.push_str("\\["),
            },
            _ => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push_str(")$");
    out
}

/// Translates the set that begins `text` (behind its `[`); returns it with its length, `]` included.
fn set(text: &str) -> Option<(String, usize)> {
    let negated = text.starts_with('!');
    let start = usize::from(negated);
    // A `]` that comes first is a member of the set.
    let from = start + usize::from(text[start..].starts_with(']'));
    let end = from + text[from..].find(']')?;
    let mut out = String::from(if negated { "[^" } else { "[" });
    for c in text[start..end].chars() {
        if matches!(c, '[' | ']' | '\\' | '^' | '&' | '~') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push(']');
    Some((out, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(glob: &str, name: &str, expect: bool) {
        let mut capacities = Capacities::new(0);
        capacities.add(Pattern::Glob(glob), 1).unwrap();
        assert_eq!(capacities.of(name) == 1, expect, "{glob:?} on {name:?}");
    }

    #[test]
    fn globs_match_as_fnmatch_does() {
        check("slack.*", "slack.message.x", true);
        check("slack.*", "xslack.message", false);
        check("slack", "slack.message", false);
        check("slack.messag?", "slack.message", true);
        check("slack?message", "slackmessage", false);
        check("a.b", "axb", false);
        check("[ab]x", "bx", true);
        check("[!ab]x", "bx", false);
        check("[!ab]x", "cx", true);
        check("[a-c]x", "bx", true);
        check("[]]x", "]x", true);
        check("[x", "[x", true);
        check("specific.*!*", "specific.ab!cd", true);
    }

    #[test]
    fn the_first_pattern_in_order_that_matches_decides() {
        let mut capacities = Capacities::new(100);
        capacities.add(Pattern::Glob("slack.*"), 5).unwrap();
        capacities.add(Pattern::Regex("slack.mess"), 7).unwrap();
        capacities.add(Pattern::Regex("http"), 9).unwrap();
        assert_eq!(capacities.of("slack.message"), 5);
        assert_eq!(capacities.of("http.request"), 9);
        assert_eq!(capacities.of("xhttp"), 100);
    }

    #[test]
    fn a_verbose_regex_may_end_in_a_comment() {
        let mut capacities = Capacities::new(100);
        let pattern = Pattern::Regex("(?x)slack | http # the busy ones");
        capacities.add(pattern, 5).unwrap();
        let of = |name| capacities.of(name);
        assert_eq!(["slack.x", "http", "xhttp"].map(of), [5, 5, 100]);
    }

    #[test]
    fn a_regex_that_rust_has_not_is_named_in_the_error() {
        let error = Capacities::new(1)
            .add(Pattern::Regex("(?=x)y"), 1)
            .unwrap_err();
        assert!(error.to_string().contains("(?=x)y"), "{error}");
    }
}
