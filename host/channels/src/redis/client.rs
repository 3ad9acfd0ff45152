//! Opens connections with the client library, and sends commands over them.

use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, RedisConnectionInfo, RedisResult, Value};

use crate::config::Host;
use crate::layer::LayerError;
use crate::refusal::RefusalKind;
use crate::stream::Stream;
use crate::tls::mismatch::instead_of_plain;

/// Whether a server answers but refuses the command to us, because of access rules or because it does not know it.
pub(crate) fn is_barred(error: &LayerError) -> bool {
    matches!(
        error.refusal(),
        Some(RefusalKind::Permission | RefusalKind::UnknownCommand)
    )
}

/// Sends one command. An error that the server answers is an `Err` too.
pub(crate) async fn command(
    connection: &mut MultiplexedConnection,
    cmd: &Cmd,
) -> RedisResult<Value> {
    connection.send_packed_command(cmd).await?.extract_error()
}

/// Connects to `host`, which must not be a Sentinel endpoint, within `limit`. Many callers may share the connection.
pub(crate) async fn multiplexed(
    host: &Host,
    protocol: ProtocolVersion,
    config: &AsyncConnectionConfig,
    limit: Duration,
) -> RedisResult<MultiplexedConnection> {
    within(limit, async {
        let stream = Stream::connect(host).await?;
        let settings = settings(host, protocol);
        let made = MultiplexedConnection::new_with_config(&settings, stream, config.clone()).await;
        let (connection, driver) = instead_of_plain(host, made).await?;
        // This task ends with the last handle of the connection.
        tokio::spawn(driver);
        Ok(connection)
    })
    .await
}

pub(crate) async fn within<T>(
    limit: Duration,
    connecting: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    let made = tokio::time::timeout(limit, connecting).await;
    made.unwrap_or_else(|_| {
        let reason = format!("no connection within {limit:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, reason).into())
    })
}

/// The credentials and the database for the client library.
pub(crate) fn settings(host: &Host, protocol: ProtocolVersion) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default()
        .set_db(host.database)
        .set_protocol(protocol)
        .set_skip_set_lib_name();
    if let Some(username) = &host.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &host.password {
        settings = settings.set_password(password);
    }
    settings
}
