//! A loaded script: its runtime, and the functions of the library that the host's calls go to.

use std::collections::BTreeMap;

use rquickjs::function::IntoArgs;
use rquickjs::{
    Coerced, Context, Ctx, Error, Exception, Function, Module, Object, Persistent, Promise, Result,
    Runtime, Value,
};

use crate::bindings::djangobot::plugin::types::Verdict;
use crate::files::{self, Files, LIBRARY};
use crate::{host, values};

/// The library, which is a module of JavaScript.
const SOURCE: &str = include_str!("library.js");
/// QuickJS's limit of its stack in linear memory. It is far below what the linker reserves, so that runaway recursion
/// becomes a `RangeError`.
const STACK: usize = 96 << 10;
/// The memory of an instance, if the host does not say how much it has.
const MEMORY: usize = 64 << 20;

/// A script that is ready for events.
pub(crate) struct Script {
    context: Context,
    /// The object `host` of the library, whose members are functions of the library by now.
    library: Persistent<Object<'static>>,
}

/// What `init` got, as values of JavaScript.
struct Envelope {
    values: Persistent<Object<'static>>,
    memory: usize,
}

type Outcome<T> = std::result::Result<T, String>;

impl Script {
    /// Evaluates a script. `envelope` is `{"main": PATH, "files": {PATH: TEXT}, "config": CONFIG, "memory": BYTES}`.
    pub(crate) fn load(envelope: &str) -> Outcome<Self> {
        let failed = |error: Error| format!("the JavaScript engine can't be started: {error}");
        let runtime = Runtime::new().map_err(failed)?;
        runtime.set_max_stack_size(STACK);
        runtime.set_loader(Files, Files);
        runtime.set_host_promise_rejection_tracker(Some(Box::new(|_, _, reason, is_handled| {
            if !is_handled {
                let reason = reason
                    .get::<Coerced<String>>()
                    .map_or_else(|error| error.to_string(), |text| text.0);
                host::warn(&format!(
                    "a promise was rejected, and nothing awaits it: {reason}"
                ));
            }
        })));
        let context = Context::full(&runtime).map_err(failed)?;
        let library = context.with(|ctx| {
            let library = boot(&ctx).map_err(|error| match error.is_exception() {
                true => format!("the library does not start: {:?}", ctx.catch()),
                false => failed(error),
            })?;
            Ok::<_, String>(Persistent::save(&ctx, library))
        })?;
        let script = Self { context, library };
        let envelope = script.run(|ctx, _| {
            let envelope: Object = ctx.json_parse(envelope)?.get()?;
            let memory = envelope.get::<_, Option<f64>>("memory")?;
            Ok(Envelope {
                values: Persistent::save(ctx, envelope),
                memory: memory.map_or(MEMORY, |bytes| bytes as usize),
            })
        })?;
        // A quarter is left for the engine itself, so that a script that asks for too much gets an exception, and not a
        // trap. A runtime can't be changed while its context is in use.
        runtime.set_memory_limit(envelope.memory / 4 * 3);
        script.run(|ctx, library| evaluate(ctx, library, envelope.values.restore(ctx)?))?;
        Ok(script)
    }

    pub(crate) fn on_event(&self) -> Outcome<Verdict> {
        self.run(|ctx, library| {
            let answer = call(ctx, library, "onEvent", ())?;
            values::verdict(ctx, answer)
        })
    }

    pub(crate) fn health(&self) -> Outcome<()> {
        self.run(|ctx, library| call(ctx, library, "health", ()).map(drop))
    }

    /// The state as JSON; empty if the script has none.
    pub(crate) fn snapshot(&self) -> Outcome<Vec<u8>> {
        self.run(|ctx, library| {
            let state = call(ctx, library, "snapshot", ())?;
            let text = state
                .as_string()
                .map(rquickjs::String::to_string)
                .transpose()?;
            Ok(text.unwrap_or_default().into_bytes())
        })
    }

    pub(crate) fn restore(&self, state: &[u8]) -> Outcome<()> {
        let state = String::from_utf8_lossy(state).into_owned();
        self.run(|ctx, library| call(ctx, library, "restore", (state,)).map(drop))
    }

