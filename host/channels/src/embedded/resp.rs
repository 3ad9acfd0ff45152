//! The Redis serialisation protocol. Requests are read within bounds, and replies are written as RESP2 or RESP3.
//!
//! The format is defined by Redis: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use bytes::{BufMut, Bytes, BytesMut};

use crate::embedded::number;

/// The greatest number of arguments in one request.
const MAX_ARGUMENTS: usize = 128 * 1024;
/// The greatest number of bytes in all arguments of one request.
pub(super) const MAX_REQUEST: usize = 64 * 1024 * 1024;
/// How many bytes of answers may wait for a client. Beyond that none of its requests is run until it has read some.
pub(super) const MAX_OUTPUT: usize = 64 * 1024 * 1024;
/// The greatest number of arguments, and of their bytes, before the client has given the password. Redis has the same
/// limits.
const MAX_ARGUMENTS_BEFORE_PASSWORD: usize = 10;
const MAX_REQUEST_BEFORE_PASSWORD: usize = 16 * 1024;
/// The longest line: a header, or a request that was typed by hand.
const MAX_LINE: usize = 64 * 1024;

/// Reads requests from the front of a buffer, in whatever pieces they arrive.
///
/// A request is not trusted: no memory is allocated for a length before its bytes have arrived.
#[derive(Debug, Default)]
pub(super) struct RequestReader {
    /// The complete arguments of the present request.
    arguments: Vec<Bytes>,
    /// How many more arguments it has.
    missing: usize,
    /// The length of the argument whose header has been read.
    bulk: Option<usize>,
    /// The number of bytes in the present request's arguments so far.
    size: usize,
}

/// A request: the command's name and its arguments.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) words: Vec<Bytes>,
    /// Whether it was a plain line, as people type it. Client libraries do not send such lines.
    pub(super) is_line: bool,
}

/// The client did not send a request. The rest of its bytes can't be read either, so the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("ERR Protocol error: invalid multibulk length")]
    ArgumentCount,
    #[error("ERR Protocol error: invalid bulk length")]
    BulkLength,
    #[error("ERR Protocol error: unauthenticated multibulk length")]
    CountBeforePassword,
    #[error("ERR Protocol error: unauthenticated bulk length")]
    LengthBeforePassword,
    #[error("ERR Protocol error: expected '$', got '{}'", char::from(*.0).escape_default())]
    NoBulk(u8),
    #[error("ERR Protocol error: too big inline request")]
    LongLine,
    #[error("ERR Protocol error: argument does not end with a line break")]
    BulkEnd,
}

impl RequestReader {
    /// The next complete request, or `None` until `input` has more bytes.
    ///
    /// Arguments share the memory of `input`, so a value that is kept for long must be copied. `trusted` says that the
    /// client has given the password, or that there is none. Before that its requests must be small.
    pub(super) fn next(
        &mut self,
        input: &mut BytesMut,
        trusted: bool,
    ) -> Result<Option<Request>, ProtocolError> {
        loop {
            if self.missing == 0 {
                let Some(line) = take_line(input)? else {
                    return Ok(None);
                };
                let Some(count) = line.strip_prefix(b"*") else {
                    let words: Vec<Bytes> = line
                        .split(u8::is_ascii_whitespace)
                        .filter(|word| !word.is_empty())
                        .map(|word| line.slice_ref(word))
                        .collect();
                    if words.is_empty() {
                        continue;
                    }
                    return Ok(Some(Request {
                        words,
                        is_line: true,
                    }));
                };
                let count = number::parse_integer(count).ok_or(ProtocolError::ArgumentCount)?;
                if count > MAX_ARGUMENTS as i64 {
                    return Err(ProtocolError::ArgumentCount);
                }
                if !trusted && count > MAX_ARGUMENTS_BEFORE_PASSWORD as i64 {
                    return Err(ProtocolError::CountBeforePassword);
                }
                // As in Redis, an empty request gets no answer.
                self.missing = usize::try_from(count).unwrap_or(0);
                self.size = 0;
                continue;
            }
            if !self.take_argument(input, trusted)? {
                return Ok(None);
            }
            if self.missing == 0 {
                return Ok(Some(Request {
                    words: std::mem::take(&mut self.arguments),
                    is_line: false,
                }));
            }
        }
    }

    /// Takes one argument; `false` if it is not complete.
    fn take_argument(
        &mut self,
        input: &mut BytesMut,
        trusted: bool,
    ) -> Result<bool, ProtocolError> {
        let length = match self.bulk {
            Some(length) => length,
            None => {
                let Some(line) = take_line(input)? else {
                    return Ok(false);
                };
                let Some(length) = line.strip_prefix(b"$") else {
                    return Err(ProtocolError::NoBulk(
                        line.first().copied().unwrap_or(b'\n'),
                    ));
                };
                let length = number::parse_integer(length)
                    .and_then(|length| usize::try_from(length).ok())
                    .filter(|length| length.saturating_add(self.size) <= MAX_REQUEST)
                    .ok_or(ProtocolError::BulkLength)?;
                self.size += length;
                if !trusted && self.size > MAX_REQUEST_BEFORE_PASSWORD {
                    return Err(ProtocolError::LengthBeforePassword);
                }
                self.bulk = Some(length);
                length
            }
        };
        if input.len() < length + 2 {
            return Ok(false);
        }
        let argument = input.split_to(length).freeze();
        if &input.split_to(2)[..] != b"\r\n" {
            return Err(ProtocolError::BulkEnd);
        }
        self.arguments.push(argument);
        self.bulk = None;
        self.missing -= 1;
        Ok(true)
    }
}

