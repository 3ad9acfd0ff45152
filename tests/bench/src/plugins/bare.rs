//! The limit: the same component on wasmtime alone, without limits, fibers or checks; the event's field is there at once,
//! and the edit is taken and thrown away.

use std::hint::black_box;
use std::time::Instant;

use djangobot_event::{Event, Value};
use wasmtime::component::{Component, ComponentType, Lift, Linker, Lower, TypedFunc};
use wasmtime::{Config, Engine, Store, StoreContextMut};

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum WitValue {
    #[component(name = "null")]
    Null,
    #[component(name = "boolean")]
    Boolean(bool),
    #[component(name = "integer")]
    Integer(i64),
    #[component(name = "big-integer")]
    BigInteger(String),
    #[component(name = "number")]
    Number(f64),
    #[component(name = "text")]
    Text(String),
    #[component(name = "json")]
    Json(String),
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Field {
    pointer: String,
    value: WitValue,
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Edit {
    #[component(name = "set")]
    Set(Field),
    #[component(name = "remove")]
    Remove(String),
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Emission {
    kind: String,
    body: String,
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Verdict {
    #[component(name = "keep")]
    Keep,
    #[component(name = "modify")]
    Modify(Vec<Edit>),
    #[component(name = "drop")]
    Drop(String),
    #[component(name = "replace")]
    Replace(Vec<Emission>),
    #[component(name = "answer")]
    Answer(String),
    #[component(name = "defer")]
    Defer(u32),
}

#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests make them")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

type OnEvent = TypedFunc<(), (Result<Verdict, String>,)>;

/// The component, with an instance of it.
pub(crate) struct Bare {
    engine: Engine,
    component: Component,
    linker: Linker<Event>,
    running: (Store<Event>, OnEvent),
}

impl Bare {
    pub(crate) fn new(component: &[u8]) -> Self {
        let mut config = Config::new();
        config.concurrency_support(false);
        let engine = Engine::new(&config).expect("the engine starts");
        let component = Component::new(&engine, component).expect("the guest compiles");
        let linker = linker(&engine);
        let running = start(&engine, &component, &linker);
        Self {
            engine,
            component,
            linker,
            running,
        }
    }

    /// Microseconds for a call.
    pub(crate) fn calls(&mut self, event: &Event, calls: usize) -> f64 {
        let (store, on_event) = &mut self.running;
        let began = Instant::now();
        for _ in 0..calls {
            *store.data_mut() = event.clone();
            let (answer,) = on_event.call(&mut *store, ()).expect("the guest answers");
            let _ = black_box(answer.is_ok());
        }
        began.elapsed().as_secs_f64() * 1e6 / calls as f64
    }

    /// Microseconds for a fresh instance and its first call.
    pub(crate) fn instantiate(&mut self) -> f64 {
        let began = Instant::now();
        let (mut store, on_event) = start(&self.engine, &self.component, &self.linker);
        let (answer,) = on_event.call(&mut store, ()).expect("the guest answers");
        let _ = black_box(answer.is_ok());
        began.elapsed().as_secs_f64() * 1e6
    }
}

fn start(
    engine: &Engine,
    component: &Component,
    linker: &Linker<Event>,
) -> (Store<Event>, OnEvent) {
    let mut store = Store::new(engine, Event::default());
    let instance = linker
        .instantiate(&mut store, component)
        .expect("the guest starts");
    let interface = instance
        .get_export_index(&mut store, None, "djangobot:plugin/handler@1.0.0")
        .expect("a plugin has a handler");
    let mut function = |name| {
        instance
            .get_export_index(&mut store, Some(&interface), name)
            .expect("a handler has it")
    };
    let (init, on_event) = (function("init"), function("on-event"));
    let init: TypedFunc<(&str,), (Result<(), String>,)> = instance
        .get_typed_func(&mut store, init)
        .expect("as in the WIT");
    let (ready,) = init.call(&mut store, ("{}",)).expect("the guest begins");
    ready.expect("the guest takes its config");
    let on_event = instance
        .get_typed_func(&mut store, on_event)
        .expect("as in the WIT");
    (store, on_event)
}

fn linker(engine: &Engine) -> Linker<Event> {
    let mut linker = Linker::new(engine);
    let mut current = linker
        .instance("djangobot:plugin/event@1.0.0")
        .expect("a name");
    let linked = "the guest's imports are these";
    current
        .func_wrap(
            "get",
            |store: StoreContextMut<'_, Event>, (pointer,): (String,)| {
                Ok((store.data().get(&pointer).map(value),))
            },
        )
        .expect(linked);
    current
        .func_wrap("json", |store: StoreContextMut<'_, Event>, (): ()| {
            let mut text = Vec::new();
            store.data().write_json(&mut text);
            Ok((String::from_utf8_lossy(&text).into_owned(),))
        })
        .expect(linked);
    linker
        .instance("djangobot:plugin/types@1.0.0")
        .expect("a name");
    linker
        .instance("djangobot:plugin/log@1.0.0")
        .expect("a name")
        .func_wrap(
            "write",
            |_: StoreContextMut<'_, Event>, (_, _): (Level, String)| Ok(()),
        )
        .expect(linked);
    linker
}

fn value(value: Value<'_>) -> WitValue {
    match value {
        Value::Null => WitValue::Null,
        Value::Bool(value) => WitValue::Boolean(value),
        Value::Int(value) => WitValue::Integer(value),
        Value::UInt(value) => WitValue::BigInteger(value.to_string()),
        Value::Float(value) => WitValue::Number(value),
        Value::Text(text) => WitValue::Text(text.into_owned()),
        Value::Json(text) => WitValue::Json(text.into_owned()),
    }
}
