//! The one pass over a JSON text (RFC 8259) that makes its tape.

use crate::event::Notes;
use crate::number::{self, MAX_INTEGER_DIGITS, Malformed};
use crate::string;
use crate::tape::{self, Kind, Node};

/// How many arrays and objects may be open at once.
///
/// It is what `serde_json` reads by default, and far below what Python's `json` and `msgpack` do, so that all who
/// get an event can read it. Slack's own events stay under 20.
pub const MAX_DEPTH: usize = 127;

/// Why a text is not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Something else was due at this place.
    #[error("line {line}, byte {offset}: expected {expected}, found {found}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 0, in the whole text.
        offset: usize,
        /// What JSON allows here.
        expected: &'static str,
        /// What is here.
        found: String,
    },
    /// The text is not UTF-8.
    #[error("line {line}, byte {offset}: not UTF-8")]
    NotUtf8 {
        /// Counted from 1.
        line: usize,
        /// Where the first bad sequence begins, counted from 0.
        offset: usize,
    },
    /// More arrays and objects are open than is allowed.
    #[error("line {line}, byte {offset}: nested more than {limit} deep")]
    TooDeep {
        /// Counted from 1.
        line: usize,
        /// Where the container that is too much begins, counted from 0.
        offset: usize,
        /// How deep it may be here: [`MAX_DEPTH`], less what is around it.
        limit: usize,
    },
    /// An integer of more than [`MAX_INTEGER_DIGITS`] digits.
    #[error("line {line}, byte {offset}: an integer of more than {MAX_INTEGER_DIGITS} digits")]
    IntegerTooLong {
        /// Counted from 1.
        line: usize,
        /// Where the integer begins, counted from 0.
        offset: usize,
    },
    /// Well-formed, but an event is an object.
    #[error("expected an object, found {found}")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// Over `u32::MAX` bytes.
    #[error("{length} bytes are too many for an event, {} is the limit", u32::MAX)]
    TooLarge {
        /// In bytes.
        length: usize,
    },
}

/// The tape of `text`, a JSON value of any kind in which at most `max_depth` containers are open at once.
pub(crate) fn parse(text: &[u8], max_depth: usize) -> Result<(Vec<Node>, Notes), ParseError> {
    if u32::try_from(text.len()).is_err() {
        return Err(ParseError::TooLarge { length: text.len() });
    }
    if let Err(error) = str::from_utf8(text) {
        let offset = error.valid_up_to();
        return Err(ParseError::NotUtf8 {
            line: line(text, offset),
            offset,
        });
    }
    let mut parser = Parser {
        text,
        at: 0,
        // Slack's events have about one node for each ten bytes.
        nodes: Vec::with_capacity(text.len() / 8 + 8),
        notes: Notes::default(),
        max_depth,
    };
    match parser.document() {
        Ok(()) => Ok((parser.nodes, parser.notes)),
        Err(fault) => Err(fault.explain(text, max_depth)),
    }
}

/// A [`ParseError`] in the making: small, so that it costs the good case nothing.
enum Fault {
    Expected(&'static str, usize),
    TooDeep(usize),
    IntegerTooLong(usize),
}

impl Fault {
    #[cold]
    fn explain(self, text: &[u8], limit: usize) -> ParseError {
        match self {
            Fault::Expected(expected, offset) => {
                let rest = String::from_utf8_lossy(&text[offset..text.len().min(offset + 4)]);
                let found = match rest.chars().next() {
                    Some(found) => format!("{found:?}"),
                    None => "the end of the text".to_owned(),
                };
                ParseError::Syntax {
                    line: line(text, offset),
                    offset,
                    expected,
                    found,
                }
            }
            Fault::TooDeep(offset) => ParseError::TooDeep {
                line: line(text, offset),
                offset,
                limit,
            },
            Fault::IntegerTooLong(offset) => ParseError::IntegerTooLong {
                line: line(text, offset),
                offset,
            },
        }
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::NoDigit(at) => Fault::Expected("a digit", at),
            Malformed::TooLong(at) => Fault::IntegerTooLong(at),
        }
    }
}

fn line(text: &[u8], offset: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &text[..offset]).count()
}

struct Parser<'a> {
    /// UTF-8, and no longer than `u32::MAX`.
    text: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    notes: Notes,
    max_depth: usize,
}

/// The parent of the root.
const NOTHING: u32 = u32::MAX;

