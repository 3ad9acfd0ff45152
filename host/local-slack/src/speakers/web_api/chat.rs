//! `chat.postMessage`, `postEphemeral`, `update` and `delete`.

use serde_json::{Value, json};

use crate::lock::lock;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields};
use crate::speakers::web_api::conversations;
use crate::state::ts::Ts;
use crate::state::workspace::{Audience, Event, MessageError, Post, Workspace};

/// Longer text is cut, with a warning.
const LONGEST_TEXT: usize = 40_000;
/// Longer text cannot be put into a message that is there.
const LONGEST_UPDATE: usize = 4_000;
const MOST_BLOCKS: usize = 50;
const MOST_ATTACHMENTS: usize = 100;
/// Posts to one channel: one a second, and so many at once.
const POSTS_PER_MINUTE: u32 = 60;
const POSTS_AT_ONCE: u32 = 10;

/// The content of a message, checked.
struct Content {
    text: String,
    fields: Body,
}

/// Where a post goes: a conversation's id, `#name` or `name`, or a user's id, whose direct messages are opened.
fn target(workspace: &mut Workspace, request: &Request<'_>, user: usize) -> Result<usize, Refusal> {
    let channel = request.arguments.required("channel")?;
    let name = channel.strip_prefix('#').unwrap_or(&channel);
    let found = workspace
        .conversation(&channel)
        .or_else(|| workspace.conversation_named(name));
    let index = match (found, workspace.user(&channel)) {
        (Some(index), _) => index,
        (None, Some(other)) if other != user && !workspace.users[other].deleted => {
            workspace.open_im(user, other).0
        }
        (None, _) => return Err("channel_not_found".into()),
    };
    let conversation = &workspace.conversations[index];
    if !conversation.visible_to(user) {
        return Err("channel_not_found".into());
    }
    if conversation.archived {
        return Err("is_archived".into());
    }
    if !conversation.has(user) {
        return Err("not_in_channel".into());
    }
    Ok(index)
}

fn content(request: &mut Request<'_>) -> Result<Content, Refusal> {
    let arguments = request.arguments;
    let mut text = arguments.text("text")?.unwrap_or_default();
    if let Some(markdown) = arguments.text("markdown_text")? {
        if !text.is_empty() || arguments.get("blocks").is_some() {
            return Err("markdown_text_conflict".into());
        }
        text = markdown;
    }
    if let Some((cut, _)) = text.char_indices().nth(LONGEST_TEXT) {
        text.truncate(cut);
        request.warnings.push("message_truncated");
    }
    let mut kept = Body::new();
    for (key, most, too_many, wrong) in [
        (
            "blocks",
            MOST_BLOCKS,
            "invalid_blocks",
            "invalid_blocks_format",
        ),
        (
            "attachments",
            MOST_ATTACHMENTS,
            "too_many_attachments",
            "invalid_attachments",
        ),
    ] {
        match arguments.get(key) {
            None => {}
            Some(Value::Array(list)) if list.len() > most => return Err(too_many.into()),
            Some(Value::Array(list)) if list.iter().all(Value::is_object) => {
                kept.insert(key.to_owned(), with_ids(key, list));
            }
            Some(_) => return Err(wrong.into()),
        }
    }
    let untyped = |block: &Value| block.get("type").and_then(Value::as_str).is_none();
    if kept
        .get("blocks")
        .and_then(Value::as_array)
        .is_some_and(|blocks| blocks.iter().any(untyped))
    {
        return Err("invalid_blocks".into());
    }
    let empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    if text.is_empty() && kept.values().all(empty) {
        return Err("no_text".into());
    }
    kept.retain(|_, list| !empty(list));
    match arguments.get("metadata") {
        None => {}
        Some(metadata)
            if metadata["event_type"].is_string() && metadata["event_payload"].is_object() =>
        {
            kept.insert("metadata".to_owned(), metadata.clone());
        }
        Some(_) => return Err("invalid_metadata_format".into()),
    }
    Ok(Content { text, fields: kept })
}

/// Slack numbers attachments from 1, and names blocks that have no name.
fn with_ids(key: &str, list: &[Value]) -> Value {
    let named = list.iter().zip(1_u64..).map(|(item, number)| {
        let mut item = item.clone();
        if key == "attachments" {
            item["id"] = json!(number);
        } else if item.get("block_id").is_none() {
            item["block_id"] = json!(format!("b{number:04}"));
        }
        item
    });
    named.collect()
}

