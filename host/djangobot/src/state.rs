//! The state, which outlives the process: a folder with an SQLite file, and a lock that keeps other processes away.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use djangobot_channels::Serializer;
use djangobot_event::lock::lock;
use djangobot_plugins::private;
use miette::Diagnostic;
use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;

use crate::journal::Journal;
use crate::masking;

pub(crate) mod folder;
mod waiting;

#[cfg(test)]
mod tests;

use folder::FolderError;

/// Each step brings the file from one version to the next; what has been released is never edited.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE facts (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,          -- Unix seconds
        channel TEXT NOT NULL,     -- the layer's channel it was taken from
        error TEXT NOT NULL,       -- Slack's error code, or ours
        detail TEXT NOT NULL,      -- a sentence
        message BLOB NOT NULL      -- JSON where it could be read, else the bytes as they came
    );
",
    "
    -- Events that the channel layer has not taken yet.
    CREATE TABLE spool (
        seq INTEGER PRIMARY KEY,
        channel TEXT NOT NULL,
        id TEXT NOT NULL,          -- djangobot.id
        wire TEXT NOT NULL,        -- how the member is written
        member BLOB NOT NULL       -- as the layer's readers find it
    );
    -- With the sizes: they are added up without a look at the members.
    CREATE INDEX spool_by_channel ON spool (channel, seq, length(member));
    -- The ids of events that are safe: 8 bytes for each, many to a row.
    CREATE TABLE recent (
        at REAL NOT NULL,          -- Unix seconds
        ids BLOB NOT NULL
    );
    -- Messages for Slack that were taken off the channel layer and are not finished. Of those that are, the newest stay
    -- without what was in them: the layer may give them again, and history may show them.
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY,    -- the message's number times 65536; what plugins put beside it follows it
        key BLOB NOT NULL UNIQUE,  -- 16 bytes: the same whenever the layer gives it
        at REAL NOT NULL,          -- when it was taken, Unix seconds
        message BLOB,              -- JSON, as the app sent it; null once it is finished
        passed BLOB,               -- JSON, as it came out of the plugins; null: it has not been through them
        begun REAL,                -- Slack's time before a call of Slack; null: surely none has had an effect
        outcome BLOB,              -- JSON, where only the app has still to be told
        ts TEXT                    -- what Slack calls the message that was posted
    );
",
    "
    -- How the message of an event for the app is written: `msgpack` or `json`; null for a message to Slack, which is as
    -- `message` says.
    ALTER TABLE dead_letters ADD COLUMN serializer TEXT;
",
    "
    -- Where answers to commands and interactions go, for the half hour in which Slack takes them.
    CREATE TABLE answers (
        token TEXT PRIMARY KEY,    -- ends the name of the event's reply channel
        at REAL NOT NULL,          -- when the event came, Unix seconds
        event TEXT NOT NULL,       -- djangobot.id
        dialog INTEGER NOT NULL,   -- whether it is a dialog that was submitted
        addresses BLOB NOT NULL    -- JSON: the response URLs, and which answers were begun at each
    ) WITHOUT ROWID;
",
    "
    -- When an event was spooled, in Unix seconds; null for those of older versions.
    ALTER TABLE spool ADD COLUMN at REAL;
",
    "
    -- With `begun`: the ids of the files that the call shares, with commas.
    ALTER TABLE outbox ADD COLUMN files TEXT;
",
];

/// The most dead letters that are kept; the oldest are deleted first.
const DEAD_LETTERS_KEPT: i64 = 10_000;
/// About how many bytes all dead letters may have. A message with files may have megabytes, so their number alone is
/// not a bound.
const DEAD_LETTER_BYTES: i64 = 256 << 20;

const SELECT_LETTERS: &str =
    "SELECT id, at, channel, error, detail, message, serializer FROM dead_letters";

/// The state of one host. It is cheap to clone; calls block for the time of a small SQLite transaction.
#[derive(Clone)]
pub(crate) struct State {
    shared: Arc<Shared>,
}

