//! Waiting for what will happen, with one deadline for all tests.

use std::cell::RefCell;
use std::fmt::Debug;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take before a test gives up: far longer than it ever should, on a busy machine too.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Characters of a value that a failure shows.
const LONGEST: usize = 4_000;

tokio::task_local! {
    /// The value that the attempts of [`eventually`] looked at last.
    static LAST: RefCell<Option<String>>;
}

/// Tries until `attempt` gives a value, and gives it back.
///
/// # Panics
/// When [`DEADLINE`] passes, with `what` in the message, and with what the last attempt looked at (see [`seen`]).
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: not so after {} s{}",
                DEADLINE.as_secs(),
                LAST.with(|last| match &*last.borrow() {
                    Some(last) => format!("; the last that was seen: {last}"),
                    None => String::new(),
                })
            );
            sleep(Duration::from_millis(10)).await;
        }
    };
    LAST.scope(RefCell::new(None), tries).await
}

/// Notes the value that an attempt of [`eventually`] looks at; a failure then shows it. Helpers that read something for
/// a test call this; outside of an attempt it does nothing.
pub fn seen(value: &impl Debug) {
    let note = |last: &RefCell<Option<String>>| {
        let text = format!("{value:?}");
        let end = text
            .char_indices()
            .nth(LONGEST)
            .map_or(text.len(), |(at, _)| at);
        *last.borrow_mut() = Some(text[..end].to_owned());
    };
    let _ = LAST.try_with(note);
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
