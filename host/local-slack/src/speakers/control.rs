//! The control interface: makes things happen in the workspace, and shows and awaits what clients do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::core::Core;
use crate::lock;
use crate::socket::frame::{self, Kind};
use crate::socket::{ConnectionId, FAREWELL, Socket};
use crate::state::access::Answer;
use crate::state::journal::{Call, ReceivedFrame};
use crate::state::workspace::{Audience, Event, Post, Ts, Workspace};

mod app;
mod burst;
pub(crate) mod http;
mod storm;
mod template;
mod traffic;
mod unseen;

pub use app::Posted;
pub use burst::{Burst, Sent};
pub use storm::Storm;
pub use traffic::{Latency, Report, Through, Traffic};

/// A handle on the workspace, from behind the scenes. Waiting functions have no time limit of their own: put
/// `tokio::time::timeout` around them.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) core: Arc<Core>,
}

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
    /// What is spoken on it: `rtm` or `socket-mode`.
    pub protocol: &'static str,
    /// The id of the user that it was opened for; of the bot, in Socket Mode.
    pub user: String,
    /// When it was opened, in seconds since 1970.
    pub since: f64,
    /// Whether it reads and writes nothing just now.
    pub frozen: bool,
}

/// Why an operation could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such user.
    #[error("the workspace has no user {0:?}: give an id or a login name, such as alice")]
    User(String),
    /// There is no such conversation.
    #[error("the workspace has no conversation {0:?}: give an id or a name, such as general")]
    Conversation(String),
    /// Requests go to no network.
    #[error(
        "the local Slack cannot post to {0:?}: give an http:// URL on this machine, such as http://127.0.0.1:8000/slack/events"
    )]
    EventsUrl(String),
    /// An interaction that is no object.
    #[error("an interaction's payload is a JSON object")]
    Payload,
    /// A thread's time that is no time.
    #[error("{0:?} is no ts: it looks like 1355517523.000005")]
    Ts(String),
}

/// Events and messages.
impl Control {
    pub(crate) fn new(core: Arc<Core>) -> Control {
        Control { core }
    }

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

    /// Sends many generated messages to all connections as fast as they take them; returns once all is written.
    pub async fn burst(&self, burst: Burst) -> Sent {
        burst::send(&self.core, burst).await
    }

    /// Posts as a user; the message's `ts`. Users and conversations go by id or name; a user in the place of the
    /// conversation stands for direct messages between it and the bot. Whoever posts to a channel joins it.
    ///
    /// # Errors
    /// When there is no such user or conversation.
    pub fn say(&self, user: &str, channel: &str, text: &str) -> Result<String, ControlError> {
        self.say_in_thread(user, channel, text, None)
    }

    /// Posts as a user, in the thread of the message at `thread_ts`.
    ///
    /// # Errors
    /// When there is no such user or conversation, or `thread_ts` is none.
    pub fn say_in_thread(
        &self,
        user: &str,
        channel: &str,
        text: &str,
        thread_ts: Option<&str>,
    ) -> Result<String, ControlError> {
        let thread = thread_ts
            .map(|ts| Ts::parse(ts).ok_or_else(|| ControlError::Ts(ts.to_owned())))
            .transpose()?;
        self.core.change(|workspace| {
            let user = find_user(workspace, user)?;
            let conversation = find_conversation(workspace, user, channel)?;
            workspace.conversations[conversation].join(user);
            let (ts, _) = workspace.post(Post {
                user,
                conversation,
                text: text.to_owned(),
                thread,
                ..Post::default()
            });
            Ok(ts.to_string())
        })
    }

    /// Makes a user `away` or `active`, and tells those that watch it.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn set_presence(&self, user: &str, active: bool) -> Result<(), ControlError> {
        self.core.change(|workspace| {
            let user = find_user(workspace, user)?;
            if active {
                workspace.away.remove(&user);
            } else {
                workspace.away.insert(user);
            }
            let value = json!({"type": "presence_change", "user": workspace.users[user].id,
                "presence": workspace.presence(user)});
            workspace.events.push(Event {
                audience: Audience::Watchers(user),
                value,
            });
            Ok(())
        })
    }

    /// The id of a user, by its login name.
    pub fn user_id(&self, name: &str) -> Option<String> {
        let workspace = lock(&self.core.workspace);
        let index = workspace.user_named(name)?;
        Some(workspace.users[index].id.clone())
    }

    /// The id of a conversation, by its name.
    pub fn channel_id(&self, name: &str) -> Option<String> {
        let workspace = lock(&self.core.workspace);
        let index = workspace.conversation_named(name)?;
        Some(workspace.conversations[index].id.clone())
    }

    /// All messages of a conversation, by its id, the oldest first, as an app reads them where Slack does not limit that.
    pub fn messages(&self, channel: &str) -> Option<Vec<Value>> {
        let workspace = lock(&self.core.workspace);
        let index = workspace.conversation(channel)?;
        let messages = workspace.conversations[index].messages.values();
        Some(messages.cloned().map(Value::Object).collect())
    }
}