struct Shared {
    database: Mutex<Connection>,
    /// Started by the first [`State::journal`]: commands that only read the state don't need it.
    journal: OnceLock<Journal>,
    path: PathBuf,
    /// Held until the process ends; the kernel then releases it, even after a crash.
    _lock: Option<File>,
}

/// A message to Slack that could not be sent and whose failure the app could not be told, or an event for the app that
/// the channel layer refuses.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    /// Its number, which [`State::add_dead_letter`] assigns; 0 before.
    pub(crate) id: i64,
    /// When it became a dead letter, in Unix seconds.
    pub(crate) at: f64,
    /// The layer's channel that a message was taken from, or that an event is for.
    pub(crate) channel: String,
    /// Slack's error code, or ours.
    pub(crate) error: String,
    /// A sentence about the error.
    pub(crate) detail: String,
    /// A message to Slack as JSON, or as its own bytes if it can't be decoded; an event for the app as its payload.
    /// Tokens in it are masked before it is stored.
    pub(crate) message: Vec<u8>,
    /// How the payload of an event for the app is encoded; `None` for a message to Slack.
    pub(crate) serializer: Option<Serializer>,
}

/// The state can't be used.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum StateError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Folder(#[from] FolderError),
    #[error("another djangobot is using the state folder {}", path.display())]
    #[diagnostic(help(
        "stop the other one, or give this one a folder of its own with --state-dir"
    ))]
    InUse { path: PathBuf },
    #[error("the state file {} can't be used: {reason}", path.display())]
    Database {
        path: PathBuf,
        reason: rusqlite::Error,
        #[help]
        help: String,
    },
    #[error("the state file {} is damaged ({reason}); {waiting}", path.display())]
    #[diagnostic(help(
        "{0} -readonly {1} .recover may show more of it; move the file away, with {1}-wal and {1}-shm, and djangobot makes a new one, which lacks the events and messages that waited in this one",
        "sqlite3", path.display()
    ))]
    Damaged {
        path: PathBuf,
        reason: rusqlite::Error,
        waiting: String,
    },
    #[error("the state file {} was written by a newer djangobot (its format is {found}, and this one knows up to {known}); {waiting}", path.display())]
    #[diagnostic(help(
        "run the newer djangobot, or give this one a folder of its own with --state-dir"
    ))]
    Newer {
        path: PathBuf,
        found: usize,
        known: usize,
        waiting: String,
    },
}

impl StateError {
    /// Gives an error of SQLite about the file at `path` its cure.
    fn of(path: &Path, reason: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::*;
        let help = match reason.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => {
                return Self::Damaged {
                    path: path.to_owned(),
                    waiting: waiting::describe(path),
                    reason,
                };
            }
            Some(DiskFull) => "make room on its disk; nothing in the file is lost".to_owned(),
            Some(DatabaseBusy | DatabaseLocked) => {
                "another program has locked it; end that program, and try again".to_owned()
            }
            _ => format!(
                "{}. Check whether the disk is full or read-only, or choose another folder with --state-dir",
                folder::owner_of(path)
            ),
        };
        Self::Database {
            path: path.to_owned(),
            reason,
            help,
        }
    }
}

