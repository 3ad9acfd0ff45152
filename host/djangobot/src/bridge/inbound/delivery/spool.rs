//! The spool: events on the disk that the channel layer has not taken yet, each channel's in its order.
//!
//! An event is stored as the member that goes into the layer, with its random prefix. So after a crash the same member
//! is sent again, and a Redis queue that has it already does not take it twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use djangobot_channels::Member;
use djangobot_event::lock::lock;
use rusqlite::{Connection, OptionalExtension, params};

use crate::bridge::moment::unix_seconds_now;
use crate::journal::{Journal, JournalError};
use crate::state::DeadLetter;

/// The bytes that an event takes up on the disk in addition to its member: its row and its place in the index.
const ROW: u64 = 128;
/// The most events that are evicted at once.
const EVICTION: usize = 256;

/// The spool of one bridge. Clones share it.
#[derive(Clone)]
pub(crate) struct Spool {
    journal: Journal,
    shared: Arc<SpoolState>,
}

struct SpoolState {
    /// The number of the next event, of any channel.
    next: AtomicU64,
    /// The most bytes in the spool.
    limit: u64,
    sizes: Mutex<Sizes>,
}

#[derive(Default)]
struct Sizes {
    by_channel: HashMap<Arc<str>, u64>,
    /// Whether a write failed since they were read, so that they may be wrong.
    is_stale: bool,
}

/// An event in the spool, or on its way there.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Grows with each event: the order within a channel.
    pub(crate) seq: u64,
    /// `djangobot.id`.
    pub(crate) id: Arc<str>,
    /// How the member is written: the text of a [`djangobot_channels::Wire`].
    pub(crate) wire: Arc<str>,
    pub(crate) member: Member,
}

/// The events of a channel that an earlier run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) channel: String,
    pub(crate) newest: u64,
    pub(crate) count: u64,
}

/// Events of a channel that were deleted to make room for others.
pub(crate) struct Eviction {
    pub(crate) channel: Arc<str>,
    pub(crate) count: usize,
}

impl Spool {
    /// Opens the spool, of at most `limit` bytes, in the file that `journal` writes. Gives the backlog of each channel.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
    pub(crate) async fn open(
        journal: Journal,
        limit: u64,
    ) -> Result<(Self, Vec<Backlog>), JournalError> {
        let (left, sizes) = journal
            .write(|database| {
                let mut query = database.prepare(
                    "SELECT channel, max(seq), count(*), sum(length(member) + ?1) FROM spool GROUP BY channel ORDER BY channel",
                )?;
                let rows = query.query_map([ROW], |row| {
                    let channel: String = row.get(0)?;
                    let size = (Arc::from(channel.as_str()), row.get(3)?);
                    let left = Backlog {
                        channel,
                        newest: row.get(1)?,
                        count: row.get(2)?,
                    };
                    Ok((left, size))
                })?;
                rows.collect::<rusqlite::Result<(Vec<_>, HashMap<_, _>)>>()
            })
            .await?;
        let newest = left.iter().map(|left| left.newest).max().unwrap_or(0);
        let spool = Self {
            journal,
            shared: Arc::new(SpoolState {
                next: AtomicU64::new(newest + 1),
                limit,
                sizes: Mutex::new(Sizes {
                    by_channel: sizes,
                    is_stale: false,
                }),
            }),
        };
        Ok((spool, left))
    }

    /// Takes the number of the next event. The caller takes the numbers of a channel in the order of its events.
    pub(crate) fn number(&self) -> u64 {
        self.shared.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The bytes in the spool.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.sizes().by_channel.values().sum()
    }

    /// Writes `entries` behind those of `channel`. If there is too little room, the oldest events of the largest
    /// channel are deleted, so that a channel that nobody reads makes room for the others.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take them; it has none of them then.
    pub(crate) async fn append(
        &self,
        channel: &str,
        entries: Vec<Entry>,
    ) -> Result<Vec<Eviction>, JournalError> {
        let (shared, channel) = (self.shared.clone(), Arc::<str>::from(channel));
        let written = self
            .journal
            .write(move |database| shared.append(database, &channel, &entries))
            .await;
        self.judge(written)
    }

    /// Reads the first events of `channel` behind number `after`: at most `count` of them, with at most `bytes` unless
    /// the first one has more.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
    pub(crate) async fn read(
        &self,
        channel: &str,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let channel = channel.to_owned();
        self.journal
            .write(move |database| {
                let mut query = database.prepare_cached(
                    "SELECT seq, id, wire, member FROM spool WHERE channel = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
                )?;
                let mut rows = query.query(params![channel, after, count as u64])?;
                let (mut entries, mut size) = (Vec::new(), 0);
                while let Some(row) = rows.next()? {
                    let member: Vec<u8> = row.get(3)?;
                    size += member.len();
                    if size > bytes && !entries.is_empty() {
                        break;
                    }
                    entries.push(Entry {
                        seq: row.get(0)?,
                        id: row.get::<_, String>(1)?.into(),
                        wire: row.get::<_, String>(2)?.into(),
                        member: Member(Bytes::from(member)),
                    });
                }
                Ok(entries)
            })
            .await
    }

