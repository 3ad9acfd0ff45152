//! The stream of bytes to a server, over TCP, a Unix socket or TLS, with error lines escaped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::config::{Endpoint, Host};
use crate::tls;

/// How many bytes are read at once.
const CHUNK: usize = 16 * 1024;

/// Both directions of a connection.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection to a server.
///
/// A server's error line may quote bytes that are not text, such as a member of a queue. The client library takes such
/// a line for a broken connection, so it is escaped before the library reads it.
pub(crate) struct Stream {
    inner: Box<dyn Duplex>,
    lines: ErrorLines,
    /// Bytes that were read and escaped, and that the library has not taken yet.
    ready: BytesMut,
}

impl Stream {
    /// Connects to `host`, which must not be a Sentinel endpoint.
    pub(crate) async fn connect(host: &Host) -> io::Result<Self> {
        let inner: Box<dyn Duplex> = match (&host.endpoint, &host.tls) {
            (Endpoint::Tcp(name, port), Some(tls)) => {
                Box::new(tls::connect(name, *port, tls, host.connect_timeout).await?)
            }
            (Endpoint::Tcp(name, port), None) => {
                let stream = TcpStream::connect((name.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            (Endpoint::Unix(path), _) => Box::new(UnixStream::connect(path).await?),
            (Endpoint::Sentinel { .. }, _) => {
                return Err(io::Error::other(
                    "the address of a Sentinel's master is not known yet",
                ));
            }
        };
        Ok(Self {
            inner,
            lines: ErrorLines::Start,
            ready: BytesMut::new(),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ready.is_empty() {
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            this.lines.escape(read.filled(), &mut this.ready);
        }
        let length = this.ready.len().min(buffer.remaining());
        buffer.put_slice(&this.ready[..length]);
        this.ready.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// A stream of answers as the client library sees it, if it arrives in pieces of `size` bytes.
pub fn readable(input: &[u8], size: usize) -> Vec<u8> {
    let (mut lines, mut output) = (ErrorLines::Start, BytesMut::new());
    for piece in input.chunks(size) {
        lines.escape(piece, &mut output);
    }
    output.to_vec()
}

/// The position in a server's answers, with as much of RESP as is needed to find the error lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorLines {
    /// Before the first byte of a value.
    Start,
    /// In a line that passes unchanged.
    Line,
    /// In an error line.
    Error,
    /// In the length of a string; `None` if the string is null.
    Length(Option<u64>),
    /// In a string that has this many bytes to come.
    Text(u64),
}

impl ErrorLines {
    /// Appends `input` to `output`, with error lines escaped to plain ASCII.
    fn escape(&mut self, mut input: &[u8], output: &mut BytesMut) {
        while let Some(&byte) = input.first() {
            let passed = match *self {
                Self::Text(rest) => {
                    let passed = input.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
                    let rest = rest - passed as u64;
                    *self = if rest == 0 {
                        Self::Start
                    } else {
                        Self::Text(rest)
                    };
                    passed
                }
                Self::Line => match input.iter().position(|it| *it == b'\n') {
                    Some(end) => {
                        *self = Self::Start;
                        end + 1
                    }
                    None => input.len(),
                },
                Self::Start => {
                    *self = match byte {
                        b'-' => Self::Error,
                        b'$' | b'=' | b'!' => Self::Length(Some(0)),
                        _ => Self::Line,
                    };
                    1
                }
                Self::Length(length) => {
                    *self = match (byte, length) {
                        // Two more bytes, because a line break follows the string.
                        (b'\n', Some(length)) => Self::Text(length.saturating_add(2)),
                        (b'\n', None) => Self::Start,
                        (b'0'..=b'9', Some(length)) => Self::Length(Some(
                            length
                                .saturating_mul(10)
                                .saturating_add(u64::from(byte - b'0')),
                        )),
                        (b'\r', length) => Self::Length(length),
                        _ => Self::Length(None),
                    };
                    1
                }
                Self::Error => {
                    if byte == b'\n' {
                        *self = Self::Start;
                    }
                    if byte == b' ' || byte.is_ascii_graphic() || matches!(byte, b'\r' | b'\n') {
                        1
                    } else {
                        output.put_slice(format!("\\x{byte:02x}").as_bytes());
                        input = &input[1..];
                        0
                    }
                }
            };
            output.put_slice(&input[..passed]);
            input = &input[passed..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_lines_are_escaped_and_everything_else_passes_unchanged() {
        let text = b"$12\r\n-\xff\r\n-\xff\r\nabc\r\n+OK\r\n$-1\r\n*2\r\n:1\r\n%1\r\n$0\r\n\r\n_\r\n!3\r\n-\xfe-\r\n";
        let check = |input: &[u8], expect: &[u8]| {
            for size in [1, 2, 3, 7, input.len()] {
                assert_eq!(readable(input, size), expect, "in pieces of {size}");
            }
        };
        check(text, text);
        check(
            b"-ERR unknown '\xc3\xa9\xff\x00'\r\n+PONG\r\n",
            b"-ERR unknown '\\xc3\\xa9\\xff\\x00'\r\n+PONG\r\n",
        );
        check(
            b"*2\r\n-ERR \xff\r\n$1\r\n\xff\r\n",
            b"*2\r\n-ERR \\xff\r\n$1\r\n\xff\r\n",
        );
    }
}
