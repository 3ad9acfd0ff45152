//! Watching files: the system reports changes where it can, and the files are compared with their last stamps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// A change is reported after so long without another one: many programs write a file in several steps.
const QUIET: Duration = Duration::from_millis(150);

/// Watches a set of files. The set may change, and some of its files may not exist.
///
/// The system watches their folders, since most programs write a new file and rename it over the old one: a watch on
/// the file itself would stay with the old one.
pub struct Watcher {
    told: Arc<Notify>,
    system: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    seen: BTreeMap<PathBuf, Option<FileStamp>>,
}

/// The properties of a file that change with its content and can be read without reading it. The inode is one of them:
/// a file that is renamed over another may have its length and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Watcher {
    /// A watcher that watches no file yet.
    pub fn new() -> Self {
        let told = Arc::new(Notify::new());
        let teller = told.clone();
        // An error of the system counts as a change: it may have lost some, and looking at the files costs little.
        let system = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let is_change = event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_)));
            if is_change {
                teller.notify_one();
            }
        });
        let system = system
            .inspect_err(|error| tracing::warn!(%error, "the system can't report changed files; they are checked from time to time instead"))
            .ok();
        Self {
            told,
            system,
            folders: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Makes `files` the set that is watched. A file that was in the set before keeps its stamp, so that a change
    /// between two calls is not missed.
    pub fn watch(&mut self, files: &[PathBuf]) {
        self.seen.retain(|file, _| files.contains(file));
        for file in files {
            self.seen.entry(file.clone()).or_insert_with(|| stamp(file));
        }
        let folders: BTreeSet<PathBuf> = files.iter().map(|file| folder_of(file)).collect();
        let Some(system) = &mut self.system else {
            return;
        };
        for gone in self.folders.difference(&folders) {
            // This fails where the folder is gone from the disk too, which is no matter.
            let _ = system.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for folder in folders {
            let fresh = !self.folders.contains(&folder);
            match fresh.then(|| system.watch(&folder, RecursiveMode::NonRecursive)) {
                // A folder that does not exist yet is tried again at the next call.
                Some(Err(error)) => {
                    tracing::debug!(%error, folder = %folder.display(), "the folder is not watched")
                }
                None | Some(Ok(())) => {
                    watched.insert(folder);
                }
            }
        }
        self.folders = watched;
    }

    /// Waits until something in the folders changed, and then until nothing did for a moment. Cancel safe.
    pub async fn changed(&self) {
        self.told.notified().await;
        while tokio::time::timeout(QUIET, self.told.notified())
            .await
            .is_ok()
        {}
    }

    /// Whether one of the files has changed since the last call.
    pub fn look(&mut self) -> bool {
        let mut has_changed = false;
        for (file, seen) in &mut self.seen {
            let now = stamp(file);
            has_changed |= now != *seen;
            *seen = now;
        }
        has_changed
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => ".".into(),
    }
}

fn stamp(file: &Path) -> Option<FileStamp> {
    let data = std::fs::metadata(file).ok()?;
    Some(FileStamp {
        length: data.len(),
        modified: data.modified().ok(),
        inode: inode(&data),
    })
}

#[cfg(unix)]
fn inode(data: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(data)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_reported_however_they_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let mut watcher = Watcher::new();
        watcher.watch(std::slice::from_ref(&file));
        assert!(!watcher.look());
        let changes: [&dyn Fn(); 4] = [
            &|| std::fs::write(&file, "a").unwrap(),
            &|| std::fs::write(&file, "ab").unwrap(),
            &|| {
                std::fs::write(folder.path().join("new"), "cd").unwrap();
                std::fs::rename(folder.path().join("new"), &file).unwrap();
            },
            &|| std::fs::remove_file(&file).unwrap(),
        ];
        for change in changes {
            change();
            watcher.changed().await;
            assert!(watcher.look());
            assert!(!watcher.look());
        }
    }

    #[tokio::test]
    async fn a_change_of_another_file_in_the_folder_is_not_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let mut watcher = Watcher::new();
        watcher.watch(&[file]);
        std::fs::write(folder.path().join("other"), "a").unwrap();
        watcher.changed().await;
        assert!(!watcher.look());
    }
}
