//! Files: uploaded to Slack one after the other, and then shared in their conversation, which is the call that people see.

use djangobot_slack::{Backoff, Class, method};
use serde_json::{Map, Value, json};
use std::time::Duration;

use super::call::{Call, Record};
use super::{Post, TRIES, Unsent, refused, too_old};
use crate::bridge::files::NewFile;
use crate::bridge::request::Refusal;

/// What asks for the place of an upload.
const ANNOUNCE: &str = "files.getUploadURLExternal";

impl Post {
    /// Uploads `files` and makes `call`, which shares them.
    ///
    /// Up to that call nobody sees anything of them, so that an upload may begin again at any time. What an earlier run
    /// may have shared is looked for by the ids that Slack gave its files.
    pub(super) async fn share(
        &self,
        mut call: Call,
        files: Vec<NewFile>,
        record: &mut Record,
    ) -> Result<Value, Unsent> {
        call.files.clone_from(&record.files);
        if let Some(answer) = self.settle(&call, record).await? {
            return Ok(answer);
        }
        let mut uploaded = Vec::with_capacity(files.len());
        for file in files {
            if record.is_late() {
                return Err(too_old().into());
            }
            let id = self.upload(&file).await?;
            let title = file.title.unwrap_or(file.name);
            uploaded.push(json!({ "id": id, "title": title }));
        }
        call.set_files(uploaded);
        self.attempts(&mut call, record).await
    }

    /// Uploads a file; its id.
    async fn upload(&self, file: &NewFile) -> Result<String, Unsent> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut tries = 0;
        loop {
            let (url, id) = self.announce(file).await?;
            let uploaded = self.api.upload(&url, file.content.clone());
            let error = match self.wait(uploaded).await? {
                Ok(()) => return Ok(id),
                Err(error) => error,
            };
            tries += 1;
            if error.class() == Class::Permanent || tries >= TRIES {
                return Err(refused(&error).into());
            }
            tracing::warn!(file = file.name, "{error}; uploading the file again");
            self.wait(backoff.wait()).await?;
        }
    }

    /// Asks where a file may be uploaded to, and what its id will be.
    async fn announce(&self, file: &NewFile) -> Result<(String, String), Unsent> {
        let unreadable = || {
            let detail = format!("Slack's {ANNOUNCE} gave no place for the file {:?}.", file.name);
            Refusal::new("unreadable_answer", detail)
        };
        let method = method::get(ANNOUNCE).ok_or_else(unreadable)?;
        let mut arguments = Map::from_iter([
            ("filename".to_owned(), Value::from(&*file.name)),
            ("length".to_owned(), file.content.len().into()),
        ]);
        for (key, value) in [("alt_txt", &file.alt_text), ("snippet_type", &file.snippet_type)] {
            if let Some(value) = value {
                arguments.insert(key.to_owned(), value.as_str().into());
            }
        }
        let mut call = Call::new(method, None, arguments);
        let mut record = Record::none(&self.outbox);
        let answer = Box::pin(self.attempts(&mut call, &mut record)).await?;
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        let (url, id) = text("upload_url").zip(text("file_id")).ok_or_else(unreadable)?;
        Ok((url, id))
    }
}
