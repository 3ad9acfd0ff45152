//! The requests of a client on its RTM socket, and their answers.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::lock::lock;
use crate::socket::Socket;
use crate::state::connection::Protocol;
use crate::state::ts::Ts;
use crate::state::workspace::{Audience, Event, Post, Workspace};

/// The most that a message on the socket may hold, in characters.
const LONGEST_TEXT: usize = 4000;

/// The error of a request: Slack's number, and a sentence. Slack documents -1, 1 and 2; the others are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RequestError(i64, &'static str);

const TOO_FAST: RequestError = RequestError(-1, "slow down, too many messages...");
const NO_TEXT: RequestError = RequestError(2, "message text is missing");
const NOT_AN_OBJECT: RequestError =
    RequestError(3, "could not read the message: it is not a JSON object");
const NO_TYPE: RequestError = RequestError(4, "message has no type");
const UNKNOWN_TYPE: RequestError = RequestError(5, "unknown message type");
const NO_ID: RequestError = RequestError(6, "id must be a positive integer");
const NO_CHANNEL: RequestError = RequestError(7, "channel not found");
const NOT_A_MEMBER: RequestError = RequestError(8, "not in channel");
const ARCHIVED: RequestError = RequestError(9, "channel is archived");
const TEXT_TOO_LONG: RequestError = RequestError(10, "message text is too long");
const NO_USERS: RequestError = RequestError(11, "ids must be a list of user ids");

/// Does what a text frame asks for.
pub(super) fn answer(core: &Core, socket: &Socket, payload: &[u8]) {
    let Ok(Value::Object(request)) = serde_json::from_slice::<Value>(payload) else {
        return refuse(socket, None, NOT_AN_OBJECT);
    };
    let id = match request.get("id") {
        None | Some(Value::Null) => None,
        Some(id) if id.as_i64().is_some_and(|id| id > 0) => Some(id.clone()),
        Some(_) => return refuse(socket, None, NO_ID),
    };
    let outcome = match request.get("type").and_then(Value::as_str) {
        None => Err(NO_TYPE),
        Some("ping") => {
            pong(socket, request);
            Ok(())
        }
        Some("message") => match &id {
            Some(id) => message(core, socket, id, &request),
            None => Err(NO_ID),
        },
        Some("typing") | Some("user_typing") => typing(core, socket, &request),
        Some("presence_sub") => presence_sub(core, socket, &request),
        Some("presence_query") => presence_query(core, socket, &request),
        // A client's tick says that its user is there, which is the case.
        Some("tickle") => Ok(()),
        Some(_) => Err(UNKNOWN_TYPE),
    };
    if let Err(wrong) = outcome {
        refuse(socket, id, wrong);
    }
}

/// With an id: a failed acknowledgement; without: an `error` event.
fn refuse(socket: &Socket, id: Option<Value>, RequestError(code, msg): RequestError) {
    let error = json!({"code": code, "msg": msg});
    socket.send_json(&match id {
        Some(id) => json!({"ok": false, "reply_to": id, "error": error}),
        None => json!({"type": "error", "error": error}),
    });
}

/// All keys come back, and the id as `reply_to`.
fn pong(socket: &Socket, mut request: Map<String, Value>) {
    if let Some(id) = request.remove("id") {
        request.insert("reply_to".to_owned(), id);
    }
    request.insert("type".to_owned(), json!("pong"));
    socket.send_json(&Value::Object(request));
}

/// The conversation that a request names, where the client's user may write.
fn conversation(
    workspace: &Workspace,
    socket: &Socket,
    request: &Map<String, Value>,
) -> Result<usize, RequestError> {
    let id = request.get("channel").and_then(Value::as_str);
    let index = id
        .and_then(|id| workspace.conversation(id))
        .ok_or(NO_CHANNEL)?;
    let conversation = &workspace.conversations[index];
    if !conversation.visible_to(socket.user) {
        return Err(NO_CHANNEL);
    }
    if !conversation.has(socket.user) {
        return Err(NOT_A_MEMBER);
    }
    if conversation.archived {
        return Err(ARCHIVED);
    }
    Ok(index)
}

