//! The rows of the outbox, and the statements that write and read them.

use bytes::Bytes;
use djangobot_slack::Ts;
use rusqlite::{Connection, OptionalExtension, params};

use crate::bridge::message_key::MessageKey;
use crate::bridge::moment::{ts_of_seconds, unix_seconds_now};

/// The bytes that a message takes up on the disk in addition to its text: its row and its place in the index.
pub(super) const ROW: u64 = 160;
/// The most messages that are remembered by their keys after they are finished.
pub(super) const MAX_REMEMBERED: u64 = 20_000;

/// The id of a row: the number of a message, and which of the messages that plugins made of it.
///
/// `number * PARTS + part`, so rows are ordered by number, and then by part. Part 0 is the message itself, and the
/// parts behind it are those that plugins emitted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId(pub(super) u64);

impl RowId {
    const PARTS: u64 = 1 << 16;

    pub(super) fn first(number: u64) -> Self {
        Self(number * Self::PARTS)
    }

    /// The number of the message. It grows by one with each.
    pub(crate) fn number(self) -> u64 {
        self.0 / Self::PARTS
    }
}

/// Messages with consecutive numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NumberRange {
    /// The number before the first of them.
    pub(crate) after: u64,
    /// The number of the last of them.
    pub(crate) upto: u64,
}

/// The result of storing a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutResult {
    /// The outbox has it.
    Stored(RowId),
    /// The outbox had it already.
    Known,
    /// It was not stored, because its predecessor is not in the outbox.
    Gap,
}

/// A message as it is read from the disk.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) id: RowId,
    pub(crate) key: MessageKey,
    /// When it was taken from the layer, by our clock.
    pub(crate) taken_at: Ts,
    /// Its JSON, as the plugins made it, or as the app sent it.
    pub(crate) message: Bytes,
    /// Whether it has been through the plugins.
    pub(crate) passed: bool,
    /// If a call of Slack was begun and its outcome is not known: Slack's time before the call, or 1970 if that was not
    /// known.
    pub(crate) begun: Option<Ts>,
    /// The ids of the files that this call shares.
    pub(crate) files: Vec<String>,
    /// Its outcome, if that was noted and has still to be reported.
    pub(crate) outcome: Option<Bytes>,
}

/// Consecutive messages, in their order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) entries: Vec<StoredMessage>,
    /// The number of the last of them; if there are none, the number behind which they were to begin.
    pub(crate) last: u64,
    /// Whether there are no more.
    pub(crate) is_end: bool,
}

/// The result of the plugins for a message.
#[derive(Debug, Default)]
pub(crate) struct PluginResult {
    /// The message itself, unless it goes no further.
    pub(crate) message: Option<Bytes>,
    /// Its outcome, if it goes no further.
    pub(crate) outcome: Option<Bytes>,
    /// The messages that plugins emitted with it. They follow it in its lane.
    pub(crate) emitted: Vec<(MessageKey, Bytes)>,
    /// Messages that plugins sent by themselves. They come behind all others.
    pub(crate) messages: Vec<Bytes>,
}

/// The rows of a [`PluginResult`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PluginRows {
    pub(crate) emitted: Vec<RowId>,
    /// The last row of `messages`.
    pub(crate) newest: Option<RowId>,
}

/// The sums over all rows.
pub(super) struct Totals {
    /// How many messages are not finished.
    pub(super) messages: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// The number of the newest message, finished or not.
    pub(super) newest: u64,
}

/// Reads the sums.
///
/// # Errors
///
/// Fails if the file can't be read.
pub(super) fn totals(database: &Connection) -> rusqlite::Result<Totals> {
    database.query_row(
        "SELECT count(message), coalesce(sum(length(message) + coalesce(length(passed), 0) + ?1), 0),
                coalesce(max(id), 0) FROM outbox",
        [ROW],
        |row| {
            Ok(Totals {
                messages: row.get(0)?,
                bytes: row.get(1)?,
                newest: RowId(row.get(2)?).number(),
            })
        },
    )
}

/// Calls [`append`] if the message with the key `behind` is there.
///
/// # Errors
///
/// Fails if the disk does not take it.
pub(super) fn append_behind(
    database: &Connection,
    key: MessageKey,
    message: &[u8],
    behind: Option<MessageKey>,
) -> rusqlite::Result<PutResult> {
    if let Some(behind) = behind {
        let mut query = database.prepare_cached("SELECT 1 FROM outbox WHERE key = ?1")?;
        let found = query.query_row([&behind.0[..]], |_| Ok(())).optional()?;
        if found.is_none() {
            return Ok(PutResult::Gap);
        }
    }
    Ok(append(database, key, message)?.map_or(PutResult::Known, PutResult::Stored))
}

