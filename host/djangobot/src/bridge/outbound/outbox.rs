//! The outbox: messages for Slack on the disk, from before they leave the channel layer until their outcome is
//! reported.
//!
//! A finished message leaves its key and its `ts` in the outbox for a while. By the key it is known if the layer gives
//! it again, because it did not hear that the message was stored. By the `ts`, a lookup in Slack's history knows that a
//! message there is another one.

mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use djangobot_plugins::private;
use djangobot_slack::Ts;
use rusqlite::{OptionalExtension, params};

use crate::bridge::message_key::MessageKey;
use crate::journal::{Journal, JournalError};
use crate::state::DeadLetter;

pub(crate) use rows::{
    NumberRange, Page, PluginResult, PluginRows, PutResult, RowId, StoredMessage,
};
use rows::{ROW, Totals, append_behind, finish, forget, read, totals, write_passed};

/// The oldest keys are deleted once for so many finished messages.
const FORGET_EVERY: u64 = 512;

/// The marker file: while it exists, every note that a call is begun has reached the disk. It is deleted at the first
/// note that fails, because deleting works on a full disk.
const COMPLETE: &str = "outbox.complete";

/// The outbox of one bridge. Clones share it.
#[derive(Clone)]
pub(crate) struct Outbox {
    journal: Journal,
    shared: Arc<OutboxState>,
}

struct OutboxState {
    /// How many messages are not finished.
    messages: AtomicU64,
    /// Their bytes.
    bytes: AtomicU64,
    finished: AtomicU64,
    /// The path of [`COMPLETE`].
    complete: PathBuf,
    /// Whether that file exists.
    is_complete: AtomicBool,
}

/// The messages that an earlier run left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// The number of the newest message.
    pub(crate) newest: u64,
    /// Whether notes may be missing, so that a message without one may have been sent.
    pub(crate) is_in_doubt: bool,
    /// When the outbox was opened: the earlier run had ended by then.
    pub(crate) at: Instant,
}

impl Outbox {
    /// Opens the outbox in the file that `journal` writes, in `folder`. Gives its backlog.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
    pub(crate) async fn open(
        journal: Journal,
        folder: &Path,
    ) -> Result<(Self, Backlog), JournalError> {
        let Totals {
            messages,
            bytes,
            newest,
        } = journal.write(totals).await?;
        let complete = folder.join(COMPLETE);
        let is_complete = complete.exists();
        let shared = OutboxState {
            messages: AtomicU64::new(messages),
            bytes: AtomicU64::new(bytes),
            finished: AtomicU64::new(0),
            complete,
            is_complete: AtomicBool::new(is_complete),
        };
        let outbox = Self {
            journal,
            shared: Arc::new(shared),
        };
        let left = Backlog {
            newest,
            is_in_doubt: !is_complete && messages > 0,
            at: Instant::now(),
        };
        outbox.note_empty();
        Ok((outbox, left))
    }

    /// Makes the marker file again if the outbox is empty: there is no message that could be in doubt.
    fn note_empty(&self) {
        let shared = &self.shared;
        if shared.messages.load(Ordering::Relaxed) == 0
            && !shared.is_complete.load(Ordering::Relaxed)
            && private::open_file(&shared.complete).is_ok()
        {
            shared.is_complete.store(true, Ordering::Relaxed);
        }
    }

    /// Remembers that a note did not reach the disk: after a kill, the next start looks all messages up in Slack's
    /// history.
    pub(crate) fn note_gap(&self) {
        let shared = &self.shared;
        if shared.is_complete.swap(false, Ordering::Relaxed)
            && let Err(error) = std::fs::remove_file(&shared.complete)
        {
            tracing::warn!(
                "{} was not deleted: {error}; after a crash, a message may be sent twice",
                shared.complete.display()
            );
        }
    }

    /// How many messages are not finished.
    pub(crate) fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// The bytes of the messages that are not finished.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Stores a message behind all others. Gives [`PutResult::Gap`] if its predecessor, the message with the key
    /// `behind`, was not stored. Numbers grow with the order of the calls.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take it.
    pub(crate) async fn put(
        &self,
        key: MessageKey,
        message: Bytes,
        behind: Option<MessageKey>,
    ) -> Result<PutResult, JournalError> {
        let size = message.len() as u64;
        let kept = self
            .journal
            .write(move |database| append_behind(database, key, &message, behind))
            .await?;
        if let PutResult::Stored(_) = kept {
            self.add(1, size + ROW);
        }
        Ok(kept)
    }

    /// Reads the first messages of `range`, in their order: at most about `count` messages with `bytes` bytes, but at
    /// least one.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
    pub(crate) async fn read(
        &self,
        range: NumberRange,
        count: usize,
        bytes: usize,
    ) -> Result<Page, JournalError> {
        self.journal
            .write(move |database| read(database, range, count, bytes))
            .await
    }

