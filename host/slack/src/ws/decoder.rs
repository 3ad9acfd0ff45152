//! Reads WebSocket messages (RFC 6455) out of what a server sent, without ever giving a connection up for its contents.
//!
//! The usual libraries check that a text frame is UTF-8 and end the connection where it is not, and end it where a
//! message is too long. Here both cost the message alone: the caller checks contents anyway when it parses them, and a
//! message that is too long is skipped and reported.

use bytes::Bytes;

/// Bytes of the read buffer. A busy socket fills it with one system call.
const BUFFER: usize = 128 << 10;

/// A control frame's payload is no longer than this (RFC 6455, 5.5).
const MAX_CONTROL: u64 = 125;

/// So many bytes are kept of a message that is skipped.
const HEAD: usize = 4 << 10;

/// No more than this is allocated at once because of a header alone.
const MAX_RESERVE: u64 = 1 << 20;

/// A message or a control frame that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// A whole message, text or binary, put together again from its fragments.
    Message(Bytes),
    /// A whole message that was skipped because it is longer than the limit.
    TooLong {
        /// Its length in bytes.
        length: u64,
        /// Its beginning, in which its id may be found.
        head: Bytes,
    },
    /// A ping, to be answered with a pong of the same payload.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// The server closes the connection: its code, if it gave one, and its words.
    Close(Option<u16>, String),
}

/// A violation of the protocol, after which the connection can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A reserved bit is set: an extension that we did not ask for.
    #[error("the server used a WebSocket extension that was not agreed on")]
    ReservedBits,
    /// No such opcode.
    #[error("the server sent a WebSocket frame of the unknown kind {0:#x}")]
    Opcode(u8),
    /// Servers don't mask.
    #[error("the server sent a masked WebSocket frame")]
    Masked,
    /// A control frame in fragments, or one too long.
    #[error("the server sent a WebSocket control frame that is fragmented or too long")]
    Control,
    /// A continuation of nothing, or a new message inside another.
    #[error("the server sent WebSocket fragments out of order")]
    Fragments,
    /// The length's top bit is set.
    #[error("the server sent a WebSocket frame of an impossible length")]
    Length,
}

/// A read buffer and the message that is under way in it.
#[derive(Debug)]
pub(crate) struct Decoder {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    limit: usize,
    message: Option<PartialMessage>,
}

/// A message of which not all is there yet.
#[derive(Debug, Default)]
struct PartialMessage {
    kept: Vec<u8>,
    length: u64,
    /// The bytes of the current fragment that are still to come.
    missing: u64,
    is_last: bool,
}

struct Header {
    is_final: bool,
    opcode: u8,
    length: u64,
    size: usize,
}

impl Decoder {
    /// A decoder that skips messages longer than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Decoder {
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            limit,
            message: None,
        }
    }

    /// Where to read more bytes to. It has room once [`Decoder::next`] gave `None`.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that `count` bytes were read into [`Decoder::spare`].
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// Takes the next whole thing out of what was read; `None` when more must be read first.
    pub(crate) fn next(&mut self) -> Result<Option<ServerMessage>, ProtocolError> {
        loop {
            if self
                .message
                .as_ref()
                .is_some_and(|message| message.missing > 0)
            {
                match self.extend() {
                    Some(received) => return Ok(Some(received)),
                    None if self.start == self.end => return Ok(None),
                    None => continue,
                }
            }
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            if header.opcode >= 8 {
                return self.control(&header);
            }
            if let Some(received) = self.data(&header)? {
                return Ok(Some(received));
            }
        }
    }

    fn available(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn header(&self) -> Result<Option<Header>, ProtocolError> {
        let bytes = self.available();
        let &[first, second, ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        if second & 0x80 != 0 {
            return Err(ProtocolError::Masked);
        }
        let (length, size) = match second {
            126 => match bytes.get(2..4).and_then(|it| it.try_into().ok()) {
                Some(length) => (u64::from(u16::from_be_bytes(length)), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|it| it.try_into().ok()) {
                Some(length) => (u64::from_be_bytes(length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if length >> 63 != 0 {
            return Err(ProtocolError::Length);
        }
        Ok(Some(Header {
            is_final: first & 0x80 != 0,
            opcode: first & 0x0f,
            length,
            size,
        }))
    }

    fn control(&mut self, header: &Header) -> Result<Option<ServerMessage>, ProtocolError> {
        if !header.is_final || header.length > MAX_CONTROL {
            return Err(ProtocolError::Control);
        }
        let end = header.size + header.length as usize;
        let Some(payload) = self.available().get(header.size..end) else {
            return Ok(None);
        };
        let received = match header.opcode {
            8 => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                ServerMessage::Close(
                    code,
                    String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned(),
                )
            }
            9 => ServerMessage::Ping(Bytes::copy_from_slice(payload)),
            10 => ServerMessage::Pong(Bytes::copy_from_slice(payload)),
            other => return Err(ProtocolError::Opcode(other)),
        };
        self.start += end;
        Ok(Some(received))
    }

    /// Begins a message or a fragment of one; gives the message where it is all there.
    fn data(&mut self, header: &Header) -> Result<Option<ServerMessage>, ProtocolError> {
        match (header.opcode, &self.message) {
            (0, None) | (1 | 2, Some(_)) => return Err(ProtocolError::Fragments),
            (0..=2, _) => {}
            (other, _) => return Err(ProtocolError::Opcode(other)),
        }
        self.start += header.size;
        let payload = usize::try_from(header.length)
            .ok()
            .and_then(|length| self.available().get(..length));
        if let (1 | 2, true, Some(payload)) = (header.opcode, header.is_final, payload) {
            let received = if payload.len() > self.limit {
                ServerMessage::TooLong {
                    length: header.length,
                    head: Bytes::copy_from_slice(payload.get(..HEAD).unwrap_or(payload)),
                }
            } else {
                // A copy of its own: a small event that is held for long must not hold the whole buffer with it.
                ServerMessage::Message(Bytes::copy_from_slice(payload))
            };
            self.start += header.length as usize;
            return Ok(Some(received));
        }
        let message = self.message.get_or_insert_default();
        message.length = message.length.saturating_add(header.length);
        message.missing = header.length;
        message.is_last = header.is_final;
        if message.length > self.limit as u64 {
            // The allocated memory is freed.
            message.kept.truncate(HEAD);
            message.kept.shrink_to_fit();
        } else {
            message
                .kept
                .reserve_exact(header.length.min(MAX_RESERVE) as usize);
        }
        Ok(self.extend())
    }

    /// Adds what is there to the message under way; gives it once it is whole.
    fn extend(&mut self) -> Option<ServerMessage> {
        let message = self.message.as_mut()?;
        let available = self.buffer.get(self.start..self.end).unwrap_or_default();
        let count = usize::try_from(message.missing)
            .unwrap_or(usize::MAX)
            .min(available.len());
        let wanted = if message.length <= self.limit as u64 {
            count
        } else {
            count.min(HEAD.saturating_sub(message.kept.len()))
        };
        message
            .kept
            .extend_from_slice(available.get(..wanted).unwrap_or_default());
        self.start += count;
        message.missing -= count as u64;
        if message.missing > 0 || !message.is_last {
            return None;
        }
        let message = self.message.take()?;
        Some(if message.length > self.limit as u64 {
            ServerMessage::TooLong {
                length: message.length,
                head: message.kept.into(),
            }
        } else {
            ServerMessage::Message(message.kept.into())
        })
    }
}

#[cfg(test)]
mod tests;