impl State {
    /// Opens the state in `folder`, for one process at a time. Folder and state are made if they are missing.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let folder = folder::open(folder)?;
        let path = folder.join("lock");
        let unusable = |reason| FolderError::of(&path, reason);
        let lock = private::open_file(&path).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { path: folder }),
            Err(TryLockError::Error(reason)) => return Err(unusable(reason).into()),
        }
        Self::with_lock(&folder, Some(lock))
    }

    /// Opens the state in `folder` without the lock, although a host may be using it. Commands that only look at the
    /// state do so.
    pub(crate) fn open_shared(folder: &Path) -> Result<Self, StateError> {
        Self::with_lock(&folder::find(folder)?, None)
    }

    fn with_lock(folder: &Path, lock: Option<File>) -> Result<Self, StateError> {
        let path = folder.join("state.db");
        let database = open_database(&path)?;
        Ok(Self {
            shared: Arc::new(Shared {
                database: Mutex::new(database),
                journal: OnceLock::new(),
                path,
                _lock: lock,
            }),
        })
    }

    /// The writer of changes that must be on the disk before anybody is told so.
    pub(crate) fn journal(&self) -> Result<Journal, StateError> {
        let path = &self.shared.path;
        if let Some(journal) = self.shared.journal.get() {
            return Ok(journal.clone());
        }
        let database = open_database(path)?;
        // In WAL mode, SQLite waits for the disk at each commit only with this setting.
        database
            .pragma_update(None, "synchronous", "FULL")
            .map_err(|reason| StateError::of(path, reason))?;
        let journal =
            Journal::start(database, path).map_err(|reason| FolderError::of(path, reason))?;
        Ok(self.shared.journal.get_or_init(|| journal).clone())
    }

    /// The state folder.
    pub(crate) fn folder(&self) -> &Path {
        self.shared.path.parent().unwrap_or(Path::new("."))
    }

    /// Reads the bytes that are stored under `key`.
    pub(crate) fn fact(&self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        self.with(|database| {
            database
                .query_row("SELECT value FROM facts WHERE key = ?1", [key], |row| {
                    row.get(0)
                })
                .optional()
        })
    }

    /// Reads the stored roster, of whichever team.
    pub(crate) fn last_roster(&self) -> Result<Option<Vec<u8>>, StateError> {
        self.with(|database| {
            let query = "SELECT value FROM facts WHERE key LIKE 'roster/%' LIMIT 1";
            database.query_row(query, [], |row| row.get(0)).optional()
        })
    }

    /// Stores `value` under `key`.
    pub(crate) fn set_fact(&self, key: &str, value: &[u8]) -> Result<(), StateError> {
        self.with(|database| put_fact(database, key, value))
    }

    /// The id of this host among the readers of a layer. It is made once for each state folder, so that a restarted
    /// host finds its own processing keys again.
    pub(crate) fn host_id(&self) -> Result<String, StateError> {
        if let Some(id) = self
            .fact("host_id")?
            .and_then(|id| String::from_utf8(id).ok())
        {
            return Ok(id);
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        self.set_fact("host_id", id.as_bytes())?;
        Ok(id)
    }

    /// Stores `letter`, and deletes the oldest beyond [`DEAD_LETTERS_KEPT`] and [`DEAD_LETTER_BYTES`].
    pub(crate) fn add_dead_letter(&self, letter: &DeadLetter) -> Result<i64, StateError> {
        self.with(|database| letter.store(database))
    }

    /// Counts the dead letters.
    pub(crate) fn dead_letter_count(&self) -> Result<u64, StateError> {
        self.with(|database| {
            database.query_row("SELECT count(*) FROM dead_letters", [], |row| row.get(0))
        })
    }

    /// Reads all dead letters, the oldest first.
    pub(crate) fn dead_letters(&self) -> Result<Vec<DeadLetter>, StateError> {
        self.with(|database| {
            let mut query = database.prepare(&format!("{SELECT_LETTERS} ORDER BY id"))?;
            query.query_map([], DeadLetter::from_row)?.collect()
        })
    }

    /// Reads one dead letter.
    pub(crate) fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, StateError> {
        self.with(|database| {
            database
                .query_row(
                    &format!("{SELECT_LETTERS} WHERE id = ?1"),
                    [id],
                    DeadLetter::from_row,
                )
                .optional()
        })
    }

    /// Deletes a dead letter.
    pub(crate) fn forget_dead_letter(&self, id: i64) -> Result<(), StateError> {
        self.with(|database| {
            database
                .execute("DELETE FROM dead_letters WHERE id = ?1", [id])
                .map(drop)
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let database = lock(&self.shared.database);
        work(&database).map_err(|reason| StateError::of(&self.shared.path, reason))
    }
}

impl DeadLetter {
    /// Makes a letter that is not stored yet, with the time of now.
    pub(crate) fn new(channel: &str, error: &str, detail: &str, message: &[u8]) -> Self {
        Self {
            id: 0,
            at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
            channel: channel.to_owned(),
            error: error.to_owned(),
            detail: detail.to_owned(),
            message: message.to_owned(),
            serializer: None,
        }
    }

    /// Stores the letter as a part of a transaction; see [`State::add_dead_letter`].
    pub(crate) fn store(&self, database: &Connection) -> rusqlite::Result<i64> {
        database.execute(
            "INSERT INTO dead_letters (at, channel, error, detail, message, serializer) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                self.at,
                self.channel,
                self.error,
                &*masking::in_text(&self.detail),
                &*masking::without_tokens(&self.message),
                self.serializer.map(|serializer| serializer.to_string())
            ],
        )?;
        let id = database.last_insert_rowid();
        database.execute(
            "DELETE FROM dead_letters WHERE id <= ?1 OR id < (
                SELECT max(id) FROM (
                    SELECT id, sum(length(message)) OVER (ORDER BY id DESC) AS bytes FROM dead_letters
                ) WHERE bytes > ?2
             )",
            [id - DEAD_LETTERS_KEPT, DEAD_LETTER_BYTES],
        )?;
        Ok(id)
    }

    /// Runs `work`, which deletes a row and stores a dead letter in its place, so that no byte of the row stays in the
    /// file.
    ///
    /// The row has tokens that the dead letter masks, and SQLite would leave the row's bytes in the file until it
    /// writes something else over them.
    pub(crate) fn in_place_of<T>(
        database: &Connection,
        work: impl FnOnce() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        database.pragma_update(None, "secure_delete", "ON")?;
        let done = work();
        database.pragma_update(None, "secure_delete", "OFF")?;
        done
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            at: row.get(1)?,
            channel: row.get(2)?,
            error: row.get(3)?,
            detail: row.get(4)?,
            message: row.get(5)?,
            serializer: row
                .get::<_, Option<String>>(6)?
                .and_then(|name| name.parse().ok()),
        })
    }
}