fn thread(request: &Request<'_>) -> Result<Option<Ts>, Refusal> {
    let text = request.arguments.text("thread_ts")?;
    text.map(|text| Ts::parse(&text).ok_or(Refusal::from("invalid_thread_ts")))
        .transpose()
}

/// The post that the arguments ask for.
fn draft(request: &mut Request<'_>) -> Result<Post, Refusal> {
    let thread = thread(request)?;
    let Content { text, mut fields } = content(request)?;
    let arguments = request.arguments;
    for (key, icon) in [("icon_emoji", "emoji"), ("icon_url", "image_64")] {
        if let Some(value) = arguments.text(key)? {
            fields.insert("icons".to_owned(), json!({ icon: value }));
        }
    }
    Ok(Post {
        text,
        thread,
        broadcast: arguments.flag("reply_broadcast"),
        username: arguments.text("username")?,
        extra: fields,
        ..Post::default()
    })
}

pub(super) fn post_message(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    request.arguments.required("channel")?;
    let draft = draft(request)?;
    core.change(|workspace| {
        let user = request.user(workspace);
        let conversation = target(workspace, request, user)?;
        let id = workspace.conversations[conversation].id.clone();
        if core.options.rate_limits {
            let spent = lock(&core.access).spend(
                &format!("posts to {id}"),
                POSTS_PER_MINUTE,
                POSTS_AT_ONCE,
            );
            spent.map_err(Refusal::too_fast)?;
        }
        let (ts, message) = workspace.post(Post {
            user,
            conversation,
            ..draft
        });
        Ok(fields([
            ("channel", json!(id)),
            ("ts", json!(ts.to_string())),
            ("message", Value::Object(message)),
        ]))
    })
}

pub(super) fn post_ephemeral(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    request.arguments.required("channel")?;
    let reader = request.arguments.required("user")?;
    let draft = draft(request)?;
    core.change(|workspace| {
        let user = request.user(workspace);
        let conversation = target(workspace, request, user)?;
        let reader = workspace.user(&reader).ok_or("user_not_in_channel")?;
        if !workspace.conversations[conversation].has(reader) {
            return Err("user_not_in_channel".into());
        }
        let ts = workspace.tick();
        let draft = Post {
            user,
            conversation,
            ..draft
        };
        let mut value = Value::Object(workspace.compose(&draft, ts));
        value["channel"] = json!(workspace.conversations[conversation].id);
        value["is_ephemeral"] = json!(true);
        value["event_ts"] = json!(ts.to_string());
        workspace.events.push(Event {
            audience: Audience::User(reader),
            value,
        });
        Ok(fields([("message_ts", json!(ts.to_string()))]))
    })
}

/// The message that `channel` and `ts` name.
fn existing(
    workspace: &Workspace,
    request: &Request<'_>,
    user: usize,
) -> Result<(usize, Ts), Refusal> {
    let index = conversations::named(workspace, request.arguments, user)?;
    let ts = request.arguments.required("ts")?;
    Ok((index, Ts::parse(&ts).ok_or("message_not_found")?))
}

pub(super) fn update(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    for key in ["channel", "ts"] {
        request.arguments.required(key)?;
    }
    let content = content(request)?;
    if content.text.chars().count() > LONGEST_UPDATE {
        return Err("msg_too_long".into());
    }
    core.change(|workspace| {
        let user = request.user(workspace);
        let (index, ts) = existing(workspace, request, user)?;
        let mut changed = content.fields;
        let text = json!(content.text);
        // Text is kept where only blocks or attachments were given.
        if request.arguments.get("text").is_some()
            || request.arguments.get("markdown_text").is_some()
        {
            changed.insert("text".to_owned(), text);
        }
        let message = workspace
            .update(user, index, ts, changed)
            .map_err(|refused| Refusal::from(&*refused.to_string()))?;
        Ok(fields([
            ("channel", json!(workspace.conversations[index].id)),
            ("ts", json!(ts.to_string())),
            ("text", message.get("text").cloned().unwrap_or_default()),
            ("message", Value::Object(message)),
        ]))
    })
}

pub(super) fn delete(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    for key in ["channel", "ts"] {
        request.arguments.required(key)?;
    }
    core.change(|workspace| {
        let user = request.user(workspace);
        let (index, ts) = existing(workspace, request, user)?;
        workspace
            .delete(user, index, ts)
            .map_err(|refused| match refused {
                MessageError::NotTheirs => Refusal::from("cant_delete_message"),
                other => Refusal::from(&*other.to_string()),
            })?;
        Ok(fields([
            ("channel", json!(workspace.conversations[index].id)),
            ("ts", json!(ts.to_string())),
        ]))
    })
}
