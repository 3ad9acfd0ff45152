//! The components that were built on this machine, by the digests of their sources. A lock from another machine pins a
//! component that a build here does not reproduce byte for byte; it pins the sources too, by which the local build is
//! recognised.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::install::components::{ChangeGuard, Components, ComponentsError};
use crate::install::lock::LockEntry;
use crate::{file, private};

/// The file in the folder of the components.
const FILE: &str = "builds.json";
/// The largest file that is read.
const LONGEST: usize = 4 << 20;

/// The digests of components in this state, by those of their sources. Nobody else can write to the state folder, so
/// that these notes can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Builds(BTreeMap<Digest, Digest>);

impl Builds {
    /// Reads the notes. A file that can't be read counts as empty: the components are then built again.
    pub fn read(components: &Components) -> Self {
        let path = components.folder().join(FILE);
        match file::read(&path, LONGEST) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!(
                    "{} can't be read: {error}; plugins that were built here may be built again",
                    path.display()
                );
                Self::default()
            }
        }
    }

    /// Notes that `component`, which is in the state, was built here from `sources`. Notes about components that are no
    /// longer in the state are removed.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn remember(
        components: &Components,
        _turn: &ChangeGuard,
        sources: Digest,
        component: Digest,
    ) -> Result<(), ComponentsError> {
        let old = Self::read(components);
        let mut new = old.clone();
        new.0.insert(sources, component);
        new.0.retain(|_, built| components.path(built).is_file());
        if new == old {
            return Ok(());
        }
        let path = components.folder().join(FILE);
        let text = serde_json::to_vec_pretty(&new).unwrap_or_default();
        private::replace(&path, &text).map_err(|reason| ComponentsError::Disk {
            what: "written",
            path,
            reason,
        })
    }

    /// The entry as it applies to this machine: with the pinned component, or, if that is missing, with the one that
    /// was built here from the pinned sources.
    pub fn pinned(&self, locked: &LockEntry, components: &Components) -> LockEntry {
        let built = locked.sources.and_then(|sources| self.0.get(&sources));
        let mut locked = locked.clone();
        if let Some(built) = built
            && components.get(&locked.sha256).is_err()
            && components.get(built).is_ok()
        {
            locked.sha256 = *built;
        }
        locked
    }
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;

    #[test]
    fn a_pin_means_the_local_build_where_the_pinned_component_is_missing() {
        let state = tempfile::tempdir().unwrap();
        let components = Components::of(state.path());
        let turn = components.turn().unwrap();
        let sources = Digest::of(b"sources");
        let locked = LockEntry {
            name: "a".into(),
            source: "folder:a".into(),
            version: Version::new(1, 0, 0),
            sha256: Digest::of(b"theirs"),
            sources: Some(sources),
            grants: Vec::new(),
        };
        let means =
            |locked: &LockEntry| Builds::read(&components).pinned(locked, &components).sha256;
        assert_eq!(means(&locked), locked.sha256);
        let ours = components.put(b"ours").unwrap();
        Builds::remember(&components, &turn, sources, ours).unwrap();
        assert_eq!(means(&locked), ours);
        let other = LockEntry {
            sources: Some(Digest::of(b"other sources")),
            ..locked.clone()
        };
        assert_eq!(means(&other), locked.sha256);
        let alone = LockEntry {
            sources: None,
            ..locked.clone()
        };
        assert_eq!(means(&alone), locked.sha256);
        // The pinned component goes first, and a changed file does not count.
        std::fs::write(components.path(&ours), "changed").unwrap();
        assert_eq!(means(&locked), locked.sha256);
        components.put(b"ours").unwrap();
        components.put(b"theirs").unwrap();
        assert_eq!(means(&locked), locked.sha256);
    }

    #[test]
    fn notes_about_components_that_are_gone_are_removed() {
        let state = tempfile::tempdir().unwrap();
        let components = Components::of(state.path());
        let turn = components.turn().unwrap();
        let one = components.put(b"one").unwrap();
        Builds::remember(&components, &turn, Digest::of(b"a"), one).unwrap();
        std::fs::remove_file(components.path(&one)).unwrap();
        let two = components.put(b"two").unwrap();
        Builds::remember(&components, &turn, Digest::of(b"b"), two).unwrap();
        let expect = BTreeMap::from([(Digest::of(b"b"), two)]);
        assert_eq!(Builds::read(&components), Builds(expect));
        std::fs::write(components.folder().join(FILE), "{\"a\": ").unwrap();
        assert_eq!(Builds::read(&components), Builds::default());
    }
}
