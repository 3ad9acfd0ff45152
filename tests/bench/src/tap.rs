//! A tap before Redis: passes all on, and says when a marked event went by.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The mark of an event in a command: this, and six digits.
const MARK: &[u8] = b"event-";

/// A listener that passes each connection on to Redis. Dropping it ends all of them.
pub(crate) struct Tap {
    port: u16,
    seen: mpsc::Receiver<(usize, Instant)>,
    _connections: JoinSet<()>,
}

impl Tap {
    /// A tap before the Redis at `redis`.
    pub(crate) async fn before(redis: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("loopback has a free port");
        let port = listener
            .local_addr()
            .expect("a listener has an address")
            .port();
        let (tell, seen) = mpsc::channel(1024);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", redis))
                    .await
                    .expect("our Redis runs");
                passing.spawn(pass(client, server, tell.clone()));
            }
        });
        Self {
            port,
            seen,
            _connections: connections,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The time from calling `send` until event `number` goes by.
    pub(crate) async fn time(&mut self, number: usize, send: impl FnOnce()) -> Duration {
        self.time_async(number, async { send() }).await
    }

    /// As [`Tap::time`], for what is sent asynchronously.
    pub(crate) async fn time_async(
        &mut self,
        number: usize,
        send: impl Future<Output = ()>,
    ) -> Duration {
        // Nothing else is under way: the process that is measured has gone to sleep, as it does between Slack's events.
        tokio::time::sleep(Duration::from_micros(300)).await;
        let began = Instant::now();
        send.await;
        let seen = async {
            while let Some((passed, at)) = self.seen.recv().await {
                if passed == number {
                    return at;
                }
            }
            panic!("the tap has ended")
        };
        timeout(Duration::from_secs(10), seen)
            .await
            .expect("the event comes by")
            - began
    }
}

async fn pass(client: TcpStream, server: TcpStream, tell: mpsc::Sender<(usize, Instant)>) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket can be set");
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let commands = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let now = Instant::now();
            if let Some(number) = marked(&buffer[..count]) {
                tell.send((number, now)).await.ok();
            }
            if to_server.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    let answers = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! {
        () = commands => {}
        _ = answers => {}
    }
}

/// The number of the first marked event in `bytes`.
pub(crate) fn marked(bytes: &[u8]) -> Option<usize> {
    let at = bytes
        .windows(MARK.len())
        .position(|window| window == MARK)?
        + MARK.len();
    std::str::from_utf8(bytes.get(at..at + 6)?)
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_event_is_found_by_its_number() {
        assert_eq!(marked(b"*3 ... \xa4textevent-000123 x"), Some(123));
        assert_eq!(marked(b"event-12"), None);
        assert_eq!(marked(b"PING"), None);
    }
}
