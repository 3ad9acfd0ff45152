//! Writes that must be on the disk before something is said of them: many at a time share one commit.
//!
//! One thread owns one connection. It takes all that waits, carries it out in one transaction, and tells each of its
//! fate once the disk has it. So a single write costs one commit, and a thousand that come together cost one too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use miette::Diagnostic;
use rusqlite::{Connection, TransactionBehavior};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::unconstrained;

/// Works that share a commit, at most.
const TOGETHER: usize = 1024;
/// Works that may wait for their turn; who brings more waits.
const WAITING: usize = 4096;

/// The one writer of a state file. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    /// Taken when it ends.
    works: Option<mpsc::Sender<Box<dyn Work>>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

/// The disk does not have what was to be written.
#[derive(Debug, Clone, Error, Diagnostic)]
#[error("the state file {} can't be written: {reason}", path.display())]
#[diagnostic(help("is the disk full? --state-dir names another folder for the state"))]
pub(crate) struct JournalError {
    path: PathBuf,
    reason: String,
}

/// A part of a transaction.
trait Work: Send {
    fn carry_out(&mut self, database: &Connection) -> rusqlite::Result<()>;
    /// Tells who brought it whether the disk has it.
    fn tell(self: Box<Self>, outcome: Result<(), &str>);
}

struct Job<F, T> {
    work: Option<F>,
    value: Option<T>,
    told: oneshot::Sender<Result<T, String>>,
}

impl<F, T> Work for Job<F, T>
where
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn carry_out(&mut self, database: &Connection) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(database)?);
        }
        Ok(())
    }

    fn tell(self: Box<Self>, outcome: Result<(), &str>) {
        let outcome = match (outcome, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err("it was not carried out".to_owned()),
            (Err(reason), _) => Err(reason.to_owned()),
        };
        // Who no longer listens has no use for it.
        let _ = self.told.send(outcome);
    }
}

impl Journal {
    /// Starts the thread on `database`, a connection to the file at `path` whose commits reach the disk.
    pub(crate) fn start(database: Connection, path: &Path) -> std::io::Result<Self> {
        let (works, waiting) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(database, waiting))?;
        Ok(Self {
            shared: Arc::new(Shared {
                works: Some(works),
                thread: Some(thread),
                path: path.to_owned(),
            }),
        })
    }

    /// Carries `work` out, together with what others brought; `Ok` when the disk has it.
    ///
    /// An error undoes all that shared the commit, and each of them hears of it. Works are carried out in the order in
    /// which they were brought: that of the first polls.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (told, hear) = oneshot::channel();
        let job = Box::new(Job {
            work: Some(work),
            value: None,
            told,
        });
        let error = |reason: &str| JournalError {
            path: self.shared.path.clone(),
            reason: reason.to_owned(),
        };
        let ended = || error("its writer has ended");
        let works = self.shared.works.as_ref().ok_or_else(ended)?;
        // A task that did much already would be put off here, and a work that one of its futures brings later would go
        // first. So the budget that tokio gives a task does not count for this.
        unconstrained(works.send(job)).await.map_err(|_| ended())?;
        hear.await
            .map_err(|_| ended())?
            .map_err(|reason| error(&reason))
    }
}

impl Drop for Shared {
    /// Waits for what is being written.
    fn drop(&mut self) {
        self.works = None;
        if let Some(thread) = self.thread.take() {
            // The thread ends with its channel. One that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn run(mut database: Connection, mut waiting: mpsc::Receiver<Box<dyn Work>>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(next) = waiting.try_recv()
        {
            together.push(next);
        }
        let outcome = commit(&mut database, &mut together).map_err(|error| error.to_string());
        for work in together {
            work.tell(match &outcome {
                Ok(()) => Ok(()),
                Err(reason) => Err(reason),
            });
        }
    }
}

fn commit(database: &mut Connection, together: &mut [Box<dyn Work>]) -> rusqlite::Result<()> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for work in together {
        work.carry_out(&transaction)?;
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
    async fn what_is_told_as_written_is_in_the_file() {
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
    async fn a_failure_undoes_what_shared_its_commit_and_the_next_write_works() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        journal.write(put(1)).await.unwrap();
        let error = journal.write(put(1)).await.unwrap_err();
        assert!(error.to_string().contains("UNIQUE"), "{error}");
        journal.write(put(2)).await.unwrap();
        assert_eq!(count(&journal).await, 2);
    }

    #[tokio::test]
    async fn works_of_a_busy_task_are_carried_out_in_the_order_in_which_they_were_brought() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let note = |n: i64| {
            move |database: &Connection| {
                let next = "SELECT coalesce(max(n), 0) / 1000 + 1 FROM numbers";
                let place: i64 = database.query_row(next, [], |row| row.get(0))?;
                database.execute("INSERT INTO numbers VALUES (?1)", [place * 1000 + n])
            }
        };
        // Far more than a task may do without giving way to others.
        let works: FuturesOrdered<_> = (0..900).map(|n| journal.write(note(n))).collect();
        assert!(works.all(async |done| done.is_ok()).await);
        let other = Connection::open(folder.path().join("journal.db")).unwrap();
        let mut query = other
            .prepare("SELECT n % 1000 FROM numbers ORDER BY n")
            .unwrap();
        let order = query.query_map([], |row| row.get(0)).unwrap();
        let order: Vec<i64> = order.map(Result::unwrap).collect();
        assert_eq!(order, (0..900).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_last_clone_ends_the_thread_after_its_work() {
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