    /// Runs `act`, and turns an exception into the text that the host gets.
    fn run<T>(
        &self,
        act: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> Result<T>,
    ) -> Outcome<T> {
        self.context.with(|ctx| {
            let library = self
                .library
                .clone()
                .restore(&ctx)
                .map_err(|error| error.to_string())?;
            let outcome = act(&ctx, &library);
            let outcome = outcome.map_err(|error| description(&ctx, &library, &error));
            // Jobs that the script left behind run now, and not in the middle of the next event.
            while ctx.execute_pending_job() {}
            outcome
        })
    }
}

/// Evaluates the library. The host's functions can be reached only while that happens.
fn boot<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let host = host::functions(ctx)?;
    ctx.globals().set("__host", host.clone())?;
    let loaded = Module::evaluate(ctx.clone(), LIBRARY, SOURCE)?.finish::<Value>();
    ctx.globals().remove("__host")?;
    loaded.map(|_| host)
}

fn evaluate<'js>(ctx: &Ctx<'js>, library: &Object<'js>, envelope: Object<'js>) -> Result<()> {
    let sources: Object = envelope.get("files")?;
    files::set(
        sources
            .props::<String, String>()
            .collect::<Result<BTreeMap<_, _>>>()?,
    );
    let main: String = envelope.get("main")?;
    let Some(text) = files::text(&main) else {
        return Err(Exception::throw_reference(
            ctx,
            &format!("there is no {main} in the plugin"),
        ));
    };
    let (module, done) = Module::declare(ctx.clone(), main.clone(), text)?.eval()?;
    settle(ctx, &done)?;
    let exported: Value = module
        .namespace()?
        .get("default")
        .or_else(|_| Ok::<_, Error>(Value::new_undefined(ctx.clone())))?;
    let config: Value = envelope.get("config")?;
    call(ctx, library, "start", (main, exported, config)).map(drop)
}

/// Calls a function of the library, and waits for the promise that it may return.
fn call<'js>(
    ctx: &Ctx<'js>,
    library: &Object<'js>,
    name: &str,
    arguments: impl IntoArgs<'js>,
) -> Result<Value<'js>> {
    let function: Function = library.get(name)?;
    let value: Value = function.call(arguments)?;
    match value.as_promise() {
        Some(promise) => settle(ctx, promise),
        None => Ok(value),
    }
}

fn settle<'js>(ctx: &Ctx<'js>, promise: &Promise<'js>) -> Result<Value<'js>> {
    match promise.finish() {
        Err(Error::WouldBlock) => Err(Exception::throw_message(
            ctx,
            "a promise never settles: nothing is left to run that could settle it",
        )),
        settled => settled,
    }
}

/// An error in one line: its name, its text, and the script's own lines of the stack.
fn description<'js>(ctx: &Ctx<'js>, library: &Object<'js>, error: &Error) -> String {
    if !error.is_exception() {
        return error.to_string();
    }
    let thrown = ctx.catch();
    let described = library
        .get::<_, Function>("describe")
        .and_then(|describe| describe.call::<_, String>((thrown,)));
    let text = described.unwrap_or_else(|error| error.to_string());
    // QuickJS names the module of a missing export, and not the place of the import.
    match text
        .split_once("Could not find export '")
        .and_then(|(_, rest)| rest.split_once('\''))
    {
        Some((name, _)) => {
            let place = files::place_of(&format!("{name}"))
                .map_or_else(String::new, |place| format!(" ({place})"));
            let known = match text.contains(&format!("module '{LIBRARY}'")) {
                true => format!("; {LIBRARY} exports {}", EXPORTS.join(", ")),
                false => "; export it there, or correct the name".to_owned(),
            };
            format!("{text}{place}{known}")
        }
        None => text,
    }
}

/// The names that the library exports.
const EXPORTS: &[&str] = &[
    "plugin", "drop", "replace", "answer", "defer", "emit", "roster", "store", "slack", "secret",
    "fetch", "log",
];
