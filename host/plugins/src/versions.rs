//! What the state remembers of plugins' versions, beside what the lock pins: the one before, until the new one is past its
//! trial, and the one that was rolled back, so that a restart does not take it again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::config::PluginConfig;
use crate::digest::Digest;
use crate::install::components::{Components, ComponentsError, Turn};
use crate::install::lock::Locked;
use crate::{file, private};

/// The file in the folder of the components.
const FILE: &str = "versions.json";
/// The largest file that is read.
const LONGEST: usize = 4 << 20;

/// What is remembered, by the plugin's name in the config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Versions(BTreeMap<String, Past>);

/// What is remembered of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Past {
    /// What was pinned before, and can serve again.
    before: Option<Locked>,
    rejected: Option<Rejected>,
}

/// A version that failed on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rejected {
    sha256: Digest,
    version: Version,
    /// The fingerprint of the config that it failed with: with another one it may do well.
    config: Digest,
    why: String,
}

/// A roll-back, to be written down.
#[derive(Clone, Debug)]
pub struct RollBack {
    /// The plugin's name in the config.
    pub name: String,
    /// The component that failed.
    pub bad: Digest,
    /// Its version.
    pub version: Version,
    /// What it was loaded with.
    pub config: PluginConfig,
    /// What serves again.
    pub good: Locked,
    /// How it failed: a clause.
    pub why: String,
}

