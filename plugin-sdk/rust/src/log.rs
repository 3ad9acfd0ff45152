//! Lines in the host's log, under the plugin's name.
//!
//! ```
//! djangobot_plugin::info!("{} events so far", 5);
//! ```

use crate::imports;

pub use crate::bindings::djangobot::plugin::log::Level;

/// Writes one line. The macros [`error!`](crate::error!), [`warn!`](crate::warn!), [`info!`](crate::info!),
/// [`debug!`](crate::debug!) and [`trace!`](crate::trace!) call it, and take the arguments of `format!`.
pub fn write(level: Level, message: &str) {
    imports::log::write(level, message);
}

/// Writes a line to the host's log: something is wrong, and a person has to act.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($line)+)) };
}

/// Writes a line to the host's log: something is odd, and a person may have to act.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($line)+)) };
}

/// Writes a line to the host's log.
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($line)+)) };
}

/// Writes a line to the host's log, for the plugin's author.
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($line)+)) };
}

/// Writes a line to the host's log, in great detail for the plugin's author.
#[macro_export]
macro_rules! trace {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($line)+)) };
}