    /// Deletes the events of `channel` up to number `upto`. Gives how many there were.
    ///
    /// # Errors
    ///
    /// Fails if the disk keeps them.
    pub(crate) async fn forget(&self, channel: &str, upto: u64) -> Result<u64, JournalError> {
        let (shared, channel) = (self.shared.clone(), channel.to_owned());
        let gone = self
            .journal
            .write(move |database| shared.forget(database, &channel, upto))
            .await;
        self.judge(gone)
    }

    /// Stores `letter` in the place of the event with number `seq`, which may or may not be in the spool. Gives the
    /// letter's number, and how many events were deleted from the spool.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take the letter.
    pub(crate) async fn dead_letter(
        &self,
        seq: u64,
        letter: DeadLetter,
    ) -> Result<(i64, u64), JournalError> {
        let shared = self.shared.clone();
        let stored = self
            .journal
            .write(move |database| {
                let size = "SELECT length(member) + ?2 FROM spool WHERE seq = ?1";
                let size: Option<u64> = database
                    .query_row(size, params![seq, ROW], |row| row.get(0))
                    .optional()?;
                let (gone, id) = DeadLetter::in_place_of(database, || {
                    let gone = database.execute("DELETE FROM spool WHERE seq = ?1", [seq])?;
                    Ok((gone, letter.store(database)?))
                })?;
                if let Some(all) = shared.sizes().by_channel.get_mut(letter.channel.as_str()) {
                    *all = all.saturating_sub(size.unwrap_or(0));
                }
                Ok((id, gone as u64))
            })
            .await;
        self.judge(stored)
    }

    /// Deletes the events of `channel` with the numbers `seqs`. Gives how many there were.
    ///
    /// # Errors
    ///
    /// Fails if the disk keeps them.
    pub(crate) async fn remove(&self, channel: &str, seqs: Vec<u64>) -> Result<u64, JournalError> {
        if seqs.is_empty() {
            return Ok(0);
        }
        let (shared, channel) = (self.shared.clone(), channel.to_owned());
        let removed = self
            .journal
            .write(move |database| {
                let mut delete = database
                    .prepare_cached("DELETE FROM spool WHERE seq = ?1 RETURNING length(member)")?;
                let (mut count, mut bytes) = (0, 0);
                for seq in seqs {
                    let size: Option<u64> = delete.query_row([seq], |row| row.get(0)).optional()?;
                    count += u64::from(size.is_some());
                    bytes += size.map_or(0, |size| size + ROW);
                }
                if let Some(all) = shared.sizes().by_channel.get_mut(channel.as_str()) {
                    *all = all.saturating_sub(bytes);
                }
                Ok(count)
            })
            .await;
        self.judge(removed)
    }

    /// Marks the sizes as stale if a write failed: the database rolled it back, but the sizes were changed.
    fn judge<T>(&self, outcome: Result<T, JournalError>) -> Result<T, JournalError> {
        if outcome.is_err() {
            self.shared.sizes().is_stale = true;
        }
        outcome
    }
}

impl SpoolState {
    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        lock(&self.sizes)
    }

    fn append(
        &self,
        database: &Connection,
        channel: &Arc<str>,
        entries: &[Entry],
    ) -> rusqlite::Result<Vec<Eviction>> {
        let mut sizes_now = self.sizes();
        if sizes_now.is_stale {
            sizes_now.by_channel = sizes(database)?;
            sizes_now.is_stale = false;
        }
        let by_channel = &mut sizes_now.by_channel;
        let new: u64 = entries.iter().map(size).sum();
        let mut evicted: Vec<Eviction> = Vec::new();
        while by_channel.values().sum::<u64>() + new > self.limit {
            let largest = by_channel
                .iter()
                .filter(|(_, size)| **size > 0)
                .max_by_key(|(_, size)| **size)
                .map(|(channel, _)| channel.clone());
            let Some(largest) = largest else { break };
            let (count, bytes) = evict(database, &largest)?;
            if count == 0 {
                by_channel.remove(&largest);
                continue;
            }
            if let Some(size) = by_channel.get_mut(&largest) {
                *size = size.saturating_sub(bytes);
            }
            match evicted.iter_mut().find(|it| it.channel == largest) {
                Some(eviction) => eviction.count += count,
                None => evicted.push(Eviction {
                    channel: largest,
                    count,
                }),
            }
        }
        let mut insert = database.prepare_cached(
            "INSERT OR REPLACE INTO spool (seq, channel, id, wire, member, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let at = unix_seconds_now();
        for entry in entries {
            insert.execute(params![
                entry.seq,
                channel,
                entry.id,
                entry.wire,
                &entry.member.0[..],
                at
            ])?;
        }
        *by_channel.entry(channel.clone()).or_default() += new;
        Ok(evicted)
    }

    fn forget(&self, database: &Connection, channel: &str, upto: u64) -> rusqlite::Result<u64> {
        let mut measure = database.prepare_cached(
            "SELECT coalesce(sum(length(member) + ?3), 0) FROM spool WHERE channel = ?1 AND seq <= ?2",
        )?;
        let bytes: u64 = measure.query_row(params![channel, upto, ROW], |row| row.get(0))?;
        let mut delete =
            database.prepare_cached("DELETE FROM spool WHERE channel = ?1 AND seq <= ?2")?;
        let count = delete.execute(params![channel, upto])?;
        if let Some(size) = self.sizes().by_channel.get_mut(channel) {
            *size = size.saturating_sub(bytes);
        }
        Ok(count as u64)
    }
}

