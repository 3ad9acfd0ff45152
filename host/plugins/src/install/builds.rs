//! What was built here, by the sources that it was built from. A lock that was written on another machine pins a component
//! that no build of this one gives, byte for byte; it pins the sources, too.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::install::components::{Components, ComponentsError, Turn};
use crate::install::lock::Locked;
use crate::{file, private};

/// The file in the folder of the components.
const FILE: &str = "builds.json";
/// The largest file that is read.
const LONGEST: usize = 4 << 20;

/// Components of this state, by their sources. The state is ours alone, so that nobody else says what was built.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Builds(BTreeMap<Digest, Digest>);

impl Builds {
    /// What was built here. A file that can't be read stands for nothing: it is built again.
    pub fn read(components: &Components) -> Self {
        let path = components.folder().join(FILE);
        match file::read(&path, LONGEST) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!("{} can't be read: {error}", path.display());
                Self::default()
            }
        }
    }

    /// Remembers that `component`, which is in the state, was built here from `sources`. Builds that are not in the state any
    /// more are forgotten.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn remember(
        components: &Components,
        _turn: &Turn,
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

    /// What a pin means on this machine: the component that it names, or, where that is not here, the one that was built here
    /// from the sources that it names.
    pub fn pinned(&self, locked: &Locked, components: &Components) -> Locked {
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
    fn a_pin_means_what_was_built_here_where_the_pinned_component_is_not() {
        let state = tempfile::tempdir().unwrap();
        let components = Components::of(state.path());
        let turn = components.turn().unwrap();
        let sources = Digest::of(b"sources");
        let locked = Locked {
            name: "a".into(),
            source: "folder:a".into(),
            version: Version::new(1, 0, 0),
            sha256: Digest::of(b"theirs"),
            sources: Some(sources),
            grants: Vec::new(),
        };
        let means = |locked: &Locked| Builds::read(&components).pinned(locked, &components).sha256;
        assert_eq!(means(&locked), locked.sha256);
        let ours = components.put(b"ours").unwrap();
        Builds::remember(&components, &turn, sources, ours).unwrap();
        assert_eq!(means(&locked), ours);
        let other = Locked {
            sources: Some(Digest::of(b"other sources")),
            ..locked.clone()
        };
        assert_eq!(means(&other), locked.sha256);
        let alone = Locked {
            sources: None,
            ..locked.clone()
        };
        assert_eq!(means(&alone), locked.sha256);
        // The pinned one goes first, and one that was changed counts for nothing.
        std::fs::write(components.path(&ours), "changed").unwrap();
        assert_eq!(means(&locked), locked.sha256);
        components.put(b"ours").unwrap();
        components.put(b"theirs").unwrap();
        assert_eq!(means(&locked), locked.sha256);
    }

    #[test]
    fn what_is_not_in_the_state_any_more_is_forgotten() {
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
