//! Reading a channel layer's msgpack message, by way of JSON text.
//!
//! The format: <https://github.com/msgpack/msgpack/blob/master/spec.md>. This way is taken by what an app sends, which
//! Slack paces to about one message a second; so it is short rather than fast.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::parser::{MAX_DEPTH, ParseError};
use crate::salvage::SalvagedMembers;
use crate::string;

/// Why a msgpack message is not an event. A `key` is an RFC 6901 pointer to the value in question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MsgpackError {
    /// The message ends within a value.
    #[error("byte {offset}: the message ends within {}", place(key))]
    Truncated {
        /// The value that is cut off.
        key: String,
        /// Where that value begins.
        offset: usize,
    },
    /// There is more after the message's end.
    #[error("byte {offset}: the message is complete, but more follows")]
    Trailing {
        /// Where it goes on.
        offset: usize,
    },
    /// A message is a map.
    #[error("expected a map, found {found}")]
    NotAMap {
        /// Its kind.
        found: &'static str,
    },
    /// A key of a map that is not a text.
    #[error(
        "byte {offset}: a key of {} is {found}, but keys are texts",
        place(key)
    )]
    KeyNotText {
        /// The map.
        key: String,
        /// Where the key begins.
        offset: usize,
        /// Its kind.
        found: &'static str,
    },
    /// Text or bytes that are not UTF-8.
    #[error(
        "byte {offset}: {} is {found} that is not UTF-8; send such bytes as base64 text",
        place(key)
    )]
    NotUtf8 {
        /// The value, or the map that has it as a key.
        key: String,
        /// Where it begins.
        offset: usize,
        /// `text` or `bytes`.
        found: &'static str,
    },
    /// A value that JSON does not have: an extension type, such as a timestamp, an infinity or NaN.
    #[error("byte {offset}: {} is {found}, which JSON does not have", place(key))]
    NotJson {
        /// The value.
        key: String,
        /// Where it begins.
        offset: usize,
        /// Its kind.
        found: &'static str,
    },
    /// More maps and arrays are open than [`MAX_DEPTH`].
    #[error("byte {offset}: nested more than {MAX_DEPTH} deep")]
    TooDeep {
        /// Where the container that is too much begins.
        offset: usize,
    },
    /// The message is in order, but not as an event; too large is all that is left.
    #[error("the message is not an event: {0}")]
    NotAnEvent(#[source] ParseError),
}

/// How an error speaks of a pointer.
fn place(key: &str) -> &str {
    if key.is_empty() { "the message" } else { key }
}

/// The one key of the object that stands for bytes which are not UTF-8, where they are kept; its value is base64.
pub const BYTES_KEY: &str = "$bytes";

/// The treatment of bytes that are not UTF-8, which JSON does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Refused,
    /// An object with [`BYTES_KEY`] stands for them.
    Base64,
}

/// The JSON text of a msgpack map.
pub(crate) fn to_json(payload: &[u8], binary: Binary) -> Result<Vec<u8>, MsgpackError> {
    let marker = *payload.first().ok_or(MsgpackError::Truncated {
        key: String::new(),
        offset: 0,
    })?;
    if !matches!(marker, 0x80..=0x8f | 0xde | 0xdf) {
        return Err(MsgpackError::NotAMap {
            found: name(marker),
        });
    }
    value_to_json(payload, binary)
}

/// The JSON text of a msgpack value of any kind.
fn value_to_json(payload: &[u8], binary: Binary) -> Result<Vec<u8>, MsgpackError> {
    let mut reader = Reader::new(payload);
    reader.binary = binary;
    reader.out.reserve(payload.len() * 5 / 4 + 16);
    reader.value()?;
    while let Some(container) = reader.open.last_mut() {
        if container.left == 0 {
            reader.out.push(if container.map { b'}' } else { b']' });
            reader.open.pop();
            continue;
        }
        container.left -= 1;
        if container.count > 0 {
            reader.out.push(b',');
        }
        container.count += 1;
        if container.map {
            reader.key()?;
        }
        reader.value()?;
    }
    if reader.at < payload.len() {
        return Err(MsgpackError::Trailing { offset: reader.at });
    }
    Ok(reader.out)
}

/// The JSON text of an object with the members among `wanted` that a map has and that can be read, whatever is wrong
/// with the others.
pub(crate) fn salvage(payload: &[u8], wanted: &[&str]) -> Vec<u8> {
    let mut found = SalvagedMembers::default();
    let mut rest = Skipper { payload, at: 0 };
    for _ in 0..rest.entries().unwrap_or(0) {
        let (Some(key), Some(value)) = (rest.skip(), rest.skip()) else {
            break;
        };
        let key = Reader::new(key).key_text().unwrap_or_default();
        if wanted.contains(&key)
            && let Ok(value) = value_to_json(value, Binary::Refused)
        {
            found.member(key, &value);
        }
    }
    found.into_text()
}

