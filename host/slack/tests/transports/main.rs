//! Socket Mode, HTTP and token rotation against a local Slack, which knows what became of everything that it sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that does not get what it expects has failed"
)]

mod http;
mod rotation;
mod socket_mode;

use std::{collections::BTreeSet, fmt, future::Future, time::Duration};

use djangobot_slack::{Frame, Incoming, Token, WebApi};
use local_slack::{LocalSlack, Options};
use tokio::sync::mpsc;

/// Retries that come soon enough for a test, and late enough for what is tested.
fn retrying() -> Options {
    Options {
        ack_timeout: Duration::from_millis(500),
        retry_delays: [0, 1000, 3000].map(Duration::from_millis),
        warning_time: Duration::from_millis(300),
        ..Options::default()
    }
}

async fn start(options: Options) -> LocalSlack {
    LocalSlack::start(options).await.unwrap()
}

fn client(slack: &LocalSlack, token: &str) -> WebApi {
    let base = slack.api_url().parse().unwrap();
    WebApi::new(base, Token::new(token).unwrap()).unwrap()
}

/// Waits for what must come, and fails the test rather than hang it.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what)
        .await
        .expect("it comes within two minutes")
}

/// The result of numbered traffic.
#[derive(Default)]
struct Taken {
    numbers: BTreeSet<u64>,
    /// Those that came again.
    again: u64,
    /// Those that had to be given again to come at all.
    late: u64,
    /// Frames that could not be read.
    bad: u64,
    connected: u64,
    hellos: u64,
    disconnected: u64,
    /// Whether, of those that Slack gave for the first time, each was newer than all before it.
    is_in_order: bool,
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} numbers, {} again, {} late, {} bad, {} times connected and {} disconnected",
            self.numbers.len(),
            self.again,
            self.late,
            self.bad,
            self.connected,
            self.disconnected
        )
    }
}

impl Taken {
    fn is_all(&self, count: u64) -> bool {
        self.numbers.iter().copied().eq(0..count)
    }

    fn take(&mut self, frame: Frame) {
        let Ok(event) = &frame.event else {
            self.bad += 1;
            return;
        };
        if event.text("/type").as_deref() == Some("hello") {
            self.hellos += 1;
            return;
        }
        let text = event.text("/text").unwrap();
        let number = text.split(' ').nth(1).unwrap().parse().unwrap();
        let is_newer = self.numbers.last().is_none_or(|last| *last < number);
        let is_new = self.numbers.insert(number);
        if frame.origin.attempt == 1 {
            self.is_in_order &= is_newer || !is_new;
        } else {
            self.late += u64::from(is_new);
        }
        self.again += u64::from(!is_new);
        if let Some(ack) = frame.ack {
            ack.confirm();
        }
    }
}

/// Takes and acknowledges all that comes, until the transport ends.
async fn take_all(mut incoming: mpsc::Receiver<Incoming>) -> Taken {
    let mut taken = Taken {
        is_in_order: true,
        ..Taken::default()
    };
    while let Some(incoming) = incoming.recv().await {
        match incoming {
            Incoming::Frame(frame) => taken.take(frame),
            Incoming::Expected(_) => {}
            Incoming::Connected(_) => taken.connected += 1,
            Incoming::Deaf | Incoming::Refreshed => {}
            Incoming::Disconnected { .. } => taken.disconnected += 1,
        }
    }
    taken
}