/// Removes a line from the front of `input`; returns it without its end.
fn take_line(input: &mut BytesMut) -> Result<Option<Bytes>, ProtocolError> {
    let window = &input[..input.len().min(MAX_LINE)];
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        return if input.len() >= MAX_LINE {
            Err(ProtocolError::LongLine)
        } else {
            Ok(None)
        };
    };
    let mut line = input.split_to(end + 1).freeze();
    line.truncate(end);
    if line.last() == Some(&b'\r') {
        line.truncate(end - 1);
    }
    Ok(Some(line))
}

/// The version of the protocol on a connection. It starts with 2, and `HELLO 3` changes it to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// An answer, independent of the version of the protocol.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// No answer now: it comes later.
    Nothing,
    Status(&'static str),
    /// The whole error line, which begins with its code.
    Error(String),
    Integer(i64),
    Double(f64),
    Bulk(Bytes),
    /// The null of a single value.
    Null,
    /// The null of a list of values, which RESP2 writes in another way.
    NullArray,
    Array(Vec<Reply>),
    /// Members with their scores: flat in RESP2, in pairs in RESP3.
    Scored(Vec<(Bytes, f64)>),
    Map(Vec<(Reply, Reply)>),
    /// A message that is not an answer to a request; an array in RESP2.
    Push(Vec<Reply>),
    /// Several answers to one request, one after the other.
    Several(Vec<Reply>),
}

impl Reply {
    /// `OK`.
    pub(super) const OK: Self = Self::Status("OK");

    /// A text of the server.
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self::Bulk(text.into())
    }

    /// A number of things in memory.
    pub(super) fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Roughly how many bytes it takes in memory, with its written form.
    pub(super) fn size(&self) -> usize {
        let inner: usize = match self {
            Self::Error(text) => text.len(),
            Self::Bulk(bytes) => bytes.len(),
            Self::Array(items) | Self::Push(items) | Self::Several(items) => {
                items.iter().map(Self::size).sum()
            }
            Self::Scored(pairs) => pairs
                .iter()
                .map(|pair| pair.0.len() + size_of_val(pair))
                .sum(),
            Self::Map(entries) => entries
                .iter()
                .map(|(key, value)| key.size() + value.size())
                .sum(),
            _ => 0,
        };
        inner + size_of::<Self>()
    }

    /// Appends it to `out`.
    pub(super) fn write(&self, protocol: Protocol, out: &mut BytesMut) {
        let old = protocol == Protocol::Resp2;
        match self {
            Self::Nothing => {}
            Self::Status(text) => line(out, b'+', text.as_bytes()),
            Self::Error(text) => {
                // A line break in a quoted text of the client must not begin another reply.
                let text: Vec<u8> = text
                    .bytes()
                    .map(|b| if b == b'\r' || b == b'\n' { b' ' } else { b })
                    .collect();
                line(out, b'-', &text);
            }
            Self::Integer(value) => line(out, b':', value.to_string().as_bytes()),
            Self::Double(value) if old => bulk(out, number::write_double(*value).as_bytes()),
            Self::Double(value) => line(out, b',', number::write_double(*value).as_bytes()),
            Self::Bulk(bytes) => bulk(out, bytes),
            Self::Null if old => out.put_slice(b"$-1\r\n"),
            Self::NullArray if old => out.put_slice(b"*-1\r\n"),
            Self::Null | Self::NullArray => out.put_slice(b"_\r\n"),
            Self::Array(items) => sequence(b'*', items, protocol, out),
            Self::Push(items) => sequence(if old { b'*' } else { b'>' }, items, protocol, out),
            Self::Several(replies) => replies.iter().for_each(|reply| reply.write(protocol, out)),
            Self::Scored(pairs) => {
                header(out, b'*', if old { pairs.len() * 2 } else { pairs.len() });
                for (member, score) in pairs {
                    if !old {
                        header(out, b'*', 2);
                    }
                    bulk(out, member);
                    Self::Double(*score).write(protocol, out);
                }
            }
            Self::Map(entries) => {
                if old {
                    header(out, b'*', entries.len() * 2);
                } else {
                    header(out, b'%', entries.len());
                }
                for (key, value) in entries {
                    key.write(protocol, out);
                    value.write(protocol, out);
                }
            }
        }
    }
}

fn sequence(kind: u8, items: &[Reply], protocol: Protocol, out: &mut BytesMut) {
    header(out, kind, items.len());
    items.iter().for_each(|item| item.write(protocol, out));
}

fn header(out: &mut BytesMut, kind: u8, length: usize) {
    line(out, kind, length.to_string().as_bytes());
}

fn line(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.put_u8(kind);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}

fn bulk(out: &mut BytesMut, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
