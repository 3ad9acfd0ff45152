//! Converting the inside of a line of Markdown: emphasis, code, links and escapes.

use std::cell::Cell;

use djangobot_plugin::mrkdwn::{self, Part};
use serde::Deserialize;

/// The depth to which emphasis and links may nest. Deeper marks stay as they are.
const MAX_DEPTH: u8 = 8;

/// The number of bytes that the searches for the end of an emphasis, code or link may read in a whole message.
/// Otherwise a text that consists of beginnings alone would cost the square of its length. Beyond the limit, marks stay
/// as they are.
const MAX_SEARCH: usize = 4 << 20;

/// The meaning of single asterisks around a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Asterisk {
    Italic,
    Bold,
}

/// The searches within a message, with the number of bytes that they may still read.
pub(crate) struct Search(Cell<usize>);

/// The converter of a line, or of a piece of one: its settings, and the emphasis around the piece.
#[derive(Clone, Copy)]
pub(crate) struct Inline<'s> {
    asterisk: Asterisk,
    search: &'s Search,
    /// Whether the piece is bold already. Slack can't nest the same emphasis, so a second one gets no marks.
    bold: bool,
    italic: bool,
    strike: bool,
    /// Whether the piece is the label of a link, in which Slack has no emphasis.
    label: bool,
    depth: u8,
}

/// An emphasis: its mark, the number of marks on each side, and the text between them.
struct Emphasis<'a> {
    mark: u8,
    length: usize,
    inner: &'a str,
}

impl<'s> Inline<'s> {
    pub(crate) fn new(asterisk: Asterisk, search: &'s Search) -> Self {
        Inline {
            asterisk,
            search,
            bold: false,
            italic: false,
            strike: false,
            label: false,
            depth: 0,
        }
    }

    /// Appends a whole line in bold.
    pub(crate) fn bold(&self, text: &str, out: &mut String) {
        self.wrap(text, true, false, false, out);
    }

    /// Appends a line in Slack's format.
    pub(crate) fn convert(&self, text: &str, out: &mut String) {
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            at += self.convert_next(text, at, c, out);
        }
    }

    /// Appends a text in which only `&`, `<` and `>` have a meaning. Characters that are escaped already stay so.
    pub(crate) fn escape(&self, text: &str, out: &mut String) {
        for (at, c) in text.char_indices() {
            push_escaped(&text[at..], c, out);
        }
    }

    /// Converts the element that begins at a place, and returns its length.
    fn convert_next(&self, text: &str, at: usize, c: char, out: &mut String) -> usize {
        let rest = &text[at..];
        match c {
            '\\' => {
                if let Some(next) = rest[1..].chars().next().filter(char::is_ascii_punctuation) {
                    push_escaped(&rest[1..], next, out);
                    return 2;
                }
            }
            '`' => {
                let run = rest.len() - rest.trim_start_matches('`').len();
                let length = self.search.code_length(rest).unwrap_or(run);
                self.escape(&rest[..length], out);
                return length;
            }
            '<' => {
                if let Some(length) = angle(rest, out) {
                    return length;
                }
            }
            '!' | '[' => {
                if let Some(length) = self.link(rest, out) {
                    return length;
                }
            }
            'h' | 'H' if !ends_with_word(&text[..at]) => {
                if let Some(length) = url_length(rest) {
                    self.escape(&rest[..length], out);
                    return length;
                }
            }
            '*' | '_' | '~' => {
                if let Some(emphasis) = self.search.emphasis(text, at) {
                    self.emphasize(&emphasis, out);
                    return emphasis.inner.len() + 2 * emphasis.length;
                }
                // The whole run is copied, so that its rest is not taken for the beginning of another emphasis.
                let run = rest.len() - rest.trim_start_matches(c).len();
                out.push_str(&rest[..run]);
                return run;
            }
            _ => {}
        }
        push_escaped(rest, c, out);
        c.len_utf8()
    }

    fn emphasize(&self, emphasis: &Emphasis<'_>, out: &mut String) {
        let single_is_bold = emphasis.mark == b'*' && self.asterisk == Asterisk::Bold;
        let (bold, italic, strike) = match (emphasis.mark, emphasis.length) {
            (b'~', _) => (false, false, true),
            (_, 1) => (single_is_bold, !single_is_bold, false),
            (_, 2) => (true, false, false),
            _ => (true, true, false),
        };
        self.wrap(emphasis.inner, bold, italic, strike, out);
    }

    fn wrap(&self, text: &str, bold: bool, italic: bool, strike: bool, out: &mut String) {
        let put = |on: bool, already: bool| on && !already && !self.label;
        let marks: String = [
            ('*', put(bold, self.bold)),
            ('_', put(italic, self.italic)),
            ('~', put(strike, self.strike)),
        ]
        .into_iter()
        .filter_map(|(mark, on)| on.then_some(mark))
        .collect();
        let inner = Inline {
            bold: self.bold || bold,
            italic: self.italic || italic,
            strike: self.strike || strike,
            depth: self.depth + 1,
            ..*self
        };
        out.push_str(&marks);
        match self.depth < MAX_DEPTH {
            true => inner.convert(text, out),
            false => self.escape(text, out),
        }
        out.extend(marks.chars().rev());
    }

    /// Converts a link `[label](target)` or an image `![label](target)`, and returns its length.
    fn link(&self, rest: &str, out: &mut String) -> Option<usize> {
        let image = rest.starts_with('!');
        let open = usize::from(image);
        if self.label || self.depth >= MAX_DEPTH || !rest[open..].starts_with('[') {
            return None;
        }
        let label_end = open + self.search.closing(&rest[open..], b'[', b']')?;
        let label = &rest[open + 1..label_end];
        let after = &rest[label_end + 1..];
        if !after.starts_with('(') {
            return None;
        }
        let target_end = self.search.closing(after, b'(', b')')?;
        let target = target(&after[1..target_end])?;
        let mut shown = String::new();
        let inner = Inline {
            label: true,
            depth: self.depth + 1,
            ..*self
        };
        inner.convert(label, &mut shown);
        let shown = shown.replace('|', "¦");
        // Slack makes links of absolute addresses only, so a relative one is shown as text.
        if !has_scheme(target) {
            out.push_str(&shown);
            out.push_str(" (");
            self.escape(target, out);
            out.push(')');
        } else {
            out.push('<');
            self.escape(&target.replace('|', "%7C"), out);
            if !shown.trim().is_empty() {
                out.push('|');
                out.push_str(&shown);
            }
            out.push('>');
        }
        Some(label_end + 1 + target_end + 1)
    }
}

