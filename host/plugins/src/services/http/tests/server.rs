//! A server on loopback whose answers a test makes byte by byte.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::LOCAL;
use crate::grant::HostPattern;

/// A server that notes the requests that it gets.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// A server that answers each request by the text that `answer` returns, and closes the connection.
    pub(super) async fn new(
        ip: IpAddr,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::at(SocketAddr::new(ip, 0), answer).await
    }

    pub(super) async fn at(
        address: SocketAddr,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = hear(&mut stream).await else {
                    continue;
                };
                let text = answer(&request);
                log.lock().unwrap().push(request);
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Self {
            address,
            heard,
            task,
        }
    }

    /// A server that passes each connection to `serve`, after reading its request.
    pub(super) async fn raw<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if hear(&mut stream).await.is_some() {
                    let _ = serve(stream).await;
                }
            }
        });
        Self {
            address,
            heard: Arc::default(),
            task,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn grant(&self) -> HostPattern {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one request, head and body.
async fn hear(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

pub(super) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

pub(super) fn redirect(status: u16, to: &str) -> String {
    answer(
        &format!("{status} There"),
        &format!("location: {to}\r\n"),
        "old",
    )
}
