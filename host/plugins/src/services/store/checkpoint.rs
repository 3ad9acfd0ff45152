//! Carries what was written from SQLite's log into its file, on a thread of its own: it waits for the disk, and no call
//! of a plugin shall wait with it.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// After how many pages of log a write does it itself, should the thread not keep up: 32 MiB.
pub(super) const LAST_RESORT_PAGES: u32 = 8_000;

/// The thread; it ends with this.
pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts it for the file at `path`.
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

    /// Asks for a round. It never waits: when the thread is at it, the next round is already asked for.
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.wake {
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
        // Passive: it takes what it gets without making a writer wait. What fails here is done by the next round, or by
        // a write as the last resort, which says so.
        let done = database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = done {
            tracing::debug!(%error, "the plugins' store kept its log for now");
        }
    }
}
