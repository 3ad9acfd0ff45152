//! The component's exports, which [`export!`](crate::export!) makes of a plugin.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::PanicHookInfo;

use crate::bindings::exports::djangobot::plugin::handler;
use crate::bindings::stateful::exports::djangobot::plugin::lifecycle;
use crate::log::Level;
use crate::{Error, Event, Lifecycle, Plugin, Verdict, config, log};

thread_local! {
    /// The plugin of this instance, after `init` has made it. A component contains one plugin.
    static PLUGIN: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Exports a type as the component's plugin: `export!(MyPlugin)`, or for a [`Lifecycle`] `export!(MyPlugin,
/// lifecycle)`.
///
/// A crate uses it once, and must be a `cdylib`. On other targets than WebAssembly it exports nothing, and only checks
/// the type.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        const _: () = {
            $crate::export::check::<$plugin>();
            #[cfg(target_family = "wasm")]
            type Exports = $crate::export::Exports<$plugin>;
            #[cfg(target_family = "wasm")]
            $crate::bindings::export_handler!(Exports with_types_in $crate::bindings);
        };
    };
    ($plugin:ty, lifecycle) => {
        $crate::export!($plugin);
        const _: () = {
            $crate::export::check_lifecycle::<$plugin>();
            #[cfg(target_family = "wasm")]
            type Exports = $crate::export::Exports<$plugin>;
            #[cfg(target_family = "wasm")]
            $crate::bindings::stateful::export_lifecycle!(Exports with_types_in $crate::bindings::stateful);
        };
    };
}

/// Fails to compile for a type that is not a plugin.
pub const fn check<P: Plugin>() {}

/// Fails to compile for a type without a lifecycle.
pub const fn check_lifecycle<P: Lifecycle>() {}

/// The exports of a plugin.
#[derive(Debug)]
pub struct Exports<P>(PhantomData<P>);

impl<P: Plugin> handler::Guest for Exports<P> {
    fn init(config: String) -> Result<(), String> {
        std::panic::set_hook(Box::new(log_panic));
        let plugin = config::parse(&config)
            .map_err(Error::from)
            .and_then(P::new)
            .map_err(|error| sentence(&*error))?;
        PLUGIN.set(Some(Box::new(plugin)));
        Ok(())
    }

    fn on_event() -> Result<Verdict, String> {
        with_plugin::<P, _>(|plugin| plugin.on_event(&Event::new()))
    }
}

impl<P: Lifecycle> lifecycle::Guest for Exports<P> {
    fn health() -> Result<(), String> {
        with_plugin::<P, _>(P::health)
    }

    fn snapshot() -> Vec<u8> {
        with_plugin::<P, _>(|plugin| Ok(plugin.snapshot())).unwrap_or_default()
    }

    fn restore(state: Vec<u8>) -> Result<(), String> {
        with_plugin::<P, _>(|plugin| plugin.restore(state))
    }
}

fn with_plugin<P: Plugin, T>(call: impl FnOnce(&mut P) -> Result<T, Error>) -> Result<T, String> {
    PLUGIN.with_borrow_mut(|plugin| {
        let plugin = plugin.as_mut().and_then(|plugin| plugin.downcast_mut());
        let plugin = plugin.ok_or("the host called the plugin before its init")?;
        call(plugin).map_err(|error| sentence(&*error))
    })
}

/// The text of an error, with its causes.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Logs the message and the place of a panic. The trap by which it ends the instance has neither.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(message), _) => message,
        (_, Some(message)) => message.as_str(),
        _ => "with a value that is not text",
    };
    let line = match panic.location() {
        Some(place) => format!("panicked at {place}: {message}"),
        None => format!("panicked: {message}"),
    };
    log::write(Level::Error, &line);
}