impl Parser<'_> {
    /// Reads one value and the end of the text.
    ///
    /// A loop instead of a recursion: the open containers are linked by their nodes, so the stack stays flat.
    fn document(&mut self) -> Result<(), Fault> {
        let mut open = NOTHING;
        let mut depth = 0;
        loop {
            // A value is due.
            self.skip_whitespace();
            match self.peek() {
                Some(b'"') => self.text_value()?,
                Some(bracket @ (b'{' | b'[')) => {
                    if depth == self.max_depth {
                        return Err(Fault::TooDeep(self.at));
                    }
                    depth += 1;
                    let kind = if bracket == b'{' {
                        Kind::Object
                    } else {
                        Kind::Array
                    };
                    let parent = std::mem::replace(&mut open, self.nodes.len() as u32);
                    self.push(kind, self.at, self.at, parent, 0);
                    self.at += 1;
                    self.skip_whitespace();
                    // `]` and `}` are two after their openers in ASCII.
                    if self.peek() == Some(bracket + 2) {
                        depth -= 1;
                        open = self.close(open);
                    } else if kind == Kind::Object {
                        self.key("a key or `}`")?;
                        continue;
                    } else {
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => {
                    let (end, kind) = number::scan(self.text, self.at)?;
                    self.notes.big_integers |= kind == Kind::BigInteger;
                    self.scalar(kind, end);
                }
                Some(b't') => self.word(b"true", Kind::True)?,
                Some(b'f') => self.word(b"false", Kind::False)?,
                Some(b'n') => self.word(b"null", Kind::Null)?,
                _ => return Err(Fault::Expected("a value", self.at)),
            }
            // A value is complete.
            loop {
                self.skip_whitespace();
                if open == NOTHING {
                    return match self.peek() {
                        None => Ok(()),
                        Some(_) => Err(Fault::Expected("the end of the text", self.at)),
                    };
                }
                let container = &mut self.nodes[open as usize];
                let object = container.kind == Kind::Object;
                container.extra += 1;
                match self.text.get(self.at) {
                    Some(b',') => {
                        self.at += 1;
                        if object {
                            self.skip_whitespace();
                            self.key("a key")?;
                        }
                        break;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ if object => return Err(Fault::Expected("`,` or `}`", self.at)),
                    _ => return Err(Fault::Expected("`,` or `]`", self.at)),
                }
                depth -= 1;
                open = self.close(open);
            }
        }
    }

    /// Steps over the bracket that ends the container `open`; its parent.
    fn close(&mut self, open: u32) -> u32 {
        self.at += 1;
        let next = self.nodes.len() as u32;
        let container = &mut self.nodes[open as usize];
        let parent = std::mem::replace(&mut container.next, next);
        container.end = self.at as u32;
        if container.kind == Kind::Object {
            self.notes.duplicate_keys |=
                tape::supersede_duplicates(&mut self.nodes, self.text, open as usize);
        }
        parent
    }

    /// A key and its colon.
    #[inline]
    fn key(&mut self, expected: &'static str) -> Result<(), Fault> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(Fault::Expected(expected, start));
        }
        let (escaped, _) = self.string()?;
        let content = start + 1..self.at - 1;
        let next = self.nodes.len() as u32 + 1;
        if escaped {
            let hash = tape::hash(&string::decoded(&self.text[content]));
            self.push(Kind::EscapedKey, start, self.at, next, hash);
        } else {
            let hash = tape::hash_within(self.text, content.start, content.end);
            self.push(Kind::Key, start, self.at, next, hash);
        }
        self.skip_whitespace();
        if self.peek() != Some(b':') {
            return Err(Fault::Expected("`:`", self.at));
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn text_value(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let (escaped, length) = self.string()?;
        let kind = if escaped {
            Kind::EscapedText
        } else {
            Kind::Text
        };
        self.push(
            kind,
            start,
            self.at,
            self.nodes.len() as u32 + 1,
            length as u32,
        );
        Ok(())
    }

    /// Steps over a string: whether it has escapes, and its length once decoded.
    #[inline]
    fn string(&mut self) -> Result<(bool, usize), Fault> {
        let start = self.at + 1;
        self.at = string::find_special(self.text, start);
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok((false, self.at - 1 - start));
        }
        self.escaped_string(start).map(|length| (true, length))
    }

    fn escaped_string(&mut self, start: usize) -> Result<usize, Fault> {
        let mut shorter = 0;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {}
                Some(_) => {
                    return Err(Fault::Expected(
                        "an escape for a control character",
                        self.at,
                    ));
                }
                None => return Err(Fault::Expected("`\"`", self.at)),
            }
            let Some(escape) = string::read_escape(self.text, self.at) else {
                return Err(Fault::Expected("an escape that JSON has", self.at));
            };
            self.notes.lone_surrogates |= escape.lone_surrogate;
            shorter += escape.length - escape.meaning.len_utf8();
            self.at = string::find_special(self.text, self.at + escape.length);
        }
        self.at += 1;
        Ok(self.at - 1 - start - shorter)
    }

    fn word(&mut self, word: &'static [u8], kind: Kind) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Fault::Expected("a value", self.at));
        }
        self.scalar(kind, self.at + word.len());
        Ok(())
    }

    #[inline]
    fn scalar(&mut self, kind: Kind, end: usize) {
        self.push(kind, self.at, end, self.nodes.len() as u32 + 1, 0);
        self.at = end;
    }

    #[inline]
    fn push(&mut self, kind: Kind, start: usize, end: usize, next: u32, extra: u32) {
        self.nodes.push(Node {
            start: start as u32,
            end: end as u32,
            next,
            extra,
            kind,
        });
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests;
