//! `conversations.list`, `info`, `members` and `open`, and `users.conversations`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::lock::lock;
use crate::speakers::web_api::arguments::Arguments;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields, of_team};
use crate::speakers::web_api::cursor;
use crate::state::workspace::{Conversation, Kind, Workspace};

pub(super) const READ: &[&str] = &["channels:read", "groups:read", "im:read", "mpim:read"];
pub(super) const WRITE: &[&str] = &["channels:manage", "groups:write", "im:write", "mpim:write"];

/// Pages of conversations are at most this long.
const LONGEST_PAGE: usize = 999;

/// The conversation that `channel` names, if the caller may know of it.
pub(super) fn named(
    workspace: &Workspace,
    arguments: &Arguments,
    user: usize,
) -> Result<usize, Refusal> {
    let id = arguments.required("channel")?;
    let index = workspace.conversation(&id).ok_or("channel_not_found")?;
    if !workspace.conversations[index].visible_to(user) {
        return Err("channel_not_found".into());
    }
    Ok(index)
}

pub(super) fn list(request: &mut Request<'_>) -> Result<Body, Refusal> {
    of_team(request)?;
    let workspace = lock(&request.core.workspace);
    let user = request.user(&workspace);
    // A bot does not see direct messages between others.
    page(request.arguments, &workspace, user, |conversation| {
        conversation.visible_to(user)
    })
}

/// `users.conversations`: those that a user is in, as far as the caller may know of them.
pub(super) fn of_user(request: &mut Request<'_>) -> Result<Body, Refusal> {
    of_team(request)?;
    let workspace = lock(&request.core.workspace);
    let caller = request.user(&workspace);
    let user = match request.arguments.text("user")? {
        Some(id) => workspace.user(&id).ok_or("user_not_found")?,
        None => caller,
    };
    page(request.arguments, &workspace, caller, |conversation| {
        conversation.has(user) && conversation.visible_to(caller)
    })
}

/// A page of the conversations that `wanted` picks, as `viewer` sees them.
fn page(
    arguments: &Arguments,
    workspace: &Workspace,
    viewer: usize,
    wanted: impl Fn(&Conversation) -> bool,
) -> Result<Body, Refusal> {
    let types = arguments
        .text("types")?
        .unwrap_or_else(|| Kind::Public.name().to_owned());
    let kinds = types
        .split(',')
        .map(|name| {
            let known = [Kind::Public, Kind::Private, Kind::Im, Kind::Mpim];
            known.into_iter().find(|kind| kind.name() == name.trim())
        })
        .collect::<Option<Vec<Kind>>>()
        .ok_or("invalid_types")?;
    let limit = cursor::limit(arguments, 100, LONGEST_PAGE)?;
    let without_archived = arguments.flag("exclude_archived");
    let from = match cursor::decode(arguments, "team")? {
        Some(id) => workspace.conversation(&id).ok_or("invalid_cursor")?,
        None => 0,
    };
    let mut matching = (from..workspace.conversations.len()).filter(|index| {
        let conversation = &workspace.conversations[*index];
        kinds.contains(&conversation.kind) && wanted(conversation)
    });
    let page: Vec<usize> = matching.by_ref().take(limit).collect();
    let next = matching
        .next()
        .map(|index| cursor::encode("team", &workspace.conversations[index].id));
    // As with Slack, archived ones count for the limit even where they are left out: pages can be short.
    let channels: Vec<Value> = page
        .into_iter()
        .filter(|index| !(without_archived && workspace.conversations[*index].archived))
        .map(|index| workspace.conversation_json(index, viewer))
        .collect();
    Ok(fields([
        ("channels", Value::Array(channels)),
        ("response_metadata", cursor::metadata(next)),
    ]))
}

pub(super) fn info(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let workspace = lock(&request.core.workspace);
    let user = request.user(&workspace);
    let index = named(&workspace, request.arguments, user)?;
    let mut channel = workspace.conversation_json(index, user);
    if let (false, Some(channel)) = (
        request.arguments.flag("include_num_members"),
        channel.as_object_mut(),
    ) {
        channel.remove("num_members");
    }
    Ok(fields([("channel", channel)]))
}

pub(super) fn members(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let workspace = lock(&request.core.workspace);
    let user = request.user(&workspace);
    let index = named(&workspace, request.arguments, user)?;
    let limit = cursor::limit(request.arguments, 100, 1000)?;
    let from = match cursor::decode(request.arguments, "user")? {
        Some(id) => workspace.user(&id).ok_or("invalid_cursor")?,
        None => 0,
    };
    let all = workspace.members(index);
    let mut rest = all.into_iter().filter(|member| *member >= from);
    let page: Vec<&str> = rest
        .by_ref()
        .take(limit)
        .map(|member| workspace.users[member].id.as_str())
        .collect();
    let next = rest
        .next()
        .map(|member| cursor::encode("user", &workspace.users[member].id));
    Ok(fields([
        ("members", json!(page)),
        ("response_metadata", cursor::metadata(next)),
    ]))
}

pub(super) fn open(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let arguments = request.arguments;
    let (channel, users) = (arguments.text("channel")?, arguments.get("users"));
    let core = request.core;
    core.change(|workspace| {
        let user = request.user(workspace);
        let (index, already) = if channel.is_some() {
            (named(workspace, arguments, user)?, true)
        } else {
            let ids: Vec<&str> = match users {
                Some(Value::String(list)) => list.split(',').map(str::trim).collect(),
                Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
                _ => return Err("users_list_not_supplied".into()),
            };
            open_with(workspace, user, &ids)?
        };
        let id = json!(workspace.conversations[index].id);
        let channel = if arguments.flag("return_im") {
            workspace.conversation_json(index, user)
        } else {
            json!({ "id": id })
        };
        let mut body = fields([("channel", channel)]);
        if already {
            body.extend(fields([
                ("no_op", json!(true)),
                ("already_open", json!(true)),
            ]));
        }
        Ok(body)
    })
}

/// Direct messages with the users of these ids; whether they were open before.
fn open_with(
    workspace: &mut Workspace,
    user: usize,
    ids: &[&str],
) -> Result<(usize, bool), Refusal> {
    let found = ids
        .iter()
        .map(|id| workspace.user(id))
        .collect::<Option<BTreeSet<usize>>>();
    let mut others = found.ok_or("user_not_found")?;
    if others.iter().any(|other| workspace.users[*other].deleted) {
        return Err("user_disabled".into());
    }
    others.remove(&user);
    match others.len() {
        // Slack: a bot has no direct messages with itself.
        0 => Err("not_enough_users".into()),
        1 => {
            let other = others.pop_first().ok_or("not_enough_users")?;
            Ok(workspace.open_im(user, other))
        }
        2..=8 => {
            others.insert(user);
            Ok(workspace.open_mpim(others, user))
        }
        _ => Err("too_many_users".into()),
    }
}
