//! Waiting for what will happen, with one deadline for all tests.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take before a test gives up: far longer than it ever should, on a busy machine too.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Tries until `attempt` gives a value, and gives it back.
///
/// # Panics
/// When [`DEADLINE`] passes, with `what` in the message.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: not so after {} s",
            DEADLINE.as_secs()
        );
        sleep(Duration::from_millis(10)).await;
    }
}

/// A port of 127.0.0.1 that nobody listened on a moment ago.
///
/// # Panics
/// When the machine has none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("127.0.0.1 has a free port");
    listener
        .local_addr()
        .expect("a listener has an address")
        .port()
}
