//! The WebAssembly engine of one host, and the clock that ends calls which compute for too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Config;

/// The length of a tick of the epoch. At each tick a guest's time is checked, so that limits are exact to about one
/// tick.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The largest stack of a guest, in bytes.
const GUEST_STACK: usize = 512 << 10;
/// The stack that a call runs on, in bytes: the guest's, and as much for the host functions that the guest calls on it.
const CALL_STACK: usize = 1 << 20;

/// The engine that all plugins of a host share. Cheap to clone; one thread ticks for all of them and ends with the
/// last.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    _ticker: Arc<Ticker>,
}

/// The engine can't be started on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine can't be started: {0}")]
pub struct EngineError(String);

impl Engine {
    /// Makes the engine and starts its clock.
    ///
    /// # Errors
    /// The machine's processor is not supported, or no thread can be started.
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

/// The WebAssembly features that guests may use, and the way in which calls are made and ended. A change here changes
/// the compiled code, and with it the key of the cache.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        // Calls of one instance never overlap, so that wasmtime's support for concurrent calls would only cost time.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(CALL_STACK)
        // Some languages throw exceptions (C++), and some have their objects in wasmtime's heap (Kotlin, Dart). The
        // heap of an instance counts against its memory. Both features are young in wasmtime (ARCHITECTURE.md, Decisions),
        // so they are the first to switch off after an advisory.
        .wasm_exceptions(true)
        .wasm_gc(true)
        // The engine's own adapters between the components inside a component have two memories. A guest's own modules
        // with several are refused where its file is read (`install/component/features.rs`).
        .wasm_multi_memory(true)
        // No plugin needs these, and each would be more code of the engine that a hostile plugin could reach.
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    config
}

/// The thread that advances the epoch. There is one for all plugins: a timer for each call would cost more than the
/// calls.
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
            // This waits for a tick at most. A panic of the thread is of no interest any more.
            let _ = thread.join();
        }
    }
}
