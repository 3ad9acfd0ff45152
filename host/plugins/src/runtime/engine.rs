//! The WebAssembly engine of one host, and the clock that ends what computes for too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Config;

/// How long a tick of the epoch is. A guest is asked at each whether its time is up, so limits are exact to about one.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The deepest that a guest's own stack may get, in bytes.
const GUEST_STACK: usize = 512 << 10;
/// The stack that a call runs on: the guest's, and what the host needs below it.
const CALL_STACK: usize = 1 << 20;

/// The engine that all plugins of a host share. Cheap to clone; one thread ticks for all of them and ends with the last.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    _ticker: Arc<Ticker>,
}

/// No engine can be made on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine can't be started: {0}")]
pub struct EngineError(String);

impl Engine {
    /// Makes the engine and starts its clock.
    ///
    /// # Errors
    /// When the machine's processor is not supported, or no thread can be started.
    pub fn new() -> Result<Self, EngineError> {
        let engine =
            wasmtime::Engine::new(&config()).map_err(|error| EngineError(format!("{error:#}")))?;
        let ticker =
            Ticker::start(engine.clone()).map_err(|error| EngineError(error.to_string()))?;
        Ok(Self {
            engine,
            _ticker: Arc::new(ticker),
        })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }
}

/// What guests may use of WebAssembly, and how calls are made and ended. Whatever changes here changes the compiled form,
/// whose cache is keyed by it.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        // Calls of one instance never overlap, so that what wasmtime has for that is not paid for.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(CALL_STACK)
        // Languages throw (C++), and some have their objects in wasmtime's heap (Kotlin, Dart). An instance's heap counts
        // against its memory.
        .wasm_exceptions(true)
        .wasm_gc(true)
        // No plugin needs these, and each is one more thing that could go wrong.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    config
}

/// The thread that moves the epoch on. One for all: a thread for each call would cost more than the calls.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("plugin-epoch".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It sleeps a tick at most.
            let _ = thread.join();
        }
    }
}
