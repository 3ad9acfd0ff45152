//! The interface of plugins: its version, and its names in a component.

use semver::Version;

/// The largest file of a plugin, in bytes.
pub const MAX_SIZE: usize = 64 << 20;
/// The version of `djangobot:plugin` that this host has: that of `wit/plugin.wit`.
pub const INTERFACE: Version = Version::new(1, 0, 0);
/// The start of the names of its interfaces.
pub(super) const PACKAGE: &str = "djangobot:plugin/";
/// The custom section in which a recipe notes the digest of a component's sources. Anybody can write such a section, so
/// that it counts only in a component that is trusted anyway.
pub(super) const SOURCES: &str = "djangobot:sources";
/// The custom section of a script plugin's file that holds its scripts.
pub(super) const SCRIPT: &str = "djangobot:script";
/// The custom section that makes a component the engine of a language, and in a script plugin's file the digest of the
/// engine that it was pinned with.
pub(super) const ENGINE: &str = "djangobot:engine";
