//! The upload of files, one after the other, and the call that shares them in their conversation, which people see.

use djangobot_slack::{Class, method};
use serde_json::{Map, Value, json};

use crate::bridge::outbound::files::NewFile;
use crate::bridge::outbound::post::attempts::Settlement;
use crate::bridge::outbound::post::call::{Call, Record};
use crate::bridge::outbound::post::caller::Caller;
use crate::bridge::outbound::post::patience::Patience;
use crate::bridge::outbound::post::send_error::{SendError, refused, too_old};
use crate::bridge::reply::SendFailure;

/// The method that gives the URL of an upload.
const ANNOUNCE: &str = "files.getUploadURLExternal";

/// An upload that Slack expects.
struct Upload {
    /// The URL for the file's content.
    url: String,
    /// The id of the file.
    id: String,
}

impl Caller {
    /// Uploads `files` and makes `call`, which shares them.
    ///
    /// Before that call nobody sees the files, so that an upload may begin again at any time. Files that an earlier run
    /// may have shared are looked up by the ids that Slack gave them.
    ///
    /// # Errors
    ///
    /// Fails as [`Caller::attempt`] does.
    pub(super) async fn share(
        &self,
        mut call: Call,
        files: Vec<NewFile>,
        record: &mut Record,
        patience: &mut Patience,
    ) -> Result<Value, SendError> {
        // The lookup of an earlier run's call needs the ids of its files. This run's files get ids of their own below.
        call.files.clone_from(&record.files);
        if let Settlement::HadEffect(answer) = self.settle_doubt(&call, record, patience).await? {
            return Ok(answer);
        }
        let mut uploaded = Vec::with_capacity(files.len());
        for file in files {
            if record.is_late() {
                return Err(too_old().into());
            }
            let id = self.upload(&file, patience).await?;
            let title = file.title.unwrap_or(file.name);
            uploaded.push(json!({ "id": id, "title": title }));
        }
        call.set_files(uploaded);
        self.attempt(&mut call, record, patience).await
    }

    /// Uploads a file. Gives its id.
    async fn upload(&self, file: &NewFile, patience: &mut Patience) -> Result<String, SendError> {
        loop {
            let Upload { url, id } = self.announce(file, patience).await?;
            let uploaded = self.api.upload(&url, file.content.clone());
            let error = match self.wait(uploaded).await? {
                Ok(()) => return Ok(id),
                Err(error) => error,
            };
            if error.class() == Class::Permanent {
                return Err(refused(&error).into());
            }
            tracing::debug!(
                file = file.name,
                "a file was not uploaded: {error}; trying again"
            );
            self.pause(&error, patience).await?;
        }
    }

    /// Asks Slack for the URL of an upload, and for the file's id.
    async fn announce(&self, file: &NewFile, patience: &mut Patience) -> Result<Upload, SendError> {
        let unreadable = || {
            let detail = format!(
                "Slack's {ANNOUNCE} gave no URL for the file {:?}.",
                file.name
            );
            SendFailure::new("unreadable_answer", detail)
        };
        let method = method::get(ANNOUNCE).ok_or_else(unreadable)?;
        let mut arguments = Map::from_iter([
            ("filename".to_owned(), Value::from(&*file.name)),
            ("length".to_owned(), file.content.len().into()),
        ]);
        for (key, value) in [
            ("alt_txt", &file.alt_text),
            ("snippet_type", &file.snippet_type),
        ] {
            if let Some(value) = value {
                arguments.insert(key.to_owned(), value.as_str().into());
            }
        }
        let mut call = Call::new(method, None, arguments);
        let mut record = Record::untracked(&self.outbox);
        let answer = Box::pin(self.attempt(&mut call, &mut record, patience)).await?;
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        Ok(Upload {
            url: text("upload_url").ok_or_else(unreadable)?,
            id: text("file_id").ok_or_else(unreadable)?,
        })
    }
}
