//! WebSocket frames (RFC 6455, section 5.2) as a server writes and reads them, invalid ones included.

use std::io::Cursor;

use bytes::{Buf, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The kind of a frame: the first byte of an unfragmented one, with the `FIN` bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text = 0x81,
    Binary = 0x82,
    Close = 0x88,
    Ping = 0x89,
    Pong = 0x8a,
}

/// Appends one whole server frame to `out`; the payload is not looked at, so that text may be invalid UTF-8.
pub(crate) fn write(kind: Kind, payload: &[u8], out: &mut BytesMut) {
    write_header(kind, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends the header of a server frame of `length` payload bytes.
pub(crate) fn write_header(kind: Kind, length: usize, out: &mut BytesMut) {
    let first = kind as u8;
    // 125, 16 bits and 63 bits are the three lengths of the header; a `usize` always fits the last.
    match u16::try_from(length) {
        Ok(short) if short < 126 => out.extend_from_slice(&[first, short as u8]),
        Ok(middle) => {
            out.extend_from_slice(&[first, 126]);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        Err(_) => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// One whole server frame.
pub(crate) fn frame(kind: Kind, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    write(kind, payload, &mut out);
    out.freeze()
}

/// One whole server frame whose payload comes in parts.
pub(crate) fn joined(kind: Kind, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut out = BytesMut::with_capacity(length + 10);
    write_header(kind, length, &mut out);
    for part in parts {
        out.extend_from_slice(part);
    }
    out.freeze()
}

/// Why a client is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// Section 5.1: a client masks all that it sends.
    #[error("a frame of the client was not masked")]
    NotMasked,
    /// Reserved opcodes, a fragmented control frame, a continuation of nothing.
    #[error("a frame of the client was malformed")]
    Malformed,
    /// More than the protocol allows, in bytes.
    #[error("a message of the client was longer than {0} bytes")]
    TooLong(usize),
}

/// Puts messages together from the bytes of a client.
#[derive(Debug)]
pub(crate) struct Reader {
    /// A client that sends more bytes in one message is cut off.
    longest: usize,
    /// The kind and the bytes of a message of which not all fragments have come.
    partial: Option<(Kind, BytesMut)>,
    fragmented: bool,
}

impl Reader {
    pub(crate) fn new(longest: usize) -> Self {
        Reader {
            longest,
            partial: None,
            fragmented: false,
        }
    }

    /// Whether the last message that was returned came in several frames.
    pub(crate) fn was_fragmented(&self) -> bool {
        self.fragmented
    }

    /// Takes the next whole message off the front of `input`; `None` until more bytes have come.
    pub(crate) fn next(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<(Kind, Bytes)>, ReadError> {
        loop {
            let mut cursor = Cursor::new(&input[..]);
            let parsed = FrameHeader::parse(&mut cursor).map_err(|_| ReadError::Malformed)?;
            let Some((header, length)) = parsed else {
                return Ok(None);
            };
            let before = cursor.position() as usize;
            let so_far = self.partial.as_ref().map_or(0, |(_, bytes)| bytes.len());
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length.saturating_add(so_far) > self.longest {
                return Err(ReadError::TooLong(self.longest));
            }
            if input.len() < before + length {
                return Ok(None);
            }
            input.advance(before);
            let mut payload = input.split_to(length);
            let mask = header.mask.ok_or(ReadError::NotMasked)?;
            for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= key;
            }
            if let Some(whole) = self.assemble(header.opcode, header.is_final, payload)? {
                return Ok(Some(whole));
            }
        }
    }

    fn assemble(
        &mut self,
        opcode: OpCode,
        is_final: bool,
        payload: BytesMut,
    ) -> Result<Option<(Kind, Bytes)>, ReadError> {
        let start = match opcode {
            OpCode::Control(_) if !is_final => return Err(ReadError::Malformed),
            OpCode::Control(Control::Close) => return Ok(Some((Kind::Close, payload.freeze()))),
            OpCode::Control(Control::Ping) => return Ok(Some((Kind::Ping, payload.freeze()))),
            OpCode::Control(Control::Pong) => return Ok(Some((Kind::Pong, payload.freeze()))),
            OpCode::Data(Data::Text) => Some(Kind::Text),
            OpCode::Data(Data::Binary) => Some(Kind::Binary),
            OpCode::Data(Data::Continue) => None,
            OpCode::Control(_) | OpCode::Data(_) => return Err(ReadError::Malformed),
        };
        self.fragmented = start.is_none();
        let (kind, bytes) = match (start, self.partial.take()) {
            (Some(kind), None) => (kind, payload),
            (None, Some((kind, mut bytes))) => {
                bytes.extend_from_slice(&payload);
                (kind, bytes)
            }
            (Some(_), Some(_)) | (None, None) => return Err(ReadError::Malformed),
        };
        if is_final {
            return Ok(Some((kind, bytes.freeze())));
        }
        self.partial = Some((kind, bytes));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];
    const LONGEST: usize = 1000;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            short @ 0..=125 => out.push(0x80 | short as u8),
            middle => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(middle as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
        out
    }

    fn check(input: &[u8], expect: Result<Vec<(Kind, &[u8])>, ReadError>) {
        // The result is the same whether the bytes come at once or one at a time.
        for step in [input.len().max(1), 1] {
            let (mut reader, mut buffer, mut seen) =
                (Reader::new(LONGEST), BytesMut::new(), Vec::new());
            let mut result = Ok(());
            'all: for chunk in input.chunks(step) {
                buffer.extend_from_slice(chunk);
                loop {
                    match reader.next(&mut buffer) {
                        Ok(Some(message)) => seen.push(message),
                        Ok(None) => break,
                        Err(error) => {
                            result = Err(error);
                            break 'all;
                        }
                    }
                }
            }
            match (&expect, result) {
                (Err(expect), Err(error)) => assert_eq!(*expect, error),
                (Ok(expect), Ok(())) => {
                    let seen: Vec<(Kind, &[u8])> = seen.iter().map(|(k, b)| (*k, &b[..])).collect();
                    assert_eq!(*expect, seen);
                }
                (expect, result) => panic!("expected {expect:?}, got {result:?}"),
            }
        }
    }

    #[test]
    fn a_masked_message_is_read() {
        check(&masked(0x81, b"hello"), Ok(vec![(Kind::Text, b"hello")]));
        check(&masked(0x89, b""), Ok(vec![(Kind::Ping, b"")]));
        let long = vec![b'x'; 300];
        check(&masked(0x82, &long), Ok(vec![(Kind::Binary, &long)]));
    }

    #[test]
    fn fragments_are_joined_around_a_ping() {
        let input = [
            masked(0x01, b"hel"),
            masked(0x89, b"p"),
            masked(0x00, b"l"),
            masked(0x80, b"o"),
        ];
        check(
            &input.concat(),
            Ok(vec![(Kind::Ping, b"p"), (Kind::Text, b"hello")]),
        );
    }

    #[test]
    fn a_message_in_several_frames_is_known_as_such() {
        let mut reader = Reader::new(LONGEST);
        for (frames, expect) in [
            (vec![masked(0x81, b"x")], false),
            (vec![masked(0x01, b"x"), masked(0x80, b"y")], true),
            (vec![masked(0x81, b"x")], false),
        ] {
            let mut input = BytesMut::from(&frames.concat()[..]);
            reader.next(&mut input).unwrap().unwrap();
            assert_eq!(reader.was_fragmented(), expect);
        }
    }

    #[test]
    fn frames_that_break_the_rules_are_refused() {
        check(&[0x81, 1, b'x'], Err(ReadError::NotMasked));
        check(&masked(0x80, b"x"), Err(ReadError::Malformed));
        check(&masked(0x09, b"x"), Err(ReadError::Malformed));
        check(&masked(0x83, b"x"), Err(ReadError::Malformed));
        check(
            &masked(0x81, &vec![b'x'; LONGEST + 1]),
            Err(ReadError::TooLong(LONGEST)),
        );
    }

    #[test]
    fn the_three_lengths_are_written() {
        assert_eq!(&frame(Kind::Text, b"hi")[..], b"\x81\x02hi");
        assert_eq!(&frame(Kind::Text, &[b'x'; 200])[..4], b"\x81\x7e\x00\xc8");
        assert_eq!(
            &frame(Kind::Binary, &vec![0; 70_000])[..10],
            b"\x82\x7f\0\0\0\0\0\x01\x11\x70"
        );
    }
}
