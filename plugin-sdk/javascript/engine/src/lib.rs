//! The engine of script plugins in JavaScript: one component for all of them. `init` gets the files of a plugin with
//! its config and evaluates them, so that an edit of a script compiles no WebAssembly.

mod files;
mod host;
mod script;
mod values;

use std::cell::RefCell;

use self::bindings::djangobot::plugin::clock;
use self::bindings::djangobot::plugin::types::Verdict;
use self::bindings::exports::djangobot::plugin::{handler, lifecycle};
use self::script::Script;

/// The code that `wit-bindgen` generates from `wit/plugin.wit`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "djangobot:plugin/stateful-plugin",
    });
}

thread_local! {
    static SCRIPT: RefCell<Option<Script>> = const { RefCell::new(None) };
}

/// Calls `act` with the script that `init` loaded. The host calls nothing else if `init` failed.
fn with_script<T>(act: impl FnOnce(&Script) -> Result<T, String>) -> Result<T, String> {
    SCRIPT.with_borrow(|script| act(script.as_ref().ok_or("no script was loaded")?))
}

struct Engine;

impl handler::Guest for Engine {
    fn init(config: String) -> Result<(), String> {
        let script = Script::load(&config)?;
        SCRIPT.set(Some(script));
        Ok(())
    }

    fn on_event() -> Result<Verdict, String> {
        with_script(Script::on_event)
    }
}

impl lifecycle::Guest for Engine {
    fn health() -> Result<(), String> {
        with_script(Script::health)
    }

    fn snapshot() -> Vec<u8> {
        // The interface has no error here. A plugin whose snapshot fails hands on nothing, and says so in the log.
        with_script(Script::snapshot).unwrap_or_else(|why| {
            host::warn(&format!("the state is not handed on: {why}"));
            Vec::new()
        })
    }

    fn restore(state: Vec<u8>) -> Result<(), String> {
        with_script(|script| script.restore(&state))
    }
}

bindings::export!(Engine with_types_in bindings);

/// The clock of QuickJS's C library, in microseconds: for `Date`, and for the seed of `Math.random`. The library
/// imports it under this name, and the linker takes this function in place of the import.
#[unsafe(no_mangle)]
extern "C" fn __rquickjs_host_now_us() -> f64 {
    clock::now_ms() as f64 * 1000.0
}
