//! Socket Mode: the session of one WebSocket, from `hello` to its end.
//!
//! The wire format is that of <https://docs.slack.dev/apis/events-api/using-socket-mode>. What is sent on these
//! sockets, and what becomes of the acknowledgements, is in [`crate::delivery`].

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::core::Core;
use crate::fault::Reason;
use crate::lock;
use crate::socket::frame::{self, Kind};
use crate::socket::{self, Socket, Ticket};

/// An app's connections; one more is turned away.
pub(crate) const MOST_CONNECTIONS: usize = 10;

/// Seconds that a connection lasts, as `hello` announces them.
const LIFETIME: u64 = 18_060;

/// Speaks Socket Mode on a socket that has just been upgraded; `early` are bytes that came with the upgrade.
pub(crate) async fn serve(core: &Core, stream: TcpStream, early: Bytes, ticket: Ticket) {
    let app_id = lock(&core.workspace).app_id().to_owned();
    let socket = core.sockets.open(ticket);
    let count = core.sockets.count_of_socket_mode();
    if count > MOST_CONNECTIONS {
        core.sockets.close(socket.id);
        let words = farewell(Reason::TooManyWebsockets).to_string();
        socket::turn_away(stream, &words).await.ok();
        return;
    }
    tracing::debug!(connection = %socket.id, "socket of Socket Mode opened");
    socket.send_json(&json!({
        "type": "hello",
        "num_connections": count,
        "debug_info": {"host": "local-slack", "build_number": 1, "approximate_connection_time": LIFETIME},
        "connection_info": {"app_id": app_id},
    }));
    socket::serve(core, &socket, &stream, early, |heard| {
        core.deliveries
            .heard(core, &heard.payload, heard.fragmented);
    })
    .await;
}

fn farewell(reason: Reason) -> Value {
    json!({"type": "disconnect", "reason": reason.name(), "debug_info": {"host": "local-slack"}})
}

/// Says `disconnect`, and closes the socket: at once, or some seconds after a warning.
pub(crate) fn disconnect(core: &Core, socket: &Socket, reason: Reason) {
    socket.send_json(&farewell(reason));
    let now = Instant::now();
    socket.end_at(match reason {
        Reason::Warning => now + core.options.warning_time,
        Reason::RefreshRequested | Reason::TooManyWebsockets | Reason::LinkDisabled => now,
    });
}

/// A frame like this one whose JSON breaks off in the middle.
pub(crate) fn garbled(whole: &Bytes) -> Bytes {
    // The header of the frame is at most ten bytes, and an envelope is longer than twice that.
    frame::frame(Kind::Text, &whole[10..whole.len() / 2])
}