/// Goes over values without reading them.
struct Skipper<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Skipper<'a> {
    /// How many entries the map has that begins here.
    fn entries(&mut self) -> Option<u64> {
        let begin = self.at;
        let marker = *self.payload.get(begin)?;
        match marker {
            0x80..=0x8f | 0xde | 0xdf => self.head().map(|within| within / 2),
            _ => None,
        }
    }

    /// The bytes of the value that begins here; `None` where it does not end.
    fn skip(&mut self) -> Option<&'a [u8]> {
        let begin = self.at;
        let mut left: u64 = 1;
        while left > 0 {
            left = left - 1 + self.head()?;
        }
        self.payload.get(begin..self.at)
    }

    /// Goes over a scalar, or over the head of a container; gives how many values are in that.
    fn head(&mut self) -> Option<u64> {
        let marker = self.number(1)? as u8;
        let (bytes, values) = match marker {
            0x80..=0x8f => (0, 2 * u64::from(marker & 15)),
            0x90..=0x9f => (0, u64::from(marker & 15)),
            0xa0..=0xbf => (u64::from(marker & 31), 0),
            0xc4 | 0xd9 => (self.number(1)?, 0),
            0xc5 | 0xda => (self.number(2)?, 0),
            0xc6 | 0xdb => (self.number(4)?, 0),
            // The type of an extension follows its length.
            0xc7 => (1 + self.number(1)?, 0),
            0xc8 => (1 + self.number(2)?, 0),
            0xc9 => (1 + self.number(4)?, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 | 0xd4 => (2, 0),
            0xd5 => (3, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xd6 => (5, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd7 => (9, 0),
            0xd8 => (17, 0),
            0xdc => (0, self.number(2)?),
            0xdd => (0, self.number(4)?),
            0xde => (0, 2 * self.number(2)?),
            0xdf => (0, 2 * self.number(4)?),
            0x00..=0x7f | 0xc0 | 0xc1 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
        };
        let end = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        self.at = end;
        (end <= self.payload.len()).then_some(values)
    }

    /// An unsigned number of some bytes.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let end = self.at.checked_add(bytes)?;
        let number = self.payload.get(self.at..end)?;
        self.at = end;
        Some(
            number
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    }
}

/// A map or array that is being read.
struct Container<'a> {
    map: bool,
    /// How many entries are to come, and how many have come.
    left: u32,
    count: u32,
    /// The key of the entry that is being read.
    key: &'a str,
}

struct Reader<'a> {
    payload: &'a [u8],
    at: usize,
    out: Vec<u8>,
    open: Vec<Container<'a>>,
    binary: Binary,
}

impl<'a> Reader<'a> {
    fn new(payload: &'a [u8]) -> Self {
        Self {
            payload,
            at: 0,
            out: Vec::new(),
            open: Vec::new(),
            binary: Binary::Refused,
        }
    }

    /// A scalar, or the beginning of a container.
    fn value(&mut self) -> Result<(), MsgpackError> {
        let offset = self.at;
        let [marker] = self.array()?;
        match marker {
            0x00..=0x7f => self.integer(marker),
            0x80..=0x8f => self.open(true, u32::from(marker & 15), offset)?,
            0x90..=0x9f => self.open(false, u32::from(marker & 15), offset)?,
            0xc4..=0xc6 if self.binary == Binary::Base64 => {
                let bytes = self.bytes(marker)?;
                match str::from_utf8(bytes) {
                    Ok(text) => string::write_json(text, &mut self.out),
                    Err(_) => self.base64(bytes),
                }
            }
            0xa0..=0xbf | 0xc4..=0xc6 | 0xd9..=0xdb => {
                let text = self.text(marker, offset)?;
                string::write_json(text, &mut self.out);
            }
            0xc0 => self.out.extend_from_slice(b"null"),
            0xc2 => self.out.extend_from_slice(b"false"),
            0xc3 => self.out.extend_from_slice(b"true"),
            0xca => {
                let value = f32::from_be_bytes(self.array()?);
                self.float(f64::from(value), offset)?;
            }
            0xcb => {
                let value = f64::from_be_bytes(self.array()?);
                self.float(value, offset)?;
            }
            0xcc => {
                let [value] = self.array()?;
                self.integer(value);
            }
            0xcd => {
                let value = u16::from_be_bytes(self.array()?);
                self.integer(value);
            }
            0xce => {
                let value = u32::from_be_bytes(self.array()?);
                self.integer(value);
            }
            0xcf => {
                let value = u64::from_be_bytes(self.array()?);
                self.integer(value);
            }
            0xd0 => {
                let value = i8::from_be_bytes(self.array()?);
                self.integer(value);
            }
            0xd1 => {
                let value = i16::from_be_bytes(self.array()?);
                self.integer(value);
            }
            0xd2 => {
                let value = i32::from_be_bytes(self.array()?);
                self.integer(value);
            }
            0xd3 => {
                let value = i64::from_be_bytes(self.array()?);
                self.integer(value);
            }
            0xdc | 0xde => {
                let length = u16::from_be_bytes(self.array()?);
                self.open(marker == 0xde, u32::from(length), offset)?;
            }
            0xdd | 0xdf => {
                let length = u32::from_be_bytes(self.array()?);
                self.open(marker == 0xdf, length, offset)?;
            }
            0xe0..=0xff => self.integer(marker as i8),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => {
                return Err(MsgpackError::NotJson {
                    key: self.pointer(),
                    offset,
                    found: name(marker),
                });
            }
        }
        Ok(())
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<(), MsgpackError> {
        let key = self.key_text()?;
        if let Some(container) = self.open.last_mut() {
            container.key = key;
        }
        string::write_json(key, &mut self.out);
        self.out.push(b':');
        Ok(())
    }

    fn key_text(&mut self) -> Result<&'a str, MsgpackError> {
        let offset = self.at;
        let [marker] = self.array()?;
        if !matches!(marker, 0xa0..=0xbf | 0xd9..=0xdb) {
            return Err(MsgpackError::KeyNotText {
                key: self.parent(),
                offset,
                found: name(marker),
            });
        }
        self.text(marker, offset)
    }

