//! The open sockets: listed, awaited, written to, frozen and cut.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::lock::lock;
use crate::socket::frame::{self, Kind};
use crate::socket::{FAREWELL, Socket};
use crate::speakers::control::handle::Control;
use crate::state::connection::ConnectionId;
use crate::state::journal::ReceivedFrame;

/// A frame to be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text frame; its payload may be anything, invalid UTF-8 too.
    Text(Bytes),
    /// A binary frame.
    Binary(Bytes),
    /// Bytes for the TCP connection, with no frame around them.
    Raw(Bytes),
}

/// An open socket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Connection {
    /// Names it in the other operations.
    pub id: ConnectionId,
    /// Its protocol: `rtm` or `socket-mode`.
    pub protocol: &'static str,
    /// The id of the user that it was opened for; of the bot, in Socket Mode.
    pub user: String,
    /// When it was opened, in seconds since 1970.
    pub since: f64,
    /// Whether it reads and writes nothing just now.
    pub frozen: bool,
}

impl Control {
    /// Sends an event, as it is, to all connections or to one; the number of those that it was queued for.
    pub fn emit(&self, to: Option<ConnectionId>, event: &Value) -> usize {
        let text = event.to_string();
        self.emit_frame(to, &Frame::Text(Bytes::from(text)))
    }

    /// Sends a frame, as it is, to all connections or to one; the number of those that it was queued for.
    pub fn emit_frame(&self, to: Option<ConnectionId>, frame: &Frame) -> usize {
        let bytes = match frame {
            Frame::Text(payload) => frame::frame(Kind::Text, payload),
            Frame::Binary(payload) => frame::frame(Kind::Binary, payload),
            Frame::Raw(bytes) => bytes.clone(),
        };
        let sockets = self.core.sockets.get(to);
        for socket in &sockets {
            socket.send(bytes.clone());
        }
        sockets.len()
    }

    /// The open sockets, oldest first.
    pub fn connections(&self) -> Vec<Connection> {
        let workspace = lock(&self.core.workspace);
        let connection = |socket: &Arc<Socket>| Connection {
            id: socket.id,
            protocol: socket.protocol.name(),
            user: workspace.users[socket.user].id.clone(),
            since: socket.since,
            frozen: socket.is_frozen(),
        };
        self.core.sockets.get(None).iter().map(connection).collect()
    }

    /// Waits until at least so many sockets are open.
    pub async fn wait_for_connections(&self, count: usize) -> Vec<Connection> {
        self.wait_until(|connections| connections.len() >= count)
            .await
    }

    /// Waits until the open sockets are as wanted, for example until there is a newer one than before.
    pub async fn wait_until(&self, wanted: impl Fn(&[Connection]) -> bool) -> Vec<Connection> {
        let look = || Some(self.connections()).filter(|connections| wanted(connections));
        self.core.journal.wait(look).await
    }

    /// Closes the TCP connections of all sockets, or of one, with no word; how many.
    pub fn drop_connections(&self, which: Option<ConnectionId>) -> usize {
        self.each(which, |socket| socket.close.cancel())
    }

    /// Lets sockets read and write nothing while they stay open, as when the network between is gone.
    pub fn freeze(&self, which: Option<ConnectionId>) -> usize {
        self.each(which, |socket| socket.freeze(true))
    }

    /// Ends [`Control::freeze`]; what was queued meanwhile is written.
    pub fn thaw(&self, which: Option<ConnectionId>) -> usize {
        self.each(which, |socket| socket.freeze(false))
    }

    /// Reads what clients send at so many bytes a second from now on, on all sockets that are open, or on one; `None`
    /// for as fast as they send.
    pub fn read_slowly(&self, which: Option<ConnectionId>, rate: Option<u32>) -> usize {
        self.each(which, |socket| socket.read_slowly(rate))
    }

    /// Says `goodbye`, and closes the sockets after `linger`, as a WebSocket is closed; with `None` they stay open.
    pub async fn goodbye(&self, which: Option<ConnectionId>, linger: Option<Duration>) -> usize {
        let sockets = self.core.sockets.get(which);
        for socket in &sockets {
            socket.send_json(&json!({"type": "goodbye", "source": "local-slack"}));
        }
        let Some(linger) = linger else {
            return sockets.len();
        };
        tokio::time::sleep(linger).await;
        for socket in &sockets {
            socket.send_close(&1000_u16.to_be_bytes());
        }
        for socket in &sockets {
            let gone = || {
                self.core
                    .sockets
                    .get(Some(socket.id))
                    .is_empty()
                    .then_some(())
            };
            let ended = self.core.journal.wait(gone);
            // A client that does not answer is cut off.
            tokio::time::timeout(FAREWELL, ended).await.ok();
            socket.close.cancel();
        }
        sockets.len()
    }

    /// The messages that clients have sent on their sockets, oldest first.
    pub fn frames(&self) -> Vec<ReceivedFrame> {
        self.core.journal.frames()
    }

    /// Waits for a frame that `wanted` accepts; frames that have come already count.
    pub async fn wait_for_frame(&self, wanted: impl Fn(&ReceivedFrame) -> bool) -> ReceivedFrame {
        let look = || self.frames().into_iter().find(|frame| wanted(frame));
        self.core.journal.wait(look).await
    }

    /// Forgets the frames that have come.
    pub fn clear_frames(&self) {
        self.core.journal.clear_frames();
    }

    fn each(&self, which: Option<ConnectionId>, act: impl Fn(&Socket)) -> usize {
        let sockets = self.core.sockets.get(which);
        sockets.iter().for_each(|socket| act(socket));
        sockets.len()
    }
}
