//! The versions of plugins that the state remembers in addition to those that the lock pins: the version before, until
//! the new one has passed its trial, and a version that was rolled back, so that a restart does not load it again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::config::PluginConfig;
use crate::digest::Digest;
use crate::install::components::{ChangeGuard, Components, ComponentsError};
use crate::install::lock::LockEntry;
use crate::{file, private};

/// The file in the folder of the components.
const FILE: &str = "versions.json";
/// The largest file that is read.
const LONGEST: usize = 4 << 20;

/// The remembered versions, by the plugin's name in the config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Versions(BTreeMap<String, PluginHistory>);

/// The remembered versions of one plugin.
///
/// While a version is on trial, there is `before` alone. After a roll-back there are both: `before` serves, and
/// `rejected` keeps the failed version from being loaded, though the lock may still pin it. No entry means that the
/// lock decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PluginHistory {
    /// The version that was pinned before, and can serve again.
    before: Option<LockEntry>,
    rejected: Option<RejectedVersion>,
}

/// A version that failed on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RejectedVersion {
    sha256: Digest,
    version: Version,
    /// The fingerprint of the config that it failed with. With another config it is tried again.
    config: Digest,
    why: String,
}

/// The version that serves after a roll-back.
pub(crate) struct RolledBackTo<'a> {
    /// `None` if it is the one that the lock pins.
    pub(crate) version: Option<&'a LockEntry>,
    /// Why another one was rolled back, with the cure: a clause.
    pub(crate) why: String,
}

/// A roll-back, as it is written to the state.
#[derive(Clone, Debug)]
pub struct Rollback {
    /// The plugin's name in the config.
    pub name: String,
    /// The component that failed.
    pub bad: Digest,
    /// Its version.
    pub version: Version,
    /// The config with which it was loaded.
    pub config: PluginConfig,
    /// The version that serves again.
    pub good: LockEntry,
    /// Why it was rolled back: a clause.
    pub why: String,
}

impl Versions {
    /// Reads the file. One that can't be read is logged and taken for an empty one: the lock then decides alone.
    pub fn read(components: &Components) -> Self {
        let path = Self::path(components);
        match file::read(&path, LONGEST) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(
                    "{} can't be read: {error}; versions that were rolled back may be loaded again",
                    path.display()
                );
                Self::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                tracing::warn!(
                    "{} can't be read: {error}; versions that were rolled back may be loaded again",
                    path.display()
                );
                Self::default()
            }
        }
    }

    /// Reads the file, changes it and writes it. The turn keeps other processes from changing it in between.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn change(
        components: &Components,
        _turn: &ChangeGuard,
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

    /// The operator replaces a plugin's version, which was `before`. This also forgets an earlier roll-back.
    pub fn replaced(&mut self, name: &str, before: Option<LockEntry>) {
        self.0.remove(name);
        if before.is_some() {
            let rejected = None;
            self.0
                .insert(name.to_owned(), PluginHistory { before, rejected });
        }
    }

    /// A version failed its trial.
    pub fn rolled_back(&mut self, it: &Rollback) {
        let rejected = Some(RejectedVersion {
            sha256: it.bad,
            version: it.version.clone(),
            config: it.config.fingerprint(),
            why: it.why.clone(),
        });
        let before = Some(it.good.clone());
        self.0
            .insert(it.name.clone(), PluginHistory { before, rejected });
    }

    /// The version `serving` passed its trial, so that the one before is no longer needed. After a roll-back `serving`
    /// is the version before itself, and the entry stays.
    pub fn settled(&mut self, name: &str, serving: Digest) {
        let is_over =
            |past: &PluginHistory| past.before.as_ref().is_some_and(|it| it.sha256 != serving);
        if self.0.get(name).is_some_and(is_over) {
            self.0.remove(name);
        }
    }

    /// The plugin was removed.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// After a roll-back, the version that serves. `None` without a roll-back: the pinned version serves.
    pub(crate) fn instead_of(
        &self,
        pinned: &LockEntry,
        config: &PluginConfig,
    ) -> Option<RolledBackTo<'_>> {
        let past = self.0.get(&pinned.name)?;
        let (before, rejected) = (past.before.as_ref()?, past.rejected.as_ref()?);
        let why = format!(
            "version {} was rolled back because {}; `djangobot plugin update {}` tries it again",
            rejected.version, rejected.why, pinned.name
        );
        if rejected.sha256 == pinned.sha256 && rejected.config == config.fingerprint() {
            let version = Some(before);
            return Some(RolledBackTo { version, why });
        }
        let version = None;
        (before.sha256 == pinned.sha256).then_some(RolledBackTo { version, why })
    }

    /// The version to roll back to if `pinned` fails, as long as `pinned` is on trial. The trial may have begun in an
    /// earlier process.
    pub(crate) fn before(&self, pinned: &LockEntry) -> Option<&LockEntry> {
        let past = self.0.get(&pinned.name)?;
        let before = past.before.as_ref()?;
        (past.rejected.is_none() && before.sha256 != pinned.sha256).then_some(before)
    }

    /// The components that the file names, which must be kept.
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

    fn locked(text: &str) -> LockEntry {
        LockEntry {
            name: "guard".into(),
            source: "file:guard.wasm".into(),
            version: Version::new(1, 0, 0),
            sha256: Digest::of(text.as_bytes()),
            sources: None,
            grants: Vec::new(),
        }
    }

    fn roll_back(config: &PluginConfig) -> Rollback {
        Rollback {
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
            found.map(|found| (found.version.map(|it| it.sha256), found.why))
        };
        let (instead, why) = of(&read(), "two", &config).unwrap();
        assert_eq!(instead, Some(Digest::of(b"one")));
        assert!(
            why.contains("version 2.0.0 was rolled back because it failed on 3"),
            "{why}"
        );
        // The version that serves instead gives the reason too, once the lock pins it.
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
    fn a_file_that_can_not_be_read_counts_as_empty() {
        let state = tempfile::tempdir().unwrap();
        let components = Components::of(state.path());
        components.put(b"one").unwrap();
        std::fs::write(components.folder().join(FILE), "{\"guard\": 1").unwrap();
        assert_eq!(Versions::read(&components), Versions::default());
    }
}
