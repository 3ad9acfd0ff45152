//! The interface `djangobot:plugin@1.x`, as `wit/plugin.wit` defines it: the functions that plugins import, and the
//! translation of values.

mod answer;
mod effects;
mod events;
mod roster;
mod services;

use wasmtime::component::{HasSelf, Linker, Resource};

use crate::grant::Capability;
use crate::runtime::guest::Guest;

use bindings::djangobot::plugin as wit;

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
            // These wait for a disk, which may take any time.
            "djangobot:plugin/store.get": async | trappable,
            "djangobot:plugin/store.set": async | trappable,
            "djangobot:plugin/store.delete": async | trappable,
            "djangobot:plugin/store.increment": async | trappable,
            "djangobot:plugin/secrets.get": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: { "djangobot:plugin/events.event": super::EventHandle },
    });
}

/// The type behind a guest's handle of an event. It holds nothing, since the handle always means the current call's
/// event.
#[allow(
    unreachable_pub,
    reason = "the generated code gives it another name, which is public"
)]
pub struct EventHandle(());

/// The handle that a call passes. No table has an entry for it: a guest can't keep a borrowed handle beyond the call.
pub(crate) fn event_handle() -> Resource<EventHandle> {
    Resource::new_borrow(0)
}

/// Links the interfaces that need no grant, and those that were granted. An interface that is not linked can't be
/// called: a component that imports it does not start.
pub(crate) fn link(linker: &mut Linker<Guest>, grants: &[Capability]) -> wasmtime::Result<()> {
    type Own = HasSelf<Guest>;
    wit::types::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::events::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::roster::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::log::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::clock::add_to_linker::<_, Own>(linker, |guest| guest)?;
    wit::emitter::add_to_linker::<_, Own>(linker, |guest| guest)?;
    let granted = |is: fn(&Capability) -> bool| grants.iter().any(is);
    if granted(|it| matches!(it, Capability::Store)) {
        wit::store::add_to_linker::<_, Own>(linker, |guest| guest)?;
    }
    if granted(|it| matches!(it, Capability::Slack)) {
        wit::slack::add_to_linker::<_, Own>(linker, |guest| guest)?;
    }
    if granted(|it| matches!(it, Capability::Secret(_))) {
        wit::secrets::add_to_linker::<_, Own>(linker, |guest| guest)?;
    }
    if granted(|it| matches!(it, Capability::Http(_))) {
        wit::http::add_to_linker::<_, Own>(linker, |guest| guest)?;
    }
    Ok(())
}
