//! Frames by hand, cut into pieces of every size.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A frame as a server writes it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(short as u8),
        middle @ ..65536 => {
            frame.push(126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// Feeds bytes in pieces of one size, and collects what comes out, to the first error.
fn decode(bytes: &[u8], piece: usize, limit: usize) -> Result<Vec<ServerMessage>, ProtocolError> {
    let mut decoder = Decoder::new(limit);
    let mut received = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let spare = decoder.spare();
            let count = spare.len().min(piece.len());
            assert!(count > 0, "there is always room");
            spare[..count].copy_from_slice(&piece[..count]);
            decoder.filled(count);
            piece = &piece[count..];
            while let Some(next) = decoder.next()? {
                received.push(next);
            }
        }
    }
    Ok(received)
}

fn check(bytes: &[u8], expect: Result<Vec<ServerMessage>, ProtocolError>) {
    for piece in [1, 2, 3, 7, 200, 70_000, usize::MAX] {
        assert_eq!(decode(bytes, piece, 1000), expect, "in pieces of {piece}");
    }
}

fn message(payload: &[u8]) -> ServerMessage {
    ServerMessage::Message(Bytes::copy_from_slice(payload))
}

#[test]
fn messages_of_all_lengths_come_whole() {
    for length in [0, 1, 125, 126, 127, 999, 1000] {
        let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let bytes = [frame(0x81, &payload), frame(0x82, &payload)].concat();
        check(&bytes, Ok(vec![message(&payload), message(&payload)]));
    }
}

#[test]
fn text_that_is_not_utf8_is_left_to_the_caller() {
    check(
        &frame(0x81, b"{\"a\":\"\xff\xfe\"}"),
        Ok(vec![message(b"{\"a\":\"\xff\xfe\"}")]),
    );
}

#[test]
fn fragments_make_one_message_and_control_frames_may_come_between() {
    let bytes = [
        frame(0x01, b"one "),
        frame(0x89, b"p"),
        frame(0x00, b""),
        frame(0x80, b"two"),
    ]
    .concat();
    check(
        &bytes,
        Ok(vec![
            ServerMessage::Ping(Bytes::from_static(b"p")),
            message(b"one two"),
        ]),
    );
}

#[test]
fn a_message_that_is_too_long_is_skipped_and_the_next_one_comes() {
    let long = vec![b'x'; 1001];
    let too_long = |length| ServerMessage::TooLong {
        length,
        head: vec![b'x'; 4096.min(length as usize)].into(),
    };
    let bytes = [frame(0x81, &long), frame(0x81, b"after")].concat();
    check(&bytes, Ok(vec![too_long(1001), message(b"after")]));

    let bytes = [
        frame(0x01, &long[..600]),
        frame(0x80, &long[..600]),
        frame(0x81, b"after"),
    ]
    .concat();
    check(&bytes, Ok(vec![too_long(1200), message(b"after")]));

    let bytes = [frame(0x81, &vec![b'x'; 300_000]), frame(0x81, b"after")].concat();
    check(&bytes, Ok(vec![too_long(300_000), message(b"after")]));
}

#[test]
fn a_close_has_a_code_and_words_or_neither() {
    check(
        &frame(0x88, b""),
        Ok(vec![ServerMessage::Close(None, String::new())]),
    );
    check(
        &frame(0x88, b"\x03\xe8bye"),
        Ok(vec![ServerMessage::Close(Some(1000), "bye".into())]),
    );
    check(
        &frame(0x88, b"\x03\xe8\xff"),
        Ok(vec![ServerMessage::Close(Some(1000), "\u{fffd}".into())]),
    );
}

#[test]
fn a_frame_that_breaks_the_framing_is_an_error() {
    check(
        &frame(0xc1, b"compressed"),
        Err(ProtocolError::ReservedBits),
    );
    check(&[0x81, 0x81, 1, 2, 3, 4, 5], Err(ProtocolError::Masked));
    check(&frame(0x83, b""), Err(ProtocolError::Opcode(3)));
    check(&frame(0x8b, b""), Err(ProtocolError::Opcode(11)));
    check(&frame(0x09, b""), Err(ProtocolError::Control));
    check(&frame(0x89, &[0; 126]), Err(ProtocolError::Control));
    check(&frame(0x80, b"of nothing"), Err(ProtocolError::Fragments));
    check(
        &[frame(0x01, b"a"), frame(0x81, b"b")].concat(),
        Err(ProtocolError::Fragments),
    );
    check(
        &[0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        Err(ProtocolError::Length),
    );
}

proptest! {
    #[test]
    fn messages_come_whole_however_they_are_cut(
        messages in vec((vec(vec(any::<u8>(), 0..300), 1..4), any::<bool>(), any::<bool>()), 0..8),
        piece in 1..700_usize,
    ) {
        let (mut bytes, mut expect) = (Vec::new(), Vec::new());
        for (fragments, is_text, is_interrupted) in messages {
            let last = fragments.len() - 1;
            for (at, fragment) in fragments.iter().enumerate() {
                let opcode = if at > 0 { 0 } else if is_text { 1 } else { 2 };
                bytes.extend(frame(if at == last { 0x80 } else { 0 } | opcode, fragment));
                if is_interrupted && at < last {
                    bytes.extend(frame(0x89, b"between"));
                    expect.push(ServerMessage::Ping(Bytes::from_static(b"between")));
                }
            }
            let whole = fragments.concat();
            expect.push(match whole.len() {
                length @ 501.. => ServerMessage::TooLong { length: length as u64, head: whole.into() },
                _ => message(&whole),
            });
        }
        prop_assert_eq!(decode(&bytes, piece, 500), Ok(expect));
    }
}

#[test]
fn no_bytes_can_make_it_panic_or_loop() {
    for _ in 0..2000 {
        let length = rand::random_range(0..400);
        let bytes: Vec<u8> = (0..length)
            .map(|at| {
                if at % 7 == 0 {
                    *b"\x81\x01\x00\x80\x89\x8a\x88".get(at % 5).unwrap()
                } else {
                    rand::random()
                }
            })
            .collect();
        let whole = decode(&bytes, usize::MAX, 50);
        assert_eq!(decode(&bytes, 1, 50), whole, "{bytes:?}");
    }
}