/// Stores a message behind all others; `None` if its key is known.
fn append(
    database: &Connection,
    key: MessageKey,
    message: &[u8],
) -> rusqlite::Result<Option<RowId>> {
    // The newest are never forgotten, so that numbers only grow.
    let mut newest = database.prepare_cached("SELECT coalesce(max(id), 0) FROM outbox")?;
    let newest = RowId(newest.query_row([], |row| row.get(0))?);
    let id = RowId::first(newest.number() + 1);
    let mut insert = database.prepare_cached(
        "INSERT OR IGNORE INTO outbox (id, key, at, message) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let inserted = insert.execute(params![id.0, &key.0[..], unix_seconds_now(), message])?;
    Ok((inserted > 0).then_some(id))
}

/// Reads the first messages of a range, as [`Page`] has them.
///
/// # Errors
///
/// Fails if the file can't be read.
pub(super) fn read(
    database: &Connection,
    NumberRange { after, upto }: NumberRange,
    count: usize,
    bytes: usize,
) -> rusqlite::Result<Page> {
    let mut query = database.prepare_cached(
        "SELECT id, key, at, coalesce(passed, message), passed IS NOT NULL, begun, outcome, files FROM outbox
         WHERE id >= ?1 AND id < ?2 AND message IS NOT NULL ORDER BY id",
    )?;
    let range = [after, upto].map(|number| RowId::first(number + 1).0);
    let mut rows = query.query(range)?;
    let mut page = Page {
        entries: Vec::new(),
        last: after,
        is_end: true,
    };
    let mut size = 0;
    while let Some(row) = rows.next()? {
        let id = RowId(row.get(0)?);
        // The messages that plugins made of one message stay together.
        if id.number() != page.last && (page.entries.len() >= count || size > bytes) {
            page.is_end = false;
            break;
        }
        page.last = id.number();
        let message = Bytes::from(row.get::<_, Vec<u8>>(3)?);
        size += message.len();
        page.entries.push(StoredMessage {
            id,
            key: MessageKey(row.get(1)?),
            taken_at: ts_of_seconds(row.get(2)?),
            message,
            passed: row.get(4)?,
            begun: row.get::<_, Option<f64>>(5)?.map(ts_of_seconds),
            outcome: row.get::<_, Option<Vec<u8>>>(6)?.map(Bytes::from),
            files: row
                .get::<_, Option<String>>(7)?
                .map_or_else(Vec::new, |files| {
                    files.split(',').map(str::to_owned).collect()
                }),
        });
    }
    Ok(page)
}

/// Writes the result of the plugins for the message in row `id`. A message that a plugin emitted has been through the
/// plugins: what it is and what they made of it are the same.
///
/// # Errors
///
/// Fails if the disk does not take it.
pub(super) fn write_passed(
    database: &Connection,
    id: RowId,
    passed: &PluginResult,
) -> rusqlite::Result<PluginRows> {
    let mut update =
        database.prepare_cached("UPDATE outbox SET passed = ?2, outcome = ?3 WHERE id = ?1")?;
    update.execute(params![
        id.0,
        passed.message.as_deref(),
        passed.outcome.as_deref()
    ])?;
    let mut insert = database.prepare_cached(
        "INSERT INTO outbox (id, key, at, message, passed) VALUES (?1, ?2, ?3, ?4, ?4)",
    )?;
    let mut places = PluginRows::default();
    for (place, (key, message)) in (1..).zip(&passed.emitted) {
        let emitted = RowId(id.0 + place);
        insert.execute(params![
            emitted.0,
            &key.0[..],
            unix_seconds_now(),
            &message[..]
        ])?;
        places.emitted.push(emitted);
    }
    for message in &passed.messages {
        places.newest = append(database, MessageKey::new(), message)?;
    }
    Ok(places)
}

/// Deletes a message but for its key. Gives the bytes that it took up, or `None` if it was finished before.
///
/// # Errors
///
/// Fails if the disk keeps the message.
pub(super) fn finish(
    database: &Connection,
    id: RowId,
    ts: Option<String>,
) -> rusqlite::Result<Option<u64>> {
    let mut measure = database.prepare_cached(
        "SELECT length(message) + coalesce(length(passed), 0) + ?2 FROM outbox WHERE id = ?1",
    )?;
    let size = measure
        .query_row(params![id.0, ROW], |row| row.get::<_, Option<u64>>(0))
        .optional()?
        .flatten();
    let mut update = database.prepare_cached(
        "UPDATE outbox SET message = NULL, passed = NULL, begun = NULL, files = NULL, outcome = NULL, ts = coalesce(?2, ts) WHERE id = ?1",
    )?;
    update.execute(params![id.0, ts])?;
    Ok(size)
}

/// Deletes the oldest keys of finished messages.
///
/// # Errors
///
/// Fails if the disk keeps them.
pub(super) fn forget(database: &Connection) -> rusqlite::Result<()> {
    let mut delete = database.prepare_cached(
        "DELETE FROM outbox WHERE message IS NULL AND id < (SELECT max(id) FROM outbox) - ?1",
    )?;
    delete.execute([RowId::first(MAX_REMEMBERED).0]).map(drop)
}