    fn open(&mut self, map: bool, left: u32, offset: usize) -> Result<(), MsgpackError> {
        if self.open.len() == MAX_DEPTH {
            return Err(MsgpackError::TooDeep { offset });
        }
        self.out.push(if map { b'{' } else { b'[' });
        self.open.push(Container {
            map,
            left,
            count: 0,
            key: "",
        });
        Ok(())
    }

    /// The text, or bytes, whose marker was read.
    fn text(&mut self, marker: u8, offset: usize) -> Result<&'a str, MsgpackError> {
        let bytes = self.bytes(marker)?;
        str::from_utf8(bytes).map_err(|_| MsgpackError::NotUtf8 {
            key: self.pointer(),
            offset,
            found: name(marker),
        })
    }

    fn bytes(&mut self, marker: u8) -> Result<&'a [u8], MsgpackError> {
        let length = match marker {
            0xc4 | 0xd9 => u32::from(u8::from_be_bytes(self.array()?)),
            0xc5 | 0xda => u32::from(u16::from_be_bytes(self.array()?)),
            0xc6 | 0xdb => u32::from_be_bytes(self.array()?),
            _ => u32::from(marker & 31),
        };
        self.take(length as usize)
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.out.push(b'{');
        string::write_json(BYTES_KEY, &mut self.out);
        self.out.extend_from_slice(b":\"");
        self.out
            .extend_from_slice(STANDARD.encode(bytes).as_bytes());
        self.out.extend_from_slice(b"\"}");
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn float(&mut self, value: f64, offset: usize) -> Result<(), MsgpackError> {
        if !value.is_finite() {
            let found = if value.is_nan() { "NaN" } else { "an infinity" };
            return Err(MsgpackError::NotJson {
                key: self.pointer(),
                offset,
                found,
            });
        }
        self.out
            .extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MsgpackError> {
        match self.payload[self.at..].first_chunk() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.truncated()),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], MsgpackError> {
        let bytes = self.payload[self.at..]
            .get(..length)
            .ok_or_else(|| self.truncated())?;
        self.at += length;
        Ok(bytes)
    }

    fn truncated(&self) -> MsgpackError {
        MsgpackError::Truncated {
            key: self.pointer(),
            offset: self.at,
        }
    }

    /// The value that is being read.
    fn pointer(&self) -> String {
        pointer(&self.open)
    }

    /// The container that is being read.
    fn parent(&self) -> String {
        pointer(&self.open[..self.open.len().saturating_sub(1)])
    }
}

fn pointer(open: &[Container<'_>]) -> String {
    let mut pointer = String::new();
    for container in open {
        if container.map {
            pointer.push('/');
            pointer.push_str(&container.key.replace('~', "~0").replace('/', "~1"));
        } else {
            // Writing to a string can't fail.
            let _ = write!(pointer, "/{}", container.count.saturating_sub(1));
        }
    }
    pointer
}

fn name(marker: u8) -> &'static str {
    match marker {
        0xc0 => "nil",
        0xc2 | 0xc3 => "a boolean",
        0x00..=0x7f | 0xcc..=0xd3 | 0xe0..=0xff => "an integer",
        0xca | 0xcb => "a float",
        0xa0..=0xbf | 0xd9..=0xdb => "text",
        0xc4..=0xc6 => "bytes",
        0x90..=0x9f | 0xdc | 0xdd => "an array",
        0x80..=0x8f | 0xde | 0xdf => "a map",
        0xc7..=0xc9 | 0xd4..=0xd8 => "an extension type",
        0xc1 => "the byte c1, which msgpack never uses",
    }
}

#[cfg(test)]
mod tests;