impl Versions {
    /// What the state remembers. A file that can't be read is said, and stands for nothing.
    pub fn read(components: &Components) -> Self {
        let path = Self::path(components);
        match file::read(&path, LONGEST) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(
                    "{} can't be read ({error}); which versions were rolled back is forgotten",
                    path.display()
                );
                Self::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!("{} can't be read: {error}", path.display());
                Self::default()
            }
        }
    }

    /// Changes what the state remembers. Nobody else does meanwhile: whoever holds the turn is alone.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn change(
        components: &Components,
        _turn: &Turn,
        change: impl FnOnce(&mut Self),
    ) -> Result<(), ComponentsError> {
        let old = Self::read(components);
        let mut new = old.clone();
        change(&mut new);
        if new == old {
            return Ok(());
        }
        let path = Self::path(components);
        let text = serde_json::to_vec_pretty(&new).unwrap_or_default();
        private::replace(&path, &text).map_err(|reason| ComponentsError::Disk {
            what: "written",
            path,
            reason,
        })
    }

    /// The version that a plugin has now is to be replaced by the operator's word, which also ends an earlier verdict.
    pub fn replaced(&mut self, name: &str, before: Option<Locked>) {
        self.0.remove(name);
        if before.is_some() {
            let rejected = None;
            self.0.insert(name.to_owned(), Past { before, rejected });
        }
    }

    /// A version failed on trial.
    pub fn rolled_back(&mut self, it: &RollBack) {
        let rejected = Some(Rejected {
            sha256: it.bad,
            version: it.version.clone(),
            config: it.config.fingerprint(),
            why: it.why.clone(),
        });
        let before = Some(it.good.clone());
        self.0.insert(it.name.clone(), Past { before, rejected });
    }

    /// A version is past its trial: the one before is not needed any more.
    pub fn settled(&mut self, name: &str, serving: Digest) {
        let is_over = |past: &Past| past.before.as_ref().is_some_and(|it| it.sha256 != serving);
        if self.0.get(name).is_some_and(is_over) {
            self.0.remove(name);
        }
    }

    /// A plugin was taken out.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// What is to serve in the place of what the lock pins, and why; `None` for the pin in the first place where that is to
    /// serve.
    pub(crate) fn instead_of(
        &self,
        pinned: &Locked,
        config: &PluginConfig,
    ) -> Option<(Option<&Locked>, String)> {
        let past = self.0.get(&pinned.name)?;
        let (before, rejected) = (past.before.as_ref()?, past.rejected.as_ref()?);
        let why = format!(
            "version {} was rolled back: {}; `djangobot plugin update {}` tries it again",
            rejected.version, rejected.why, pinned.name
        );
        if rejected.sha256 == pinned.sha256 && rejected.config == config.fingerprint() {
            return Some((Some(before), why));
        }
        (before.sha256 == pinned.sha256).then_some((None, why))
    }

    /// What comes back should `pinned` fail, for as long as that is not past its trial, in whichever process that began.
    pub(crate) fn before(&self, pinned: &Locked) -> Option<&Locked> {
        let past = self.0.get(&pinned.name)?;
        let before = past.before.as_ref()?;
        (past.rejected.is_none() && before.sha256 != pinned.sha256).then_some(before)
    }

    /// The components that it names.
    pub fn digests(&self) -> BTreeSet<Digest> {
        self.0
            .values()
            .filter_map(|past| Some(past.before.as_ref()?.sha256))
            .collect()
    }

    fn path(components: &Components) -> PathBuf {
        components.folder().join(FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(text: &str) -> Locked {
        Locked {
            name: "guard".into(),
            source: "file:guard.wasm".into(),
            version: Version::new(1, 0, 0),
            sha256: Digest::of(text.as_bytes()),
            sources: None,
            grants: Vec::new(),
        }
    }

    fn roll_back(config: &PluginConfig) -> RollBack {
        RollBack {
            name: "guard".into(),
            bad: Digest::of(b"two"),
            version: Version::new(2, 0, 0),
            config: config.clone(),
            good: locked("one"),
            why: "it failed on 3 of 4 events".into(),
        }
    }

    #[test]
    fn a_version_that_was_rolled_back_stays_so_until_the_operator_says_otherwise() {
        let state = tempfile::tempdir().unwrap();
        let components = Components::of(state.path());
        let config = PluginConfig::new("guard", "file:guard.wasm");
        let turn = components.turn().unwrap();
        Versions::change(&components, &turn, |it| it.rolled_back(&roll_back(&config))).unwrap();
        let read = || Versions::read(&components);
        let of = |versions: &Versions, text: &str, config: &PluginConfig| {
            let found = versions.instead_of(&locked(text), config);
            found.map(|(locked, why)| (locked.map(|locked| locked.sha256), why))
        };
        let (instead, why) = of(&read(), "two", &config).unwrap();
        assert_eq!(instead, Some(Digest::of(b"one")));
        assert!(
            why.contains("version 2.0.0 was rolled back: it failed on 3"),
            "{why}"
        );
        // What serves instead says why too, once the lock pins it.
        assert_eq!(of(&read(), "one", &config).unwrap().0, None);
        assert_eq!(of(&read(), "three", &config), None);
        let other = PluginConfig {
            instances: Some(2),
            ..config.clone()
        };
        assert_eq!(
            of(&read(), "two", &other),
            None,
            "another config is another try"
        );
        assert_eq!(read().digests(), BTreeSet::from([Digest::of(b"one")]));
        Versions::change(&components, &turn, |it| {
            it.replaced("guard", Some(locked("one")))
        })
        .unwrap();
        assert_eq!(of(&read(), "two", &config), None);
        assert_eq!(read().digests(), BTreeSet::from([Digest::of(b"one")]));
        assert_eq!(read().before(&locked("two")), Some(&locked("one")));
        assert_eq!(read().before(&locked("one")), None);
        Versions::change(&components, &turn, |it| {
            it.settled("guard", Digest::of(b"two"))
        })
        .unwrap();
        assert_eq!(read(), Versions::default());
    }

    #[test]
    fn a_file_that_can_not_be_read_stands_for_nothing() {
        let state = tempfile::tempdir().unwrap();
        let components = Components::of(state.path());
        components.put(b"one").unwrap();
        std::fs::write(components.folder().join(FILE), "{\"guard\": 1").unwrap();
        assert_eq!(Versions::read(&components), Versions::default());
    }
}