/// Sockets.
impl Control {
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

    /// What clients have sent on their sockets, oldest first.
    pub fn frames(&self) -> Vec<ReceivedFrame> {
        self.core.journal.frames()
    }

    /// Waits for a frame that is as wanted; one that has come already counts.
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

/// The Web API.
impl Control {
    /// The calls that have come, oldest first: of one method, or all.
    pub fn calls(&self, method: Option<&str>) -> Vec<Call> {
        self.core.journal.calls(method)
    }

    /// Waits until at least `count` calls of a method have been answered since the last clearing; these calls.
    pub async fn wait_for_calls(&self, method: &str, count: usize) -> Vec<Call> {
        let look = || {
            let mut calls = self.calls(Some(method));
            calls.retain(|call| !call.answer.is_null());
            Some(calls).filter(|calls| calls.len() >= count)
        };
        self.core.journal.wait(look).await
    }

    /// The content of a file that was uploaded.
    pub fn file(&self, id: &str) -> Option<Bytes> {
        lock(&self.core.files).get(id)?.content.clone()
    }

    /// Forgets the calls that have come.
    pub fn clear_calls(&self) {
        self.core.journal.clear_calls();
    }

    /// Prescribes how the next calls of a method are answered; `*` stands for all methods, `websocket` for the
    /// handshake of a socket, and `upload` for the upload of a file's content. What was prescribed before comes first.
    pub fn answer(&self, method: &str, answer: Answer) {
        lock(&self.core.access).answer(method, answer);
    }

    /// Takes back all prescribed answers.
    pub fn clear_answers(&self) {
        self.keep_answers(|_| false);
    }

    /// Takes back the prescribed answers that `keep` does not want; no call falls between.
    pub fn keep_answers(&self, keep: impl Fn(&Answer) -> bool) {
        lock(&self.core.access).keep_answers(keep);
    }

    /// Sets the scopes that all tokens of the workspace have, as the `x-oauth-scopes` header gives them.
    pub fn set_scopes(&self, scopes: &[&str]) {
        lock(&self.core.access).scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    }

    /// Sets the scopes that app-level tokens have.
    pub fn set_app_scopes(&self, scopes: &[&str]) {
        lock(&self.core.access).app_scopes =
            scopes.iter().map(|scope| (*scope).to_owned()).collect();
    }

    /// Lets all tokens that `oauth.v2.access` has given out so far expire now.
    pub fn expire_tokens(&self) {
        lock(&self.core.access).rotation.expire();
    }

    /// Lets every call with this token fail from now on, with `token_revoked`, `account_inactive` or the like.
    pub fn revoke(&self, token: &str, error: &str) {
        lock(&self.core.access).revoke(token, error);
    }
}

pub(crate) fn find_user(workspace: &Workspace, user: &str) -> Result<usize, ControlError> {
    let name = user.strip_prefix('@').unwrap_or(user);
    let found = workspace.user(user).or_else(|| workspace.user_named(name));
    found.ok_or_else(|| ControlError::User(user.to_owned()))
}

pub(crate) fn find_conversation(
    workspace: &mut Workspace,
    user: usize,
    channel: &str,
) -> Result<usize, ControlError> {
    let name = channel.strip_prefix('#').unwrap_or(channel);
    let found = workspace
        .conversation(channel)
        .or_else(|| workspace.conversation_named(name));
    if let Some(found) = found {
        return Ok(found);
    }
    let Ok(other) = find_user(workspace, channel) else {
        return Err(ControlError::Conversation(channel.to_owned()));
    };
    // `say(alice, djangobot)` and `say(alice, alice)` both mean what alice says to the bot.
    let other = if other == user { workspace.bot } else { other };
    Ok(workspace.open_im(user, other).0)
}
