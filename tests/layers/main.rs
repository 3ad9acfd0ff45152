//! Rust and stock Python libraries on one channel layer: what one sends, the other receives.
//!
//! Each runs on a real Redis, through the embedded layer's RESP server, and on the embedded layer itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

/// Makes tests of functions that take a ground: on each ground, or on those alone that are servers, since
/// the embedded layer has no such setting.
macro_rules! tests {
    (each ground: $($each:ident),*; servers: $($server:ident),*) => {
        tests!(@ redis, Redis, $($each,)* $($server,)*);
        mod embedded_server {
            $(tests!(@ lua $each);)*
            $(tests!(@ lua $server);)*
        }
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
    // Our own layer sends Lua scripts, and the embedded server knows only those of Python's libraries.
    (@ lua $name:ident) => {
        #[tokio::test]
        #[ignore = "the embedded server does not know the scripts of our own layer yet"]
        async fn $name() {
            super::$name(crate::pair::Ground::EmbeddedServer).await;
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
