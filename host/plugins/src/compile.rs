//! From a component to machine code: in a child process with limits of its own, once, and then from a cache.
//!
//! wasmtime promises nothing of how much memory or time a hostile component takes to compile, and compiling leaves hundreds
//! of megabytes behind. So a child does it, this same program under another word, and this process only maps what came
//! out. The cache belongs to the state folder and is trusted as that is; what comes from outside is always compiled here.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use djangobot_event::CleanText;
use tokio::process::Command;
use wasmtime::component::Component;

use crate::digest::Digest;
use crate::engine::{self, Engine};
use crate::private;

/// The subcommand that the child is started with: `compile-plugin COMPONENT OUT`.
pub const SUBCOMMAND: &str = "compile-plugin";

/// Address space of the child, in bytes.
const MAX_MEMORY: u64 = 4 << 30;
/// Processor seconds of the child.
const MAX_CPU: u64 = 300;
/// How long the child is waited for.
const MAX_TIME: Duration = Duration::from_secs(300);

/// Compiles components, and remembers.
#[derive(Clone, Debug)]
pub struct Compiler {
    cache: PathBuf,
    program: PathBuf,
}

/// Why a component has no machine code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The folder of the cache can't be used.
    #[error("the cache {} can't be used: {reason}", path.display())]
    Cache {
        /// Which file or folder.
        path: PathBuf,
        /// The system's word.
        reason: std::io::Error,
    },
    /// The child can't be started.
    #[error("{} can't be started to compile the plugin: {reason}", program.display())]
    Child {
        /// Which program.
        program: PathBuf,
        /// The system's word.
        reason: std::io::Error,
    },
    /// The child was ended.
    #[error("compiling it took more than {} s or {} GiB, and was given up", MAX_CPU, MAX_MEMORY >> 30)]
    Exhausted,
    /// The compiler refused the component.
    #[error("it can't be compiled: {0}")]
    Refused(CleanText),
}

impl Compiler {
    /// A compiler whose child is `program`, which must hand [`SUBCOMMAND`] to [`child`], and that keeps what it made in
    /// `cache`.
    pub fn new(program: PathBuf, cache: PathBuf) -> Self {
        Self { cache, program }
    }

    /// The program that children are started from.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The component in the file `source`, whose digest is `digest`, as machine code.
    pub(crate) async fn component(
        &self,
        engine: &Engine,
        source: &Path,
        digest: &Digest,
    ) -> Result<Component, CompileError> {
        let path = self
            .cache
            .join(format!("{digest}-{:016x}.cwasm", fingerprint(engine)));
        if path.exists() {
            match map(engine, &path) {
                Ok(component) => return Ok(component),
                Err(error) => {
                    tracing::info!(%error, path = %path.display(), "a compiled plugin is of no use any more; it is compiled anew")
                }
            }
        }
        self.compile(source, &path).await?;
        map(engine, &path)
            .map_err(|error| CompileError::Refused(CleanText::new(&format!("{error:#}"))))
    }

    async fn compile(&self, source: &Path, path: &Path) -> Result<(), CompileError> {
        let unusable = |reason| CompileError::Cache {
            path: path.to_owned(),
            reason,
        };
        private::make_folder(&self.cache).map_err(unusable)?;
        // Beside its final name, so that renaming is one step, and removed however this ends.
        let unfinished = tempfile::Builder::new()
            .prefix("compiling-")
            .tempfile_in(&self.cache)
            .map_err(unusable)?;
        let mut child = Command::new(&self.program);
        child
            .arg(SUBCOMMAND)
            .arg(source)
            .arg(unfinished.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = child.spawn().map_err(|reason| CompileError::Child {
            program: self.program.clone(),
            reason,
        })?;
        let ended = tokio::time::timeout(MAX_TIME, child.wait_with_output()).await;
        let Ok(ended) = ended else {
            return Err(CompileError::Exhausted);
        };
        let output = ended.map_err(|reason| CompileError::Child {
            program: self.program.clone(),
            reason,
        })?;
        if !output.status.success() {
            return Err(why(output.status, &output.stderr));
        }
        unfinished
            .persist(path)
            .map_err(|error| unusable(error.error))?;
        Ok(())
    }
}

fn why(status: ExitStatus, said: &[u8]) -> CompileError {
    let said = String::from_utf8_lossy(said);
    let said = said.trim();
    // Out of memory is an abort, out of time a signal; a refusal is told in words, with an exit code.
    if status.code().is_none() || said.contains("memory allocation of") {
        return CompileError::Exhausted;
    }
    CompileError::Refused(CleanText::within(said, 2_000))
}

/// What the child does: compiles the component in the file `source` into the file `output`, within its limits.
///
/// # Errors
/// A sentence, for the parent.
pub fn child(source: &Path, output: &Path) -> Result<(), String> {
    crate::child::limit(MAX_MEMORY, MAX_CPU)?;
    let bytes = std::fs::read(source).map_err(|error| error.to_string())?;
    let engine = wasmtime::Engine::new(&engine::config()).map_err(|error| format!("{error:#}"))?;
    let compiled = engine
        .precompile_component(&bytes)
        .map_err(|error| format!("{error:#}"))?;
    std::fs::write(output, compiled).map_err(|error| error.to_string())
}

/// Maps compiled code. The one place in the project that must be trusted with a file.
#[allow(unsafe_code, reason = "machine code can't be checked before it runs")]
fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file lies in the cache of the state folder, under a name that this module made, and was written there
    // by `compile` out of a component; nothing from outside is ever put there.
    unsafe { Component::deserialize_file(engine.wasmtime(), path) }
}

/// Stands for this version of wasmtime, its settings and this kind of processor.
fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine
        .wasmtime()
        .precompile_compatibility_hash()
        .hash(&mut hasher);
    hasher.finish()
}
