//! Events of a type of their own, timed from Slack to the one who reads their channel, while something else goes on.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

use crate::queue::connect;
use crate::socket_mode::SocketMode;
use crate::tap::marked;

/// How many are sent in a second.
const RATE: u32 = 500;
/// Longest that one may be under way before the run is given up.
const STALL: Duration = Duration::from_secs(20);
/// Their type, and their channel's key in Redis.
const KIND: &str = "probe";
const KEY: &str = "asgislack.probe";

/// Probes of one bridge; their numbers go on, so that none is taken for another.
pub(super) struct Probes<'a> {
    bridge: &'a SocketMode,
    next: usize,
}

impl<'a> Probes<'a> {
    pub(super) fn new(bridge: &'a SocketMode) -> Self {
        Self { bridge, next: 0 }
    }

    /// Sends them until `work` is done; gives what came of that, and the milliseconds that each took.
    pub(super) async fn beside<T>(
        &mut self,
        redis: u16,
        work: impl Future<Output = T>,
    ) -> (T, Vec<f64>) {
        let first = self.next;
        let (sent, all) = (RefCell::new(Vec::<Instant>::new()), Cell::new(None));
        let sending = async {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
            loop {
                ticks.tick().await;
                let number = first + sent.borrow().len();
                sent.borrow_mut().push(Instant::now());
                self.bridge.emit(KIND, number);
            }
        };
        let working = async {
            let out = tokio::select! {
                out = work => out,
                () = sending => unreachable!("it has no end"),
            };
            all.set(Some(sent.borrow().len()));
            out
        };
        let reading = async {
            let mut reader = connect(redis).await;
            let (mut millis, mut last) = (Vec::new(), Instant::now());
            while all.get().is_none_or(|all| millis.len() < all) {
                assert!(last.elapsed() < STALL, "probes were sent and none comes");
                let Some(number) = pop(&mut reader).await else {
                    continue;
                };
                last = Instant::now();
                let sent = sent.borrow()[number - first];
                millis.push((last - sent).as_secs_f64() * 1e3);
            }
            millis
        };
        let (out, millis) = tokio::join!(working, reading);
        self.next = first + millis.len();
        (out, millis)
    }
}

/// The number of the next one, if it comes soon.
async fn pop(reader: &mut MultiplexedConnection) -> Option<usize> {
    let popped: Option<(Vec<u8>, Vec<u8>, f64)> = redis::cmd("BZPOPMIN")
        .arg(KEY)
        .arg(0.2)
        .query_async(reader)
        .await
        .expect("Redis answers");
    marked(&popped?.1)
}