/// The bytes that an entry takes up on the disk.
fn size(entry: &Entry) -> u64 {
    entry.member.0.len() as u64 + ROW
}

/// Reads the sizes of all channels from the disk.
fn sizes(database: &Connection) -> rusqlite::Result<HashMap<Arc<str>, u64>> {
    let mut query =
        database.prepare("SELECT channel, sum(length(member) + ?1) FROM spool GROUP BY channel")?;
    let sizes = query.query_map([ROW], |row| {
        Ok((Arc::from(row.get::<_, String>(0)?), row.get(1)?))
    })?;
    sizes.collect()
}

/// Deletes up to [`EVICTION`] of the oldest events of `channel`. Gives how many there were, and their bytes.
fn evict(database: &Connection, channel: &str) -> rusqlite::Result<(usize, u64)> {
    let mut oldest = database.prepare_cached(
        "SELECT max(seq), coalesce(sum(length(member) + ?3), 0)
         FROM (SELECT seq, member FROM spool WHERE channel = ?1 ORDER BY seq LIMIT ?2)",
    )?;
    let (upto, bytes): (Option<u64>, u64) = oldest
        .query_row(params![channel, EVICTION as u64, ROW], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let Some(upto) = upto else { return Ok((0, 0)) };
    let mut delete =
        database.prepare_cached("DELETE FROM spool WHERE channel = ?1 AND seq <= ?2")?;
    Ok((delete.execute(params![channel, upto])?, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    fn entry(seq: u64, text: &str) -> Entry {
        Entry {
            seq,
            id: format!("id{seq}").into(),
            wire: "msgpack/12".into(),
            member: Member(Bytes::copy_from_slice(text.as_bytes())),
        }
    }

    async fn texts(spool: &Spool, channel: &str) -> Vec<String> {
        let entries = spool.read(channel, 0, 10_000, usize::MAX).await.unwrap();
        let text = |entry: &Entry| String::from_utf8(entry.member.0.to_vec()).unwrap();
        entries.iter().map(text).collect()
    }

    #[tokio::test]
    async fn events_come_back_in_order_after_a_restart_and_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let (spool, left) = Spool::open(state.journal().unwrap(), 1 << 20)
            .await
            .unwrap();
        assert_eq!((left.len(), spool.number()), (0, 1));
        let three = [(1, "a"), (2, "b"), (3, "c")].map(|(seq, text)| entry(seq, text));
        spool.append("slack.message", three.to_vec()).await.unwrap();
        spool
            .append("slack.pin_added", vec![entry(4, "p")])
            .await
            .unwrap();
        assert_eq!(spool.forget("slack.message", 1).await.unwrap(), 1);
        let bytes = spool.bytes();
        drop((spool, state));

        let state = State::open(folder.path()).unwrap();
        let (spool, left) = Spool::open(state.journal().unwrap(), 1 << 20)
            .await
            .unwrap();
        let message = Backlog {
            channel: "slack.message".into(),
            newest: 3,
            count: 2,
        };
        assert_eq!((&left[0], left.len()), (&message, 2));
        assert_eq!(texts(&spool, "slack.message").await, ["b", "c"]);
        assert_eq!((spool.bytes(), spool.number()), (bytes, 5));
        let few = spool.read("slack.message", 0, 9, 1).await.unwrap();
        assert_eq!(few.len(), 1, "at least one, whatever its size");
    }

    #[tokio::test]
    async fn at_the_limit_the_oldest_events_of_the_largest_channel_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let (spool, _) = Spool::open(state.journal().unwrap(), 1_000 * 1_128)
            .await
            .unwrap();
        let text = "x".repeat(1_000);
        spool
            .append("slack.message", vec![entry(1, "keep me")])
            .await
            .unwrap();
        for block in 0..12 {
            let block = (0..100).map(|n| entry(2 + block * 100 + n, &text));
            let evicted = spool
                .append("slack.user_typing", block.collect())
                .await
                .unwrap();
            assert!(evicted.iter().all(|it| &*it.channel == "slack.user_typing"));
        }
        assert_eq!(texts(&spool, "slack.message").await, ["keep me"]);
        let left = texts(&spool, "slack.user_typing").await.len();
        assert!((700..1_000).contains(&left), "{left}");
        assert!(spool.bytes() <= 1_000 * 1_128);
    }
}
