//! Tests with Rust and stock Python libraries on one channel layer: each receives the messages of the other.
//!
//! Each test runs on a real Redis, through the embedded layer's RESP server, and on the embedded layer itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

/// Makes tests of functions that take a [`pair::Ground`]: on each ground, or only on those that are servers, because the
/// embedded layer has no shards.
macro_rules! tests {
    (each ground: $($each:ident),*; servers: $($server:ident),*) => {
        tests!(@ redis, Redis, $($each,)* $($server,)*);
        tests!(@ embedded_server, EmbeddedServer, $($each,)* $($server,)*);
        tests!(@ embedded, Embedded, $($each,)*);
    };
    (@ $module:ident, $ground:ident, $($name:ident,)*) => {
        mod $module {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::pair::Ground::$ground).await;
            })*
        }
    };
}

mod asgi_redis;
mod behaviour;
mod exchange;
mod groups;
mod names;
mod pair;
mod peer;
mod pubsub;
mod worker;
