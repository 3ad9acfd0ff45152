//! RTM: the session of one WebSocket, from `hello` to its end.
//!
//! The wire format is that of <https://docs.slack.dev/legacy/legacy-rtm-api>.

use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpStream;

use crate::core::Core;
use crate::socket;
use crate::state::tickets::Ticket;

mod request;

/// The message to a client whose URL was used before, or came too late.
pub(crate) fn expired() -> String {
    json!({"type": "error", "error": {"code": 1, "msg": "Socket URL has expired"}}).to_string()
}

/// Speaks RTM on a socket that has just been upgraded; `early` are bytes that came with the upgrade.
pub(crate) async fn serve(core: &Core, stream: TcpStream, early: Bytes, ticket: Ticket) {
    let socket = core.sockets.open(ticket);
    tracing::debug!(connection = %socket.id, "RTM socket opened");
    let hello =
        json!({"type": "hello", "region": "local", "start": true, "host_id": "local-slack"});
    socket.send_json(&hello);
    socket::serve(core.surroundings(), &socket, &stream, early, |heard| {
        request::answer(core, &socket, &heard.payload);
    })
    .await;
}
