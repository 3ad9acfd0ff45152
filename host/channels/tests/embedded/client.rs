//! A client that shows replies as they stand on the wire.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Sends a request and leaves its reply to [`Client::reply`].
    pub(crate) async fn send(&mut self, request: &[impl AsRef<[u8]>]) {
        let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
        for argument in request {
            let argument = argument.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            bytes.extend_from_slice(argument);
            bytes.extend_from_slice(b"\r\n");
        }
        self.send_raw(&bytes).await;
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    /// The next reply, whole, with spaces for its line breaks; empty when the server has closed.
    pub(crate) async fn reply(&mut self) -> String {
        let lines = self.reply_lines().await;
        lines.iter().map(|line| format!("{line} ")).collect()
    }

    /// The lines of the next reply, a bulk string as one of them; none when the server has closed.
    pub(crate) async fn reply_lines(&mut self) -> Vec<String> {
        let (mut lines, mut missing) = (Vec::new(), 1);
        while missing > 0 {
            let mut line = String::new();
            // A connection that is reset is as closed as one that ends.
            if self.0.read_line(&mut line).await.unwrap_or(0) == 0 {
                return lines;
            }
            missing -= 1;
            lines.push(line.trim_end().to_owned());
            let length = line[1..].trim_end().parse::<i64>().unwrap_or(-1);
            match (&line[..1], usize::try_from(length)) {
                ("$", Ok(length)) => {
                    let mut bulk = vec![0; length + 2];
                    self.0.read_exact(&mut bulk).await.unwrap();
                    lines.push(bulk[..length].escape_ascii().to_string());
                }
                ("*" | ">", Ok(length)) => missing += length,
                ("%", Ok(length)) => missing += 2 * length,
                _ => {}
            }
        }
        lines
    }

    /// Sends a request and gives its reply.
    pub(crate) async fn call(&mut self, request: &[impl AsRef<[u8]>]) -> String {
        self.send(request).await;
        self.reply().await
    }
}