fn message(
    core: &Core,
    socket: &Socket,
    id: &Value,
    request: &Map<String, Value>,
) -> Result<(), RequestError> {
    let text = request.get("text").and_then(Value::as_str);
    let text = text.filter(|text| !text.is_empty()).ok_or(NO_TEXT)?;
    if text.chars().count() > LONGEST_TEXT {
        return Err(TEXT_TOO_LONG);
    }
    let thread = request.get("thread_ts").and_then(Value::as_str);
    core.change(|workspace| {
        let conversation = conversation(workspace, socket, request)?;
        if core.options.rate_limits {
            let what = format!("socket {}", socket.id);
            let spent = lock(&core.access).spend(&what, 60, 10);
            spent.map_err(|_| TOO_FAST)?;
        }
        let (ts, _) = workspace.post(Post {
            user: socket.user,
            conversation,
            text: text.to_owned(),
            thread: thread.and_then(Ts::parse),
            broadcast: request.get("reply_broadcast") == Some(&Value::Bool(true)),
            ..Post::default()
        });
        // Inside, so that the acknowledgement comes before the event, and before what others post next.
        socket.send_json(&json!({"ok": true, "reply_to": id, "ts": ts.to_string(), "text": text}));
        Ok(())
    })
}

fn typing(core: &Core, socket: &Socket, request: &Map<String, Value>) -> Result<(), RequestError> {
    core.change(|workspace| {
        let index = conversation(workspace, socket, request)?;
        let value = json!({"type": "user_typing", "channel": workspace.conversations[index].id,
            "user": workspace.users[socket.user].id});
        workspace.events.push(Event {
            audience: Audience::MembersBut(index, socket.id),
            value,
        });
        Ok(())
    })
}

/// The users that a request lists; ids that nobody has are left out, as Slack does.
fn users(
    workspace: &Workspace,
    request: &Map<String, Value>,
) -> Result<BTreeSet<usize>, RequestError> {
    let ids = request
        .get("ids")
        .and_then(Value::as_array)
        .ok_or(NO_USERS)?;
    let named = ids.iter().filter_map(Value::as_str);
    Ok(named.filter_map(|id| workspace.user(id)).collect())
}

fn presence_sub(
    core: &Core,
    socket: &Socket,
    request: &Map<String, Value>,
) -> Result<(), RequestError> {
    let workspace = lock(&core.workspace);
    let users = users(&workspace, request)?;
    tell_presence(&workspace, socket, &users);
    if let Protocol::Rtm { watched, .. } = &socket.protocol {
        *lock(watched) = users;
    }
    Ok(())
}

fn presence_query(
    core: &Core,
    socket: &Socket,
    request: &Map<String, Value>,
) -> Result<(), RequestError> {
    let workspace = lock(&core.workspace);
    let users = users(&workspace, request)?;
    tell_presence(&workspace, socket, &users);
    Ok(())
}

fn tell_presence(workspace: &Workspace, socket: &Socket, users: &BTreeSet<usize>) {
    let batched = match socket.protocol {
        Protocol::Rtm { batch_presence, .. } => batch_presence,
        Protocol::SocketMode => false,
    };
    for presence in ["active", "away"] {
        let such = users
            .iter()
            .filter(|user| workspace.presence(**user) == presence);
        let ids: Vec<&str> = such
            .map(|user| workspace.users[*user].id.as_str())
            .collect();
        if batched && !ids.is_empty() {
            socket
                .send_json(&json!({"type": "presence_change", "presence": presence, "users": ids}));
        } else {
            for id in ids {
                socket.send_json(
                    &json!({"type": "presence_change", "presence": presence, "user": id}),
                );
            }
        }
    }
}
