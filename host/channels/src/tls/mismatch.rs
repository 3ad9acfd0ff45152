//! Finds out that one side speaks TLS and the other does not, where that shows as silence or as the end of a connection.

use std::io;
use std::time::Duration;

use redis::{RedisError, RedisResult};

use crate::config::{Endpoint, Host, Tls};
use crate::tls::{TlsFailure, connect, failure};

/// Says of a plain connection that the server ended whether it wants TLS.
pub(crate) async fn instead_of_plain<T>(host: &Host, made: RedisResult<T>) -> RedisResult<T> {
    let (Err(error), Endpoint::Tcp(name, port), None) = (&made, &host.endpoint, &host.tls) else {
        return made;
    };
    if !error.is_connection_dropped() && !error.is_unrecoverable_error() {
        return made;
    }
    match is_spoken((name, *port), host.connect_timeout).await {
        true => Err(RedisError::from(failure::mismatch(TlsFailure::Wanted))),
        false => made,
    }
}

/// Whether the server speaks TLS, whatever it thinks of us.
async fn is_spoken(at: (&str, u16), limit: Duration) -> bool {
    let tls = Tls {
        accept_any: true,
        ..Tls::default()
    };
    let shaken: io::Result<_> = connect(at, &tls, limit).await;
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
