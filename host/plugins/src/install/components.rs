//! The folder `plugins` in the state folder, which holds the components by their digests.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::install::component::{Artifact, MAX_SIZE};
use crate::{file, private};

/// The folder with the components. It is made on the disk with the first component.
#[derive(Clone, Debug)]
pub struct Components {
    folder: PathBuf,
}

/// A file lock that is held while the config, the lock and the plugins' files in the state change: two programs that
/// change them at once would undo each other's changes.
#[derive(Debug)]
pub struct ChangeGuard(#[expect(dead_code, reason = "it is held, not looked at")] File);

/// Why a component can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ComponentsError {
    /// It was never put here, or somebody deleted it.
    #[error("{} is missing from the state folder; `djangobot plugin update --locked` gets it again", path.display())]
    Missing {
        /// The path that it would have.
        path: PathBuf,
    },
    /// Its file was changed.
    #[error(
        "{} was changed: its sha256 is now {found}; delete the file, and it is downloaded or built again", path.display()
    )]
    Changed {
        /// The file's path.
        path: PathBuf,
        /// The digest of the file now.
        found: Digest,
    },
    /// The system refused it.
    #[error("{} can't be {what}: {reason}", path.display())]
    Disk {
        /// `read`, `written`, `deleted` and so on.
        what: &'static str,
        /// The path of the file or folder.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
}

impl Components {
    /// The components of a state folder.
    pub fn of(state: &Path) -> Self {
        Self {
            folder: state.join("plugins"),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with the compiled code of these components.
    pub fn cache(&self) -> PathBuf {
        self.folder.with_file_name("cache")
    }

    /// Waits until no other program changes the plugins' files, and keeps others from doing so until the turn is
    /// dropped.
    ///
    /// # Errors
    /// The folder can't be written to.
    pub fn turn(&self) -> Result<ChangeGuard, ComponentsError> {
        let path = self.folder.join("lock");
        let unwritten = |reason| ComponentsError::Disk {
            what: "written",
            path: path.clone(),
            reason,
        };
        private::make_folder(&self.folder).map_err(unwritten)?;
        let file = private::open_file(&path).map_err(unwritten)?;
        file.lock().map_err(unwritten)?;
        Ok(ChangeGuard(file))
    }

    /// The path of the component with `digest`, whether or not it is there.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// Stores a component. A file that is there already is written again only if it was changed.
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

    /// Stores a plugin's file, with the engine of a script plugin if that was found with it.
    ///
    /// # Errors
    /// The folder or a file can't be written.
    pub fn put_artifact(&self, artifact: &Artifact) -> Result<Digest, ComponentsError> {
        let engine = artifact
            .script
            .as_ref()
            .and_then(|script| script.component.as_ref());
        if let Some(engine) = engine {
            self.put(engine)?;
        }
        self.put(&artifact.component)
    }

    /// The component with `digest`, whose bytes are checked against it.
    ///
    /// # Errors
    /// It is missing, was changed, or can't be read.
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

    /// Deletes all components but those in `kept`, and returns how many they were. A file with another kind of name is
    /// left alone.
    ///
    /// # Errors
    /// The folder can't be listed, or a file can't be deleted.
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
                // Another process deleted it in the meantime.
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
    fn a_component_is_read_again_by_its_digest() {
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
    fn other_components_are_deleted_and_other_files_stay() {
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
