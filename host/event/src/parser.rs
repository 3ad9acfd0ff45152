//! The one pass over a JSON text (RFC 8259) that makes its tape.

use crate::notes::Notes;
use crate::number::{self, MAX_INTEGER_DIGITS, NumberError};
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
        /// The tokens that JSON allows here.
        expected: &'static str,
        /// The token that is here.
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
        /// The kind of value that it is.
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
        // Slack's events have about one node for each nine bytes.
        nodes: Vec::with_capacity(text.len() / 8 + 8),
        notes: Notes::default(),
        max_depth,
    };
    match parser.document() {
        Ok(()) => Ok((parser.nodes, parser.notes)),
        Err(error) => Err(*error),
    }
}

fn line(text: &[u8], offset: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &text[..offset]).count()
}

/// Boxed, so that it travels in one register and the good case pays nothing for it.
type Fault = Box<ParseError>;

/// The methods take the place where they begin and give the one where they ended.
struct Parser<'a> {
    /// UTF-8, and no longer than `u32::MAX`.
    text: &'a [u8],
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
        let mut in_object = false;
        let mut depth = 0;
        let mut at = 0;
        loop {
            // A value is due.
            at = self.skip_whitespace(at);
            match self.text.get(at) {
                Some(b'"') => at = self.text_value(at)?,
                Some(&bracket @ (b'{' | b'[')) => {
                    if depth == self.max_depth {
                        return Err(self.too_deep(at));
                    }
                    depth += 1;
                    in_object = bracket == b'{';
                    let kind = if in_object { Kind::Object } else { Kind::Array };
                    let parent = std::mem::replace(&mut open, self.nodes.len() as u32);
                    self.push(kind, at, at, parent, 0);
                    at = self.skip_whitespace(at + 1);
                    // `]` and `}` are two after their openers in ASCII.
                    if self.text.get(at) != Some(&(bracket + 2)) {
                        if in_object {
                            at = self.key(at, "a key or `}`")?;
                        }
                        continue;
                    }
                    at += 1;
                    depth -= 1;
                    (open, in_object) = self.close(open, at);
                }
                Some(b'-' | b'0'..=b'9') => {
                    let (end, kind) = number::scan(self.text, at)
                        .map_err(|malformed| self.bad_number(malformed))?;
                    self.notes.big_integers |= kind == Kind::BigInteger;
                    at = self.scalar(kind, at, end);
                }
                Some(b't') => at = self.word(b"true", Kind::True, at)?,
                Some(b'f') => at = self.word(b"false", Kind::False, at)?,
                Some(b'n') => at = self.word(b"null", Kind::Null, at)?,
                _ => return Err(self.expected("a value", at)),
            }
            // A value is complete.
            loop {
                at = self.skip_whitespace(at);
                let byte = self.text.get(at);
                if open == NOTHING {
                    return byte.map_or(Ok(()), |_| Err(self.expected("the end of the text", at)));
                }
                self.nodes[open as usize].extra += 1;
                match byte {
                    Some(b',') if in_object => {
                        at = self.skip_whitespace(at + 1);
                        at = self.key(at, "a key")?;
                        break;
                    }
                    Some(b',') => {
                        at += 1;
                        break;
                    }
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    _ => {
                        return Err(self.expected(
                            if in_object {
                                "`,` or `}`"
                            } else {
                                "`,` or `]`"
                            },
                            at,
                        ));
                    }
                }
                at += 1;
                depth -= 1;
                (open, in_object) = self.close(open, at);
            }
        }
    }

    /// Ends the container `open`; its parent, and whether that is an object.
    fn close(&mut self, open: u32, end: usize) -> (u32, bool) {
        let next = self.nodes.len() as u32;
        let container = &mut self.nodes[open as usize];
        let parent = std::mem::replace(&mut container.next, next);
        container.end = end as u32;
        if container.kind == Kind::Object && container.extra > 1 {
            self.notes.duplicate_keys |=
                tape::supersede_duplicates(&mut self.nodes, self.text, open as usize);
        }
        (
            parent,
            self.nodes
                .get(parent as usize)
                .is_some_and(|parent| parent.kind == Kind::Object),
        )
    }

    /// A key and its colon.
    #[inline]
    fn key(&mut self, start: usize, expected: &'static str) -> Result<usize, Fault> {
        if self.text.get(start) != Some(&b'"') {
            return Err(self.expected(expected, start));
        }
        let plain_end = string::find_special(self.text, start + 1);
        let mut at = plain_end + 1;
        let (kind, hash) = if self.text.get(plain_end) == Some(&b'"') {
            (
                Kind::Key,
                tape::hash_within(self.text, start + 1, plain_end),
            )
        } else {
            at = self.escaped_string(start + 1, plain_end)?.0;
            (
                Kind::EscapedKey,
                tape::hash(&string::decoded(&self.text[start + 1..at - 1])),
            )
        };
        self.push(kind, start, at, self.next_index(), hash);
        at = self.skip_whitespace(at);
        if self.text.get(at) != Some(&b':') {
            return Err(self.expected("`:`", at));
        }
        Ok(at + 1)
    }

    #[inline]
    fn text_value(&mut self, start: usize) -> Result<usize, Fault> {
        let plain_end = string::find_special(self.text, start + 1);
        let (kind, end, length) = if self.text.get(plain_end) == Some(&b'"') {
            (Kind::Text, plain_end + 1, plain_end - start - 1)
        } else {
            let (end, length) = self.escaped_string(start + 1, plain_end)?;
            (Kind::EscapedText, end, length)
        };
        self.push(kind, start, end, self.next_index(), length as u32);
        Ok(end)
    }

    /// The end of the string whose content begins at `start` and whose first special byte is at `at`, and the length
    /// of the content once decoded.
    fn escaped_string(&mut self, start: usize, mut at: usize) -> Result<(usize, usize), Fault> {
        let mut shorter = 0;
        loop {
            match self.text.get(at) {
                Some(b'"') => return Ok((at + 1, at - start - shorter)),
                Some(b'\\') => {}
                Some(_) => return Err(self.expected("an escape for a control character", at)),
                None => return Err(self.expected("`\"`", at)),
            }
            let Some(escape) = string::read_escape(self.text, at) else {
                return Err(self.expected("an escape that JSON has", at));
            };
            self.notes.lone_surrogates |= escape.lone_surrogate;
            shorter += escape.length - escape.meaning.len_utf8();
            at = string::find_special(self.text, at + escape.length);
        }
    }

    #[inline]
    fn word(&mut self, word: &'static [u8], kind: Kind, at: usize) -> Result<usize, Fault> {
        if !self.text[at..].starts_with(word) {
            return Err(self.expected("a value", at));
        }
        Ok(self.scalar(kind, at, at + word.len()))
    }

    #[inline]
    fn scalar(&mut self, kind: Kind, start: usize, end: usize) -> usize {
        self.push(kind, start, end, self.next_index(), 0);
        end
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

    /// The index after that of the next node.
    #[inline]
    fn next_index(&self) -> u32 {
        self.nodes.len() as u32 + 1
    }

    #[inline]
    fn skip_whitespace(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(at) {
            at += 1;
        }
        at
    }

    #[cold]
    fn expected(&self, expected: &'static str, offset: usize) -> Fault {
        let rest = String::from_utf8_lossy(&self.text[offset..self.text.len().min(offset + 4)]);
        let found = match rest.chars().next() {
            Some(found) => format!("{found:?}"),
            None => "the end of the text".to_owned(),
        };
        Box::new(ParseError::Syntax {
            line: line(self.text, offset),
            offset,
            expected,
            found,
        })
    }

    #[cold]
    fn bad_number(&self, malformed: NumberError) -> Fault {
        match malformed {
            NumberError::NoDigit(offset) => self.expected("a digit", offset),
            NumberError::TooLong(offset) => Box::new(ParseError::IntegerTooLong {
                line: line(self.text, offset),
                offset,
            }),
        }
    }

    #[cold]
    fn too_deep(&self, offset: usize) -> Fault {
        Box::new(ParseError::TooDeep {
            line: line(self.text, offset),
            offset,
            limit: self.max_depth,
        })
    }
}

#[cfg(test)]
mod tests;