/// Stores `value` under `key`, as a part of the transaction that `database` may be in.
pub(crate) fn put_fact(database: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    database
        .prepare_cached("INSERT OR REPLACE INTO facts (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])
        .map(drop)
}

fn open_database(path: &Path) -> Result<Connection, StateError> {
    let broken = |reason| StateError::of(path, reason);
    // The file has messages and rotating tokens, so it must be private. SQLite gives its `-wal` and `-shm` files the
    // same mode, and follows no links there.
    private::open_file(path).map_err(|reason| FolderError::of(path, reason))?;
    let mut database = Connection::open(path).map_err(broken)?;
    // Commands and the bridge write to the same file. Each transaction is short, so a longer wait means that another
    // program has locked the file.
    database
        .busy_timeout(Duration::from_secs(5))
        .map_err(broken)?;
    database
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(broken)?;
    database
        // A crash of this process loses nothing with this setting, and a power failure may lose the last commits. Only
        // the journal, whose writes others rely on, waits for the disk.
        .pragma_update(None, "synchronous", "NORMAL")
        .map_err(broken)?;
    let version: usize = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(broken)?;
    if version > MIGRATIONS.len() {
        return Err(StateError::Newer {
            path: path.to_owned(),
            found: version,
            known: MIGRATIONS.len(),
            waiting: waiting::describe(path),
        });
    }
    // Each step and its version number are one transaction, so that an interrupted start goes on where it stopped.
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let migration = database.transaction().map_err(broken)?;
        migration.execute_batch(sql).map_err(broken)?;
        migration
            .pragma_update(None, "user_version", step + 1)
            .map_err(broken)?;
        migration.commit().map_err(broken)?;
    }
    Ok(database)
}
