//! Socket Mode: the session of one WebSocket, from `hello` to its end.
//!
//! The wire format is that of <https://docs.slack.dev/apis/events-api/using-socket-mode>. Envelopes and
//! acknowledgements are handled in [`crate::delivery`].

use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpStream;

use crate::core::Core;
use crate::fault::Reason;
use crate::lock::lock;
use crate::socket;
use crate::speakers::response_url;
use crate::state::tickets::Ticket;

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
        let words = socket::farewell(Reason::TooManyWebsockets).to_string();
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
    socket::serve(core.surroundings(), &socket, &stream, early, |heard| {
        let answer = core.deliveries.heard(&heard.payload, heard.fragmented);
        if let Some(answer) = answer {
            response_url::take(core, &answer);
        }
    })
    .await;
}
