//! The interface `djangobot:plugin@1.x`, as `wit/plugin.wit` defines it: the functions that plugins import, and the
//! translation of values.

mod answer;
mod effects;
mod event;
mod host;
mod roster;
mod services;
mod slack;

use wasmtime::component::{HasSelf, Linker};

use crate::runtime::guest::Guest;

pub use answer::check_place;
pub(crate) use answer::verdict;
pub(crate) use bindings::{Plugin, PluginIndices};

/// The code that wasmtime generates from the WIT.
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    reason = "generated; the lifting and lowering of values is unsafe by its nature"
)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "djangobot:plugin/plugin",
        imports: {
            "djangobot:plugin/http.fetch": async | trappable,
            "djangobot:plugin/slack.call": async | trappable,
            // These wait for a disk, which may take any time.
            "djangobot:plugin/store.get": async | trappable,
            "djangobot:plugin/store.get-many": async | trappable,
            "djangobot:plugin/store.keys": async | trappable,
            "djangobot:plugin/store.set": async | trappable,
            "djangobot:plugin/store.set-many": async | trappable,
            "djangobot:plugin/store.compare-and-set": async | trappable,
            "djangobot:plugin/store.delete": async | trappable,
            "djangobot:plugin/store.increment": async | trappable,
            "djangobot:plugin/secrets.get": async | trappable,
            default: trappable,
        },
        exports: { default: async },
    });
}

/// Links all interfaces. A component may import any of them, so that the functions of a capability are there for all
/// plugins; each of these functions begins with the question whether the capability was granted, and answers `denied`
/// otherwise.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    Plugin::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

/// The text of an answer `denied`: the plugin's author or its operator reads it.
fn ungranted(grant: &str) -> String {
    format!(
        "the grant `{grant}` is missing: the plugin's manifest does not ask for it, or the operator did not grant it"
    )
}
