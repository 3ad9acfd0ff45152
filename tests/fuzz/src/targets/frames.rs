//! The frames of a WebSocket server, in pieces of any size, compared with tungstenite.

use std::cell::RefCell;
use std::io::{self, Cursor, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use djangobot_slack::ws::{Liveness, ServerMessage, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

use crate::{Target, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "frames",
    check,
    seeds,
    words: &[
        "\u{1}\u{0}",
        "\u{0}",
        "\u{9}\u{0}",
        "~",
        "\u{7f}",
        "{\"type\":\"hello\"}",
    ],
    longest: 1024,
};

/// Short, so that messages beyond it are met.
const LIMIT: usize = 300;

fn seeds() -> Vec<Vec<u8>> {
    let frame = |first: u8, payload: &[u8]| {
        let mut frame = vec![first];
        match payload.len() {
            short @ ..126 => frame.push(short as u8),
            long => {
                frame.push(126);
                frame.extend((long as u16).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    };
    let hello = br#"{"type":"hello"}"#;
    let close = b"\x03\xe8bye";
    let seeds = [
        frame(0x81, hello),
        [
            frame(0x01, b"{\"a\":"),
            frame(0x89, b"ping"),
            frame(0x00, b"1"),
            frame(0x80, b"}"),
        ]
        .concat(),
        [
            frame(0x82, b"\xff\xfe"),
            frame(0x8a, b"pong"),
            frame(0x81, b""),
        ]
        .concat(),
        [frame(0x81, &b"x".repeat(301)), frame(0x81, hello)].concat(),
        [
            frame(0x01, &b"x".repeat(299)),
            frame(0x80, b"yy"),
            frame(0x81, hello),
        ]
        .concat(),
        [frame(0x88, close), frame(0x81, hello)].concat(),
        b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01x".to_vec(),
        b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xffx".to_vec(),
        b"\xc1\x01x".to_vec(),
        b"\x81\x81aaaax".to_vec(),
    ];
    let seeds = seeds.iter().enumerate();
    seeds
        .map(|(at, seed)| [&[at as u8][..], seed].concat())
        .collect()
}

fn check(input: &[u8]) {
    let (choice, bytes) = pieces::choice(input);
    let (whole, end) = proportion::bounded_by(512 << 10, || receive(bytes, usize::MAX));
    let (pieces, same) = receive(bytes, 1 + choice % 16);
    assert_eq!(
        (&pieces, &same),
        (&whole, &end),
        "in pieces of {}",
        1 + choice % 16
    );
    let theirs = by_tungstenite(bytes);
    assert!(
        whole.starts_with(&theirs),
        "{whole:?} was received, and it begins with {theirs:?}"
    );
}

/// The messages that come out, and the reason why no more do.
fn receive(bytes: &[u8], piece: usize) -> (Vec<ServerMessage>, String) {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            Builder::new_current_thread().enable_time().build().expect("a runtime")
        );
    }
    let liveness = Liveness {
        ping_every: Duration::from_secs(3600),
        silence: Duration::from_secs(7200),
    };
    let mut received = Vec::new();
    let reading = async {
        let mut socket = Socket::new(Pieces { bytes, piece }, LIMIT, liveness);
        loop {
            match socket.take() {
                Ok(Some(next)) => received.push(next),
                Ok(None) => match socket.wait().await {
                    Ok(_) => {}
                    Err(end) => return end.to_string(),
                },
                Err(end) => return end.to_string(),
            }
        }
    };
    let end = RUNTIME.with_borrow(|runtime| runtime.block_on(reading));
    (received, end)
}

/// The messages that tungstenite receives up to its first error. It is stricter with contents and with codes.
fn by_tungstenite(bytes: &[u8]) -> Vec<ServerMessage> {
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(Some(1 << 20));
    let mut socket =
        WebSocket::from_raw_socket(Duplex(Cursor::new(bytes)), Role::Client, Some(config));
    let mut received = Vec::new();
    let message = |payload: bytes::Bytes| match payload.len() {
        length if length > LIMIT => ServerMessage::TooLong {
            length: length as u64,
            head: payload,
        },
        _ => ServerMessage::Message(payload),
    };
    while let Ok(next) = socket.read() {
        match next {
            Message::Text(text) => received.push(message(text.into())),
            Message::Binary(payload) => received.push(message(payload)),
            Message::Close(None) => received.push(ServerMessage::Close(None, String::new())),
            // It has put this in the place of a code that it does not like.
            Message::Close(Some(frame)) if frame.reason.as_str() == "Protocol violation" => break,
            Message::Close(Some(frame)) => received.push(ServerMessage::Close(
                Some(frame.code.into()),
                frame.reason.as_str().to_owned(),
            )),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    received
}

/// Gives bytes in pieces, and takes what is written.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.piece.min(out.remaining()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(count);
        out.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The same without a runtime.
struct Duplex<'a>(Cursor<&'a [u8]>);

impl Read for Duplex<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Duplex<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
