//! A file that a person shares: the message and the event that an app gets of it. Its content stays where it is.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::state::workspace::Post;

/// A kind of files.
struct FileKind {
    /// The end of the name, behind the last point.
    suffix: &'static str,
    /// Slack's name for it.
    name: &'static str,
    mime: &'static str,
}

const fn kind(suffix: &'static str, name: &'static str, mime: &'static str) -> FileKind {
    FileKind { suffix, name, mime }
}

const KINDS: &[FileKind] = &[
    kind("txt", "text", "text/plain"),
    kind("log", "text", "text/plain"),
    kind("csv", "csv", "text/csv"),
    kind("json", "json", "application/json"),
    kind("png", "png", "image/png"),
    kind("jpg", "jpg", "image/jpeg"),
    kind("jpeg", "jpg", "image/jpeg"),
    kind("gif", "gif", "image/gif"),
    kind("pdf", "pdf", "application/pdf"),
];

/// A user in a conversation, both as their positions in the workspace.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) user: usize,
    pub(super) conversation: usize,
}

/// Shares the file at `path` as the user of `place`, with a comment.
pub(super) fn share(
    core: &Core,
    Place { user, conversation }: Place,
    path: &str,
    comment: &str,
) -> Result<(), String> {
    let read = std::fs::metadata(path).map_err(|error| format!("{path} can't be read: {error}"))?;
    if !read.is_file() {
        return Err(format!("{path} is not a file"));
    }
    let name = Path::new(path)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let suffix = name
        .rsplit_once('.')
        .map_or("", |(_, suffix)| suffix)
        .to_ascii_lowercase();
    let kind = KINDS.iter().find(|kind| kind.suffix == suffix);
    let (filetype, mimetype) = kind.map_or(("binary", "application/octet-stream"), |kind| {
        (kind.name, kind.mime)
    });
    core.change(|workspace| {
        let now = workspace.tick();
        let id = format!("F{:011X}", now.0);
        let url = core.address.url("http", &format!("/files-pri/{id}/{name}"));
        let seconds = now.0 / 1_000_000;
        let user_id = workspace.users[user].id.clone();
        let file = json!({
            "id": id, "created": seconds, "timestamp": seconds, "name": name, "title": name, "mimetype": mimetype,
            "filetype": filetype, "pretty_type": filetype.to_ascii_uppercase(), "user": user_id,
            "user_team": workspace.team.id, "editable": false, "size": read.len(), "mode": "hosted",
            "is_external": false, "external_type": "", "is_public": true, "public_url_shared": false,
            "display_as_bot": false, "username": "", "url_private": url, "url_private_download": url,
            "permalink": url, "file_access": "visible",
        });
        let extra: Map<String, Value> = [
            ("subtype", json!("file_share")),
            ("upload", json!(false)),
            ("files", json!([file])),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        workspace.post(Post {
            user,
            conversation,
            text: comment.to_owned(),
            extra,
            ..Post::default()
        });
        let event_ts = workspace.tick().to_string();
        let channel = workspace.conversations[conversation].id.clone();
        let event = json!({"type": "file_shared", "file_id": id, "file": {"id": id}, "user_id": user_id,
            "channel_id": channel, "event_ts": event_ts});
        workspace.tell_members(conversation, event);
    });
    Ok(())
}
