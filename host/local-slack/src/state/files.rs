//! Files: announced, uploaded, shared; kept in memory up to a bound, the newest longest.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::state::address::Address;
use crate::state::ts::now_micros;
use crate::state::workspace::Workspace;

/// The most that all files together may hold, in bytes; the oldest go first.
const MOST_BYTES: usize = 256 << 20;
/// The most files that are kept.
const MOST_FILES: usize = 1_000;
/// A file, from when it is announced.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) alt_text: Option<String>,
    pub(crate) snippet_type: Option<String>,
    /// As it was announced.
    pub(crate) length: usize,
    /// Once it was uploaded.
    pub(crate) content: Option<Bytes>,
    /// The user that announced it.
    pub(crate) user: usize,
    /// Unix seconds.
    pub(crate) created: u64,
    /// Whether the upload was completed: before that nobody sees it.
    pub(crate) is_complete: bool,
    /// The messages that show it, by conversation.
    pub(crate) shares: BTreeMap<String, Vec<String>>,
}

/// The place of a file that was announced.
#[derive(Debug)]
pub(crate) struct UploadPlace {
    pub(crate) id: String,
    /// The last part of the path to which its content is uploaded.
    pub(crate) path: String,
}

/// All files, by their ids, which grow.
#[derive(Debug, Default)]
pub(crate) struct Files {
    by_id: BTreeMap<String, File>,
    /// Where they are uploaded to: the last part of the path.
    upload_urls: HashMap<String, String>,
    bytes: usize,
}

impl Files {
    /// Announces a file.
    pub(crate) fn announce(&mut self, number: u64, file: File) -> UploadPlace {
        let id = format!("F{number:011X}");
        let path = format!("{:032x}", rand::random::<u128>());
        self.upload_urls.insert(path.clone(), id.clone());
        self.by_id.insert(id.clone(), file);
        self.forget();
        UploadPlace { id, path }
    }

    /// Stores a file's content under the path that was announced for it.
    pub(crate) fn upload(&mut self, path: &str, content: Bytes) -> Result<String, &'static str> {
        let id = self.upload_urls.get(path).ok_or("no such upload")?.clone();
        let file = self.by_id.get_mut(&id).ok_or("no such upload")?;
        if file.length != content.len() {
            return Err("the content is not as long as was announced");
        }
        self.bytes += content.len();
        if let Some(before) = file.content.replace(content) {
            self.bytes -= before.len();
        }
        self.forget();
        Ok(id)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&File> {
        self.by_id.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut File> {
        self.by_id.get_mut(id)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<File> {
        let file = self.by_id.remove(id)?;
        self.bytes -= file.content.as_ref().map_or(0, Bytes::len);
        self.upload_urls.retain(|_, of| of != id);
        Some(file)
    }

    fn forget(&mut self) {
        while (self.by_id.len() > MOST_FILES || self.bytes > MOST_BYTES)
            && let Some(oldest) = self.by_id.keys().next().cloned()
        {
            self.remove(&oldest);
        }
    }
}

impl File {
    /// A file as Slack shows it (<https://docs.slack.dev/reference/objects/file-object>).
    pub(crate) fn to_json(&self, workspace: &Workspace, address: Address, id: &str) -> Value {
        let suffix = self.name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
        let (filetype, mimetype) = match suffix.to_ascii_lowercase().as_str() {
            "txt" | "log" => ("text", "text/plain"),
            "csv" => ("csv", "text/csv"),
            "json" => ("json", "application/json"),
            "png" => ("png", "image/png"),
            "jpg" | "jpeg" => ("jpg", "image/jpeg"),
            "gif" => ("gif", "image/gif"),
            "pdf" => ("pdf", "application/pdf"),
            _ => ("binary", "application/octet-stream"),
        };
        let url = address.url("http", &format!("/files-pri/{id}"));
        let mut file = json!({
            "id": id, "created": self.created, "timestamp": self.created, "name": self.name, "title": self.title,
            "mimetype": mimetype, "filetype": self.snippet_type.as_deref().unwrap_or(filetype),
            "pretty_type": filetype.to_ascii_uppercase(), "user": workspace.users[self.user].id,
            "user_team": workspace.team.id, "editable": self.snippet_type.is_some(), "size": self.length,
            "mode": if self.snippet_type.is_some() { "snippet" } else { "hosted" }, "is_external": false,
            "external_type": "", "is_public": !self.shares.is_empty(), "public_url_shared": false,
            "display_as_bot": false, "username": "", "url_private": url, "url_private_download": url,
            "permalink": url, "file_access": "visible",
        });
        if let Some(alt_text) = &self.alt_text {
            file["alt_txt"] = json!(alt_text);
        }
        file
    }
}

/// The time as files have it.
pub(crate) fn now() -> u64 {
    now_micros() / 1_000_000
}
