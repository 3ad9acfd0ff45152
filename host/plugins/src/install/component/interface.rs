//! The interface of plugins: its version and its names in a component.

use semver::Version;

/// The largest file that is taken.
pub const MAX_SIZE: usize = 64 << 20;
/// The version of `djangobot:plugin` that this host has: that of `wit/plugin.wit`.
pub const INTERFACE: Version = Version::new(1, 0, 0);
/// How the names of its interfaces begin.
pub(super) const PACKAGE: &str = "djangobot:plugin/";
/// The custom section in which a recipe notes what a component was built from. Anybody can write it, so that it is believed
/// only where the component is trusted anyway.
pub(super) const SOURCES: &str = "djangobot:sources";