impl Search {
    /// The searches of one message.
    pub(crate) fn new() -> Self {
        Search(Cell::new(MAX_SEARCH))
    }

    fn left(&self) -> bool {
        self.0.get() > 0
    }

    fn spend(&self, bytes: usize) {
        self.0.set(self.0.get().saturating_sub(bytes));
    }

    /// The length of the code that a run of backticks begins, with the backticks of both sides.
    fn code_length(&self, rest: &str) -> Option<usize> {
        let run = run_length(rest, 0);
        let mut at = run;
        while self.left() {
            let Some(found) = rest[at..].find('`') else {
                break;
            };
            at += found;
            let length = run_length(rest, at);
            if length == run {
                self.spend(at);
                return Some(at + run);
            }
            at += length;
        }
        self.spend(rest.len());
        None
    }

    /// The place where the bracket at the beginning of a text is closed.
    fn closing(&self, text: &str, open: u8, close: u8) -> Option<usize> {
        let bytes = text.as_bytes();
        let (mut depth, mut at) = (0usize, 0);
        while at < bytes.len() && self.left() {
            match bytes[at] {
                b'\\' => at += 1,
                b'`' if open == b'[' => {
                    at += self
                        .code_length(&text[at..])
                        .unwrap_or_else(|| run_length(text, at))
                        - 1;
                }
                byte if byte == open => depth += 1,
                byte if byte == close => {
                    depth -= 1;
                    if depth == 0 {
                        self.spend(at);
                        return Some(at);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.spend(at);
        None
    }

    /// The emphasis that begins at a place, by CommonMark's rules in a simpler form: the run that ends it has as many
    /// marks.
    fn emphasis<'t>(&self, text: &'t str, at: usize) -> Option<Emphasis<'t>> {
        let mark = text.as_bytes()[at];
        let run = run_length(text, at);
        let before = text[..at].chars().next_back();
        let after = text[at + run..].chars().next();
        // An underscore within a word belongs to the word.
        let opens = after.is_some_and(|c| !c.is_whitespace())
            && !(mark == b'_' && before.is_some_and(char::is_alphanumeric));
        let ends_of = |length| {
            self.closing_run(text, at + run, mark, length)
                .map(|end| (end, length))
        };
        let (end, length) = match (mark, run) {
            _ if !opens => None,
            (b'~', 2) => ends_of(2),
            (b'*' | b'_', 1 | 2) => ends_of(run),
            // Of three marks, one or two may belong to an inner emphasis, which ends first.
            (b'*' | b'_', 3) => ends_of(3).or_else(|| ends_of(1).max(ends_of(2))),
            _ => None,
        }?;
        Some(Emphasis {
            mark,
            length,
            inner: &text[at + length..end],
        })
    }

    /// The place of the marks that end an emphasis of `length` marks, searched from `from` on.
    fn closing_run(&self, text: &str, from: usize, mark: u8, length: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut at = from;
        while at < bytes.len() && self.left() {
            match bytes[at] {
                b'\\' => at += 2,
                b'`' => {
                    at += self
                        .code_length(&text[at..])
                        .unwrap_or_else(|| run_length(text, at))
                }
                b'<' => at += mrkdwn::bracketed(&text[at..]).map_or(1, |(raw, _)| raw.len()),
                byte if byte == mark => {
                    let run = run_length(text, at);
                    let before = text[..at].chars().next_back();
                    let after = text[at + run..].chars().next();
                    let closes = before.is_some_and(|c| !c.is_whitespace())
                        && !(mark == b'_' && after.is_some_and(char::is_alphanumeric));
                    // A run of three ends an inner emphasis as well: `**a *b***`.
                    if closes && at > from && (run == length || (run == 3 && length < 3)) {
                        self.spend(at - from);
                        return Some(at + run - length);
                    }
                    at += run;
                }
                _ => at += 1,
            }
        }
        self.spend(at - from);
        None
    }
}

/// Appends a character, escaped unless it begins an escape already.
fn push_escaped(rest: &str, c: char, out: &mut String) {
    match c {
        '&' if ["&amp;", "&lt;", "&gt;"]
            .iter()
            .any(|escape| rest.starts_with(escape)) =>
        {
            out.push('&');
        }
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    }
}

/// Appends a reference in angle brackets, and returns its length. References in Slack's format stay as they are, and
/// mail addresses become links.
fn angle(rest: &str, out: &mut String) -> Option<usize> {
    match mrkdwn::bracketed(rest) {
        // `<x: y>` is not a link, although it has a colon.
        Some((_, Part::Link { url, .. })) if !has_scheme(url) => None,
        Some((raw, _)) => {
            out.push_str(raw);
            Some(raw.len())
        }
        None => {
            let (address, _) = rest[1..].split_once('>')?;
            let fits = |c: char| c.is_alphanumeric() || "@._+-".contains(c);
            let (user, domain) = address.split_once('@')?;
            if user.is_empty() || !domain.contains('.') || !address.chars().all(fits) {
                return None;
            }
            out.push_str(&format!("<mailto:{address}|{address}>"));
            Some(address.len() + 2)
        }
    }
}

/// The length of a bare address. Underscores and asterisks in it are not marks.
fn url_length(rest: &str) -> Option<usize> {
    let start = rest.get(..8)?.to_ascii_lowercase();
    if !start.starts_with("http://") && !start.starts_with("https://") {
        return None;
    }
    let end = rest
        .find(|c: char| c.is_whitespace() || "<>|\"`".contains(c))
        .unwrap_or(rest.len());
    // In `**https://a.org**` the address ends before the marks, and in `(https://a.org).` before the bracket.
    Some(
        rest[..end]
            .trim_end_matches(['*', '_', '~', ')', ']', '.', ',', '!', '?', ':', ';'])
            .len(),
    )
}

fn has_scheme(target: &str) -> bool {
    target.split_once(':').is_some_and(|(scheme, rest)| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(fits)
            && !rest.is_empty()
            && !rest.starts_with(char::is_whitespace)
    })
}

/// The address within a link's round brackets, without a title.
fn target(text: &str) -> Option<&str> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('<') {
        return rest.split_once('>').map(|(target, _)| target);
    }
    let (target, title) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let title = title.trim();
    let is_title = title.is_empty() || title.starts_with(['"', '\'', '(']);
    (!target.is_empty() && is_title).then_some(target)
}

/// The length of the run of equal marks at a place.
fn run_length(text: &str, at: usize) -> usize {
    let bytes = &text.as_bytes()[at..];
    bytes.iter().take_while(|&&byte| byte == bytes[0]).count()
}

fn ends_with_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests;
