//! `files.getUploadURLExternal`, `completeUploadExternal`, `info` and `delete`.

use serde_json::{Value, json};

use crate::lock::lock;
use crate::speakers::web_api::call::{Body, Refusal, Request, fields};
use crate::state::files::{self, File, UploadPlace};
use crate::state::ts::Ts;
use crate::state::workspace::{Audience, Event, Post, Workspace};

/// Slack takes no larger file, in bytes.
const LARGEST: u64 = 1 << 30;
/// Slack takes so many in one call.
const MOST_FILES: usize = 10;

pub(super) fn get_upload_url(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let arguments = request.arguments;
    let length = arguments.number("length")?;
    let length = length.ok_or_else(|| Refusal::missing("length"))?;
    let name = arguments.required("filename")?;
    if length == 0 {
        return Err(Refusal::invalid(
            "[ERROR] must be greater than 0 [json-pointer:/length]".to_owned(),
        ));
    }
    if length > LARGEST {
        return Err("file_upload_size_restricted".into());
    }
    let core = request.core;
    let (user, number) = {
        let mut workspace = lock(&core.workspace);
        (request.user(&workspace), workspace.tick().0)
    };
    let file = File {
        title: name.clone(),
        name,
        alt_text: arguments.text("alt_txt")?,
        snippet_type: arguments.text("snippet_type")?,
        length: usize::try_from(length).unwrap_or(usize::MAX),
        user,
        created: files::now(),
        ..File::default()
    };
    let UploadPlace { id, path } = lock(&core.files).announce(number, file);
    let url = core.address.url("http", &format!("/upload/v1/{path}"));
    Ok(fields([("upload_url", json!(url)), ("file_id", json!(id))]))
}

pub(super) fn complete_upload(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let (core, arguments) = (request.core, request.arguments);
    let named = match arguments.get("files") {
        Some(Value::Array(named)) if !named.is_empty() && named.len() <= MOST_FILES => named,
        Some(_) => {
            return Err(Refusal::invalid(
                "[ERROR] must be a list of 1 to 10 files [json-pointer:/files]".to_owned(),
            ));
        }
        None => return Err(Refusal::missing("files")),
    };
    let thread = arguments.text("thread_ts")?;
    let thread = thread
        .map(|text| Ts::parse(&text).ok_or(Refusal::from("invalid_thread_ts")))
        .transpose()?;
    core.change(|workspace| {
        let user = request.user(workspace);
        let places = places(workspace, request, user)?;
        let mut all = lock(&core.files);
        let mut shown = Vec::new();
        for one in named {
            let id = one["id"].as_str().unwrap_or_default();
            let file = all.get_mut(id).filter(|file| file.content.is_some());
            let file = file.ok_or("file_not_found")?;
            file.is_complete = true;
            if let Some(title) = one["title"].as_str().filter(|title| !title.is_empty()) {
                title.clone_into(&mut file.title);
            }
            shown.push((id, file.to_json(workspace, core.address, id)));
        }
        let list: Vec<Value> = shown.iter().map(|(_, file)| file.clone()).collect();
        for place in places {
            let mut extra = fields([
                ("subtype", json!("file_share")),
                ("upload", json!(true)),
                ("files", json!(list)),
            ]);
            if let Some(blocks) = arguments.get("blocks") {
                extra.insert("blocks".to_owned(), blocks.clone());
            }
            let (ts, _) = workspace.post(Post {
                user,
                conversation: place,
                text: arguments.text("initial_comment")?.unwrap_or_default(),
                thread,
                extra,
                ..Post::default()
            });
            let channel = workspace.conversations[place].id.clone();
            for (id, _) in &shown {
                if let Some(file) = all.get_mut(id) {
                    let shares = file.shares.entry(channel.clone()).or_default();
                    shares.push(ts.to_string());
                }
                let event_ts = workspace.tick().to_string();
                let event = json!({"type": "file_shared", "file_id": id, "file": {"id": id},
                    "user_id": workspace.users[user].id, "channel_id": channel, "event_ts": event_ts});
                workspace.tell_members(place, event);
            }
        }
        Ok(fields([("files", json!(list))]))
    })
}

/// Where the files are shared: `channel_id`, or the `channels` with commas.
fn places(
    workspace: &Workspace,
    request: &Request<'_>,
    user: usize,
) -> Result<Vec<usize>, Refusal> {
    let arguments = request.arguments;
    let named = [arguments.text("channel_id")?, arguments.text("channels")?];
    let named = named.iter().flatten().flat_map(|list| list.split(','));
    let place = |id: &str| {
        let index = workspace.conversation(id.trim());
        let index = index.ok_or(Refusal::from("channel_not_found"))?;
        let conversation = &workspace.conversations[index];
        if !conversation.visible_to(user) {
            return Err("channel_not_found".into());
        }
        if conversation.archived {
            return Err("posting_to_channel_denied".into());
        }
        match conversation.has(user) {
            true => Ok(index),
            false => Err("not_in_channel".into()),
        }
    };
    named.map(place).collect()
}

pub(super) fn info(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    let id = request.arguments.required("file")?;
    let workspace = lock(&core.workspace);
    let files = lock(&core.files);
    let file = files.get(&id).filter(|file| file.is_complete);
    let file = file.ok_or("file_not_found")?;
    let mut shown = file.to_json(&workspace, core.address, &id);
    let shares = file.shares.iter().map(|(channel, all)| {
        let all: Vec<Value> = all.iter().map(|ts| json!({ "ts": ts })).collect();
        (channel.clone(), json!(all))
    });
    shown["channels"] = file.shares.keys().cloned().collect();
    shown["shares"] = json!({"public": shares.collect::<Body>()});
    Ok(fields([("file", shown), ("comments", json!([]))]))
}

pub(super) fn delete(request: &mut Request<'_>) -> Result<Body, Refusal> {
    let core = request.core;
    let id = request.arguments.required("file")?;
    let mut files = lock(&core.files);
    if !files.get(&id).is_some_and(|file| file.is_complete) {
        return Err("file_not_found".into());
    }
    files.remove(&id);
    drop(files);
    core.change(|workspace| {
        let event_ts = workspace.tick().to_string();
        let bot = workspace.bot;
        let event = json!({"type": "file_deleted", "file_id": id, "event_ts": event_ts});
        workspace.events.push(Event {
            audience: Audience::User(bot),
            value: event,
        });
    });
    Ok(Body::new())
}
