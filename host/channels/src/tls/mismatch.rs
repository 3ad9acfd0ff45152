//! Finds out whether a server that ended a plain connection requires TLS.

use std::io;
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult};

use crate::config::{Endpoint, Host, Tls};
use crate::tls::{TlsFailure, connect, failure};

/// If the server ended a plain connection and speaks TLS, replaces the error by one that says so.
pub(crate) async fn instead_of_plain<T>(host: &Host, made: RedisResult<T>) -> RedisResult<T> {
    let (Err(error), Endpoint::Tcp(name, port), None) = (&made, &host.endpoint, &host.tls) else {
        return made;
    };
    if !error.is_connection_dropped() && !error.is_unrecoverable_error() {
        return made;
    }
    // The server answered without TLS: its answer about our password is the whole error, and a Sentinel would keep us
    // waiting for one about TLS.
    if matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::Server(_)
    ) {
        return made;
    }
    match is_spoken(name, *port, host.connect_timeout).await {
        true => Err(RedisError::from(failure::mismatch(TlsFailure::Wanted))),
        false => made,
    }
}

/// Whether the server speaks TLS, even if it does not accept us.
async fn is_spoken(host: &str, port: u16, limit: Duration) -> bool {
    let tls = Tls {
        accept_any: true,
        ..Tls::default()
    };
    let shaken: io::Result<_> = connect(host, port, &tls, limit).await;
    match shaken {
        Ok(_) => true,
        Err(error) => failure::of_io(&error).is_some_and(|error| {
            matches!(
                error.kind,
                TlsFailure::OwnCertificate | TlsFailure::Protocol
            )
        }),
    }
}
