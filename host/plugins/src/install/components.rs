//! Components by digest: the folder `plugins` of the state. What the lock names lies here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::install::component::MAX_SIZE;
use crate::{file, private};

/// The folder. Cheap to make; its files are made with the first component.
#[derive(Clone, Debug)]
pub struct Components {
    folder: PathBuf,
}

/// Held while config, lock and what the state says of plugins are changed: two programs at once would undo each other's
/// changes.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held, not looked at")] File);

/// Why a component can't be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum ComponentsError {
    /// It was never put here, or someone took it away.
    #[error("{} is missing: the component is not in the state", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// The file is not what was put here.
    #[error(
        "{} was changed: its sha256 is {found}; delete the file, and it is fetched or built again", path.display()
    )]
    Changed {
        /// Where it is.
        path: PathBuf,
        /// Of the bytes that are there.
        found: Digest,
    },
    /// The disk says no.
    #[error("{} can't be {what}: {reason}", path.display())]
    Disk {
        /// Read, written or deleted.
        what: &'static str,
        /// What.
        path: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
}

impl Components {
    /// Those of a state folder.
    pub fn of(state: &Path) -> Self {
        Self {
            folder: state.join("plugins"),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the compiled code of these components is kept.
    pub fn cache(&self) -> PathBuf {
        self.folder.with_file_name("cache")
    }

    /// Waits until nobody else changes the plugins' files, and keeps others from it.
    ///
    /// # Errors
    /// The folder can't be written to.
    pub fn turn(&self) -> Result<Turn, ComponentsError> {
        let path = self.folder.join("lock");
        let unwritten = |reason| ComponentsError::Disk {
            what: "written",
            path: path.clone(),
            reason,
        };
        private::make_folder(&self.folder).map_err(unwritten)?;
        let file = private::open_file(&path).map_err(unwritten)?;
        file.lock().map_err(unwritten)?;
        Ok(Turn(file))
    }

    /// Where the component with `digest` is, if it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// Keeps a component. One that is there is left as it is, unless it was changed.
    ///
    /// # Errors
    /// The folder or file can't be written.
    pub fn put(&self, component: &[u8]) -> Result<Digest, ComponentsError> {
        let digest = Digest::of(component);
        if self.get(&digest).is_ok() {
            return Ok(digest);
        }
        let path = self.path(&digest);
        let unwritten = |reason| ComponentsError::Disk {
            what: "written",
            path: path.clone(),
            reason,
        };
        private::make_folder(&self.folder).map_err(unwritten)?;
        private::replace(&path, component).map_err(unwritten)?;
        Ok(digest)
    }

    /// The component with `digest`, checked.
    ///
    /// # Errors
    /// It is not there, or not what it was.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, ComponentsError> {
        let path = self.path(digest);
        let bytes = match file::read(&path, MAX_SIZE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ComponentsError::Missing { path });
            }
            Err(reason) => {
                return Err(ComponentsError::Disk {
                    what: "read",
                    path,
                    reason,
                });
            }
        };
        let found = Digest::of(&bytes);
        match found == *digest {
            true => Ok(bytes),
            false => Err(ComponentsError::Changed { path, found }),
        }
    }

    /// Deletes all but `kept`, and gives how many that were. A file that is no component of ours is left alone.
    ///
    /// # Errors
    /// The folder can't be listed or a file can't be deleted.
    pub fn keep_only(&self, kept: &BTreeSet<Digest>) -> Result<usize, ComponentsError> {
        let undone = |what, path: &Path, reason| ComponentsError::Disk {
            what,
            path: path.to_owned(),
            reason,
        };
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(reason) => return Err(undone("read", &self.folder, reason)),
        };
        let mut deleted = 0;
        for entry in entries {
            let path = entry
                .map_err(|reason| undone("read", &self.folder, reason))?
                .path();
            let digest: Option<Digest> = path
                .extension()
                .filter(|extension| *extension == "wasm")
                .and(path.file_stem())
                .and_then(|stem| stem.to_str()?.parse().ok());
            if digest.is_none_or(|digest| kept.contains(&digest)) {
                continue;
            }
            match std::fs::remove_file(&path) {
                Ok(()) => deleted += 1,
                // Someone else was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(reason) => return Err(undone("deleted", &path, reason)),
            }
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_had_again_by_its_digest() {
        let state = tempfile::tempdir().unwrap();
        let components = Components::of(state.path());
        let digest = components.put(b"one").unwrap();
        assert_eq!(digest, Digest::of(b"one"));
        assert_eq!(components.get(&digest).unwrap(), b"one");
        assert_eq!(components.put(b"one").unwrap(), digest);
        assert!(matches!(
            components.get(&Digest::of(b"two")),
            Err(ComponentsError::Missing { .. })
        ));
    }

    #[test]
    fn a_component_that_was_changed_is_not_given_and_is_mended_by_putting_it_again() {
        let state = tempfile::tempdir().unwrap();
        let components = Components::of(state.path());
        let digest = components.put(b"one").unwrap();
        std::fs::write(components.path(&digest), b"other").unwrap();
        let error = components.get(&digest).unwrap_err();
        assert!(
            matches!(error, ComponentsError::Changed { found, .. } if found == Digest::of(b"other"))
        );
        components.put(b"one").unwrap();
        assert_eq!(components.get(&digest).unwrap(), b"one");
    }

    #[test]
    fn what_is_not_kept_is_deleted_and_strange_files_stay() {
        let state = tempfile::tempdir().unwrap();
        let components = Components::of(state.path());
        assert_eq!(components.keep_only(&BTreeSet::new()).unwrap(), 0);
        let (one, two) = (
            components.put(b"one").unwrap(),
            components.put(b"two").unwrap(),
        );
        let strange = state.path().join("plugins/notes.txt");
        std::fs::write(&strange, "").unwrap();
        assert_eq!(components.keep_only(&BTreeSet::from([one])).unwrap(), 1);
        assert!(components.get(&one).is_ok() && components.get(&two).is_err());
        assert!(strange.exists());
    }
}
