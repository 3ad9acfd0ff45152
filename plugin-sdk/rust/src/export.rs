//! What [`export!`](crate::export!) makes of a plugin: the component's exports.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::PanicHookInfo;

use crate::bindings::exports::djangobot::plugin::handler;
use crate::bindings::stateful::exports::djangobot::plugin::lifecycle;
use crate::log::Level;
use crate::{Error, Lifecycle, Plugin, Verdict, config, log};

thread_local! {
    /// The instance's plugin, once `init` made it. A component holds one.
    static PLUGIN: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Makes a type the plugin of the component: `export!(MyPlugin)`, or for a [`Lifecycle`] `export!(MyPlugin, lifecycle)`.
///
/// Once in a crate, whose type is `cdylib`. On other targets than WebAssembly it makes nothing and only checks.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        const _: () = {
            $crate::export::check::<$plugin>();
            #[cfg(target_family = "wasm")]
            type Exported = $crate::export::Exported<$plugin>;
            #[cfg(target_family = "wasm")]
            $crate::bindings::export_handler!(Exported with_types_in $crate::bindings);
        };
    };
    ($plugin:ty, lifecycle) => {
        $crate::export!($plugin);
        const _: () = {
            $crate::export::check_lifecycle::<$plugin>();
            #[cfg(target_family = "wasm")]
            type Exported = $crate::export::Exported<$plugin>;
            #[cfg(target_family = "wasm")]
            $crate::bindings::stateful::export_lifecycle!(Exported with_types_in $crate::bindings::stateful);
        };
    };
}

/// Compiles for a plugin.
pub const fn check<P: Plugin>() {}

/// Compiles for a plugin with state.
pub const fn check_lifecycle<P: Lifecycle>() {}

/// The exports of a plugin.
#[derive(Debug)]
pub struct Exported<P>(PhantomData<P>);

impl<P: Plugin> handler::Guest for Exported<P> {
    fn init(config: String) -> Result<(), String> {
        std::panic::set_hook(Box::new(log_panic));
        let plugin = config::parse(&config)
            .map_err(Error::from)
            .and_then(P::new)
            .map_err(|error| sentence(&*error))?;
        PLUGIN.set(Some(Box::new(plugin)));
        Ok(())
    }

    fn on_event(event: &handler::Event) -> Result<Verdict, String> {
        with_plugin::<P, _>(|plugin| on_event(plugin, event))
    }
}

impl<P: Lifecycle> lifecycle::Guest for Exported<P> {
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

#[cfg(target_family = "wasm")]
fn on_event<P: Plugin>(plugin: &mut P, event: &handler::Event) -> Result<Verdict, Error> {
    plugin.on_event(&crate::Event::new(event))
}

/// There is no such event on this target: `testing` calls the plugin itself.
#[cfg(not(target_family = "wasm"))]
fn on_event<P: Plugin>(_: &mut P, _: &handler::Event) -> Result<Verdict, Error> {
    Err("events come from a WebAssembly host only".into())
}

fn with_plugin<P: Plugin, T>(call: impl FnOnce(&mut P) -> Result<T, Error>) -> Result<T, String> {
    PLUGIN.with_borrow_mut(|plugin| {
        let plugin = plugin.as_mut().and_then(|plugin| plugin.downcast_mut());
        let plugin = plugin.ok_or("the plugin was called before its init")?;
        call(plugin).map_err(|error| sentence(&*error))
    })
}

/// An error with what caused it.
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

/// The panic's message and place; the trap that ends the instance has neither.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(message), _) => message,
        (_, Some(message)) => message.as_str(),
        _ => "with a value that is no text",
    };
    let line = match panic.location() {
        Some(place) => format!("panicked at {place}: {message}"),
        None => format!("panicked: {message}"),
    };
    log::write(Level::Error, &line);
}
