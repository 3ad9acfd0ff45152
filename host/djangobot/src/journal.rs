//! Writes that must be on the disk before anybody is told so. Many of them share one commit.
//!
//! One thread owns one connection. It takes all changes that wait, makes them in one transaction, and reports to each
//! caller once the disk has them. A commit waits for the disk for milliseconds: so a single change costs one such wait,
//! and a thousand that come together cost one too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use miette::Diagnostic;
use rusqlite::{Connection, TransactionBehavior};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::unconstrained;

/// The most changes that share a commit. It bounds what one failure undoes, and how long the first one waits.
const TOGETHER: usize = 1024;
/// The most changes that may wait for their turn; callers of more wait in [`Journal::write`]. It is more than
/// [`TOGETHER`], so that the next commits gather while one waits for the disk.
const WAITING: usize = 4096;

/// The one writer of a state file. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub(crate) struct Journal {
    writer: Arc<Writer>,
}

/// The thread that writes.
struct Writer {
    /// Dropped first when the journal ends, which ends the thread.
    changes: Option<mpsc::Sender<Box<dyn Change>>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

/// The change is not on the disk.
#[derive(Debug, Clone, Error, Diagnostic)]
#[error("the state file {} can't be written: {reason}", path.display())]
#[diagnostic(help("is the disk full? --state-dir names another folder for the state"))]
pub(crate) struct JournalError {
    path: PathBuf,
    reason: String,
}

/// A part of a transaction.
trait Change: Send {
    fn make(&mut self, database: &Connection) -> rusqlite::Result<()>;
    /// Reports to the caller whether the disk has it.
    fn report(self: Box<Self>, outcome: Result<(), &str>);
}

/// A change that is given as a closure, with the way back to its caller.
struct PendingChange<F, T> {
    /// Taken when the change is made.
    change: Option<F>,
    /// The closure's result. The caller gets it only after the commit.
    value: Option<T>,
    caller: oneshot::Sender<Result<T, String>>,
}

impl<F, T> Change for PendingChange<F, T>
where
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn make(&mut self, database: &Connection) -> rusqlite::Result<()> {
        if let Some(change) = self.change.take() {
            self.value = Some(change(database)?);
        }
        Ok(())
    }

    fn report(self: Box<Self>, outcome: Result<(), &str>) {
        let outcome = match (outcome, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err("the change was not made".to_owned()),
            (Err(reason), _) => Err(reason.to_owned()),
        };
        // A caller that was cancelled no longer waits for the outcome.
        let _ = self.caller.send(outcome);
    }
}

impl Journal {
    /// Starts the thread on `database`, a connection to the file at `path` whose commits reach the disk.
    pub(crate) fn start(database: Connection, path: &Path) -> std::io::Result<Self> {
        let (changes, waiting) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(database, waiting))?;
        Ok(Self {
            writer: Arc::new(Writer {
                changes: Some(changes),
                thread: Some(thread),
                path: path.to_owned(),
            }),
        })
    }

    /// Makes `change`, together with those of other callers; returns `Ok` when the disk has it.
    ///
    /// Changes are made in the order of the calls, that is, of the first polls of the returned futures.
    ///
    /// # Errors
    /// A change failed, or the disk did. Either undoes all changes that shared the commit, and each of their callers
    /// gets the error.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (caller, outcome) = oneshot::channel();
        let change = Box::new(PendingChange {
            change: Some(change),
            value: None,
            caller,
        });
        let error = |reason: &str| JournalError {
            path: self.writer.path.clone(),
            reason: reason.to_owned(),
        };
        let ended = || error("its writer has ended");
        let changes = self.writer.changes.as_ref().ok_or_else(ended)?;
        // tokio makes a task yield that has done much without waiting. A change that another future of the same task
        // brings later would then overtake this one, so that budget must not count here.
        unconstrained(changes.send(change))
            .await
            .map_err(|_| ended())?;
        outcome
            .await
            .map_err(|_| ended())?
            .map_err(|reason| error(&reason))
    }
}

impl Drop for Writer {
    /// Waits until the thread has written all changes.
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take() {
            // The thread ends with its channel. If it panicked, the panic has been printed.
            let _ = thread.join();
        }
    }
}

fn run(mut database: Connection, mut waiting: mpsc::Receiver<Box<dyn Change>>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(next) = waiting.try_recv()
        {
            together.push(next);
        }
        let outcome = commit(&mut database, &mut together).map_err(|error| error.to_string());
        for change in together {
            change.report(match &outcome {
                Ok(()) => Ok(()),
                Err(reason) => Err(reason),
            });
        }
    }
}

fn commit(database: &mut Connection, together: &mut [Box<dyn Change>]) -> rusqlite::Result<()> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in together {
        change.make(&transaction)?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use futures_util::future::join_all;
    use futures_util::stream::FuturesOrdered;

    fn journal(folder: &Path) -> Journal {
        let path = folder.join("journal.db");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
            .unwrap();
        Journal::start(database, &path).unwrap()
    }

    fn put(n: i64) -> impl FnOnce(&Connection) -> rusqlite::Result<usize> + Send + 'static {
        move |database| database.execute("INSERT INTO numbers VALUES (?1)", [n])
    }

    async fn count(journal: &Journal) -> i64 {
        let count = |database: &Connection| {
            database.query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))
        };
        journal.write(count).await.unwrap()
    }

    #[tokio::test]
    async fn a_change_that_is_reported_as_written_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let all = join_all((0..100).map(|n| journal.write(put(n)))).await;
        assert!(all.iter().all(|one| matches!(one, Ok(1))));
        let other = Connection::open(folder.path().join("journal.db")).unwrap();
        let seen: i64 = other
            .query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))
            .unwrap();
        assert_eq!(seen, 100);
    }

    #[tokio::test]
    async fn a_failure_undoes_all_changes_of_its_commit_and_the_next_write_works() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        journal.write(put(1)).await.unwrap();
        let error = journal.write(put(1)).await.unwrap_err();
        assert!(error.to_string().contains("UNIQUE"), "{error}");
        journal.write(put(2)).await.unwrap();
        assert_eq!(count(&journal).await, 2);
    }

    #[tokio::test]
    async fn changes_of_a_busy_task_are_made_in_the_order_of_the_calls() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let note = |n: i64| {
            move |database: &Connection| {
                let next = "SELECT coalesce(max(n), 0) / 1000 + 1 FROM numbers";
                let place: i64 = database.query_row(next, [], |row| row.get(0))?;
                database.execute("INSERT INTO numbers VALUES (?1)", [place * 1000 + n])
            }
        };
        // Far more than a task may do before tokio makes it yield.
        let writes: FuturesOrdered<_> = (0..900).map(|n| journal.write(note(n))).collect();
        assert!(writes.all(async |done| done.is_ok()).await);
        let other = Connection::open(folder.path().join("journal.db")).unwrap();
        let mut query = other
            .prepare("SELECT n % 1000 FROM numbers ORDER BY n")
            .unwrap();
        let order = query.query_map([], |row| row.get(0)).unwrap();
        let order: Vec<i64> = order.map(Result::unwrap).collect();
        assert_eq!(order, (0..900).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_last_clone_ends_the_thread_after_all_changes() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let written = tokio::spawn({
            let journal = journal.clone();
            async move { journal.write(put(7)).await }
        });
        written.await.unwrap().unwrap();
        drop(journal);
        let other = Connection::open(folder.path().join("journal.db")).unwrap();
        let n: i64 = other
            .query_row("SELECT n FROM numbers", [], |row| row.get(0))
            .unwrap();
        assert_eq!(n, 7);
    }
}
