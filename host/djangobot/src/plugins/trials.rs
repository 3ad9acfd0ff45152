//! The record of new versions of plugins: which version each replaced, and how its trial ended.

use djangobot_plugins::install::components::ComponentsError;
use djangobot_plugins::install::lock::{Lock, LockEntry};
use djangobot_plugins::{Builds, Digest, Rollback, TrialOutcome, Versions, set};

use crate::plugins::Plugins;

impl Plugins {
    /// Remembers the replaced versions until the new ones have passed their trials: a roll-back needs them.
    pub(super) fn remember(&self, replaced: Vec<LockEntry>) {
        if replaced.is_empty() {
            return;
        }
        let written = self.components.turn().and_then(|turn| {
            Versions::change(&self.components, &turn, |versions| {
                for before in replaced {
                    let name = before.name.clone();
                    versions.replaced(&name, Some(before));
                }
            })
        });
        if let Err(error) = written {
            tracing::warn!(
                "the replaced versions of plugins could not be noted in the state: {error}; after a restart a new version can't be rolled back"
            );
        }
    }

    /// Records the result of a trial in the state and the lock.
    pub(super) fn record(&self, ruling: &TrialOutcome) {
        let name = match ruling {
            TrialOutcome::RolledBack(it) => &it.name,
            TrialOutcome::Settled(name, _) => name,
        };
        if self.is_of_dev(name) {
            return;
        }
        let written = match ruling {
            TrialOutcome::RolledBack(it) => self.roll_back(it),
            TrialOutcome::Settled(name, digest) => self.settle(name, *digest),
        };
        if let Err(error) = written {
            tracing::error!(
                plugin = name,
                "the end of the plugin's trial could not be noted in the state: {error}; the next start begins the trial again"
            );
        }
    }

    /// Records a roll-back. The state remembers that the new version is bad, whatever the lock says; the lock is
    /// changed to pin the good version if it can be written.
    fn roll_back(&self, it: &Rollback) -> Result<(), ComponentsError> {
        let turn = self.components.turn()?;
        Versions::change(&self.components, &turn, |versions| versions.rolled_back(it))?;
        let path = Lock::beside(&self.config);
        let builds = Builds::read(&self.components);
        let pinned = Lock::read(&path).and_then(|mut lock| {
            if let Some(pinned) = lock.get(&it.name)
                && builds.pinned(pinned, &self.components).sha256 == it.bad
            {
                let source = pinned.source.clone();
                lock.set(LockEntry {
                    source,
                    ..it.good.clone()
                });
                lock.write(&path)?;
            }
            Ok(())
        });
        if let Err(error) = pinned {
            tracing::warn!(
                plugin = it.name,
                "{error}; the lock still pins the version that was rolled back, but this state remembers not to load it"
            );
        }
        Ok(())
    }

    fn settle(&self, name: &str, digest: Digest) -> Result<(), ComponentsError> {
        let turn = self.components.turn()?;
        Versions::change(&self.components, &turn, |versions| {
            versions.settled(name, digest)
        })?;
        // A plugin of `dev` is in no lock, so tidying by the lock would delete its component.
        if self.dev.is_none()
            && let Ok(lock) = Lock::read(&Lock::beside(&self.config))
        {
            set::tidy(&self.components, &lock)?;
        }
        Ok(())
    }
}
