//! The checkpointer: a thread that copies writes from SQLite's log into the file. It waits for the disk, so that no
//! call of a plugin has to.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// The size of the log, in pages, at which a write makes a checkpoint itself, if the thread does not keep up: 32 MiB.
pub(super) const LAST_RESORT_PAGES: u32 = 8_000;

/// The thread, which ends when this is dropped.
pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread for the file at `path`.
    pub(super) fn start(path: &Path) -> Result<Self, String> {
        let database = Connection::open(path).map_err(|error| error.to_string())?;
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || run(&database, &woken))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// Asks for a checkpoint. It never waits.
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.wake {
            // A full channel means that the next checkpoint is asked for already.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(database: &Connection, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        // A passive checkpoint copies as much as it can without making a writer wait. If it fails, the next one does
        // it, or a write as the last resort, which reports the error.
        let done = database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = done {
            tracing::debug!(%error, "the checkpoint of the plugins' store failed; the next one will copy the writes");
        }
    }
}
