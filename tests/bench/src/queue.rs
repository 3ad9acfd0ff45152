//! The queue that a contestant fills, watched from outside: how long it is, and when all is in it.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

/// Longest that a queue may stand still before the run is given up: longer than a local Slack here waits before it gives
/// again what a peer lost with its connection.
const STALL: Duration = Duration::from_secs(90);

/// A queue in Redis, and a connection to ask of it.
#[derive(Clone)]
pub(crate) struct Queue {
    connection: MultiplexedConnection,
    /// The command that gives its length, and its key.
    length: (&'static str, &'static str),
    /// Messages that were taken since it was empty.
    taken: u64,
}

impl Queue {
    /// The queue of channel `slack.message` in the layout of channels_redis: a sorted set.
    pub(crate) async fn channels_redis(port: u16) -> Self {
        Self {
            connection: connect(port).await,
            length: ("ZCARD", "asgislack.message"),
            taken: 0,
        }
    }

    /// The same channel in the layout of asgi_redis: a list.
    pub(crate) async fn asgi_redis(port: u16) -> Self {
        Self {
            connection: connect(port).await,
            length: ("LLEN", "asgi:slack.message"),
            taken: 0,
        }
    }

    /// Empties the server.
    pub(crate) async fn clear(&mut self) {
        self.taken = 0;
        let () = redis::cmd("FLUSHALL")
            .query_async(&mut self.connection)
            .await
            .expect("Redis answers");
    }

    /// The bytes of one member of a sorted set.
    pub(crate) async fn member(&mut self) -> Vec<u8> {
        let found: Vec<Vec<u8>> = redis::cmd("ZRANGE")
            .arg(self.length.1)
            .arg(0)
            .arg(0)
            .query_async(&mut self.connection)
            .await
            .expect("Redis answers");
        found
            .into_iter()
            .next()
            .expect("the queue holds what was sent")
    }

    /// The newest `count` members of a sorted set, the newest first; all with 0.
    pub(crate) async fn newest(&mut self, count: isize) -> Vec<Vec<u8>> {
        redis::cmd("ZREVRANGE")
            .arg(self.length.1)
            .arg(0)
            .arg(count - 1)
            .query_async(&mut self.connection)
            .await
            .expect("Redis answers")
    }

    /// How many messages came, those that were taken included.
    pub(crate) async fn length(&mut self) -> u64 {
        let (command, key) = self.length;
        let waiting: u64 = redis::cmd(command)
            .arg(key)
            .query_async(&mut self.connection)
            .await
            .expect("Redis answers");
        self.taken + waiting
    }

    /// Takes all messages that are there.
    async fn take(&mut self) {
        let (command, key) = self.length;
        let (taken,): (u64,) = redis::pipe()
            .atomic()
            .cmd(command)
            .arg(key)
            .cmd("UNLINK")
            .arg(key)
            .ignore()
            .query_async(&mut self.connection)
            .await
            .expect("Redis answers");
        self.taken += taken;
    }

    /// Waits until `count` messages have come, or until it has stood still for so long that no more will come.
    /// It looks every fiftieth of the time that has passed, so as not to disturb.
    pub(crate) async fn wait_for(&mut self, count: u64) -> Arrival {
        let began = Instant::now();
        let (mut before, mut moved) = (0, began);
        loop {
            let length = self.length().await;
            let now = Instant::now();
            if length != before {
                (before, moved) = (length, now);
            }
            // As a worker does: events that nobody reads wait on the disk of a bridge once some thousands lie here.
            if length > self.taken && length < count {
                self.take().await;
            }
            if length >= count || now - moved >= STALL {
                return Arrival {
                    messages: length,
                    at: moved,
                };
            }
            let pause = (now - began) / 50;
            tokio::time::sleep(pause.clamp(Duration::from_micros(500), Duration::from_millis(20)))
                .await;
        }
    }
}

/// Messages that came into a queue, and when the last one did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) messages: u64,
    pub(crate) at: Instant,
}

impl Arrival {
    /// The time of the last message, for a program that may lose none.
    ///
    /// # Panics
    /// If fewer than `count` came.
    pub(crate) fn of_all(self, count: u64) -> Instant {
        assert!(
            self.messages >= count,
            "{} of {count} messages came, and no more within {STALL:?}",
            self.messages
        );
        self.at
    }
}

/// A connection that waits for an answer for as long as it takes: a read may block, and a busy machine is slow.
pub(crate) async fn connect(port: u16) -> MultiplexedConnection {
    let client = redis::Client::open(("127.0.0.1", port)).expect("an address is a client");
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .expect("our Redis runs")
}