    /// Notes that a call of Slack is about to be made that shares `files`, after the moment `since` of Slack's clock.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take the note.
    pub(crate) async fn note_begun(
        &self,
        id: RowId,
        since: Ts,
        files: &[String],
    ) -> Result<(), JournalError> {
        let files = (!files.is_empty()).then(|| files.join(","));
        self.journal
            .write(move |database| {
                let mut update = database
                    .prepare_cached("UPDATE outbox SET begun = ?2, files = ?3 WHERE id = ?1")?;
                update
                    .execute(params![id.0, since.as_secs_f64(), files])
                    .map(drop)
            })
            .await
    }

    /// Notes that the call that was begun surely had no effect.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take the note.
    pub(crate) async fn clear_begun(&self, id: RowId) -> Result<(), JournalError> {
        let none: Option<f64> = None;
        self.change("UPDATE outbox SET begun = ?2 WHERE id = ?1", id, none)
            .await
    }

    /// Stores the result of the plugins for a message: all of it, or nothing.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take it.
    pub(crate) async fn put_plugin_result(
        &self,
        id: RowId,
        passed: PluginResult,
    ) -> Result<PluginRows, JournalError> {
        // An emitted message is stored twice: as the message, and as the plugins' result.
        let emitted = passed.emitted.iter().map(|(_, it)| 2 * it.len());
        let sizes = emitted.chain(passed.messages.iter().map(Bytes::len));
        let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| {
            (count + 1, bytes + size as u64 + ROW)
        });
        let own = passed.message.as_ref().map_or(0, Bytes::len) as u64;
        let places = self
            .journal
            .write(move |database| write_passed(database, id, &passed))
            .await?;
        self.add(count, bytes + own);
        Ok(places)
    }

    /// Notes the outcome of a message, which has still to be reported to the app, and the `ts` that Slack gave it.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take it.
    pub(crate) async fn note_outcome(
        &self,
        id: RowId,
        outcome: Bytes,
        ts: Option<String>,
    ) -> Result<(), JournalError> {
        self.journal
            .write(move |database| {
                let mut update = database
                    .prepare_cached("UPDATE outbox SET outcome = ?2, ts = ?3 WHERE id = ?1")?;
                update.execute(params![id.0, &outcome[..], ts]).map(drop)
            })
            .await
    }

    /// Deletes a message, but keeps its key and its `ts`.
    ///
    /// # Errors
    ///
    /// Fails if the disk keeps the message.
    pub(crate) async fn finish(&self, id: RowId, ts: Option<String>) -> Result<(), JournalError> {
        let must_forget = self.must_forget();
        let size = self
            .journal
            .write(move |database| {
                if must_forget {
                    forget(database)?;
                }
                finish(database, id, ts)
            })
            .await?;
        self.subtract(size);
        Ok(())
    }

    /// Makes a message a dead letter with the other fields of `letter`. Gives the letter's number.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take the letter; the message is still there then.
    pub(crate) async fn dead_letter(
        &self,
        id: RowId,
        mut letter: DeadLetter,
    ) -> Result<i64, JournalError> {
        let (size, letter) = self
            .journal
            .write(move |database| {
                let mut message =
                    database.prepare_cached("SELECT message FROM outbox WHERE id = ?1")?;
                letter.message = message.query_row([id.0], |row| row.get(0))?;
                DeadLetter::in_place_of(database, || {
                    Ok((finish(database, id, None)?, letter.store(database)?))
                })
            })
            .await?;
        self.subtract(size);
        Ok(letter)
    }

    /// Whether a message with this `ts` is known as one that was sent.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
    pub(crate) async fn is_known(&self, ts: &str) -> Result<bool, JournalError> {
        let ts = ts.to_owned();
        self.journal
            .write(move |database| {
                let query = "SELECT 1 FROM outbox WHERE ts = ?1 LIMIT 1";
                let found = database.query_row(query, [ts], |_| Ok(())).optional()?;
                Ok(found.is_some())
            })
            .await
    }

    /// Executes `sql` for the row `id`.
    async fn change(
        &self,
        sql: &'static str,
        id: RowId,
        value: impl rusqlite::ToSql + Send + 'static,
    ) -> Result<(), JournalError> {
        self.journal
            .write(move |database| {
                let mut update = database.prepare_cached(sql)?;
                update.execute(params![id.0, value]).map(drop)
            })
            .await
    }

    fn add(&self, messages: u64, bytes: u64) {
        self.shared.messages.fetch_add(messages, Ordering::Relaxed);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts a finished message of `size` bytes; `None` says that it was finished before.
    fn subtract(&self, size: Option<u64>) {
        if let Some(size) = size {
            self.shared.messages.fetch_sub(1, Ordering::Relaxed);
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        self.note_empty();
    }

    fn must_forget(&self) -> bool {
        let finished = self.shared.finished.fetch_add(1, Ordering::Relaxed);
        finished.is_multiple_of(FORGET_EVERY)
    }
}

#[cfg(test)]
mod tests;
