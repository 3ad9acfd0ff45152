//! Facts about the plugin's own place in the host.

use crate::imports;

/// The plugin's name in the operator's config.
pub fn name() -> String {
    imports::host::name()
}

/// The plugin's version, from its manifest.
pub fn version() -> String {
    imports::host::version()
}

/// The version of djangobot.
pub fn host_version() -> String {
    imports::host::host_version()
}

/// The capabilities that the plugin asked for and the operator granted, such as `store` or `http:api.example.com`.
pub fn grants() -> Vec<String> {
    imports::host::grants()
}

/// The number of this instance, from 0. A conversation always meets the same instance.
pub fn instance() -> u32 {
    imports::host::instance()
}

/// How many instances the plugin has.
pub fn instances() -> u32 {
    imports::host::instances()
}

/// Whether this is a rehearsal: the plugin is shown recent events, and nothing that it does has an effect.
pub fn is_rehearsal() -> bool {
    imports::host::is_rehearsal()
}
