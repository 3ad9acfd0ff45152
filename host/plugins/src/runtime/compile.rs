//! From a component to machine code: in a child process with limits of its own, once, and then from a cache.
//!
//! wasmtime promises nothing of how much memory or time a hostile component takes to compile, and compiling leaves hundreds
//! of megabytes behind. So a child does it, this same program under another word: it is given the component and gives the
//! code, and touches no file. What lies in the cache is taken only where its MAC says that it came out of such a child.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use djangobot_event::CleanText;
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::child;
use crate::digest::Digest;
use crate::file;
use crate::install::component::MAX_SIZE;
use crate::runtime::cache::{Cache, Code, Key};
use crate::runtime::engine::{self, Engine};

/// The subcommand that the child is started with. It reads the component from stdin and writes the code to stdout.
pub const SUBCOMMAND: &str = "compile-plugin";

/// Address space of the child, in bytes.
const MAX_MEMORY: u64 = 4 << 30;
/// Processor seconds of the child.
const MAX_CPU: u64 = 300;
/// How long the child is waited for.
const MAX_TIME: Duration = Duration::from_secs(600);
/// The largest code that is taken, in bytes.
const MAX_CODE: u64 = 512 << 20;
/// How much the child gives way to everything else on the machine: events go on while it works.
const NICENESS: i32 = 10;

/// Compiles components, and remembers.
#[derive(Clone, Debug)]
pub struct Compiler {
    cache: Cache,
    program: PathBuf,
}

/// Why a component has no machine code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Its file can't be read.
    #[error("{} can't be read: {reason}", path.display())]
    Unread {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
    /// Its file is not what it was.
    #[error("{} was changed: its sha256 is {found}", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
        /// Of the bytes that are there.
        found: Digest,
    },
    /// The child can't be started, or gave nothing.
    #[error("{} can't compile the plugin: {reason}", program.display())]
    Child {
        /// Which program.
        program: PathBuf,
        /// The system's word, or a clause.
        reason: io::Error,
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
        let cache = Cache::of(cache);
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
        let key = Key {
            engine: fingerprint(engine),
            component: *digest,
        };
        // Reading and checking tens of megabytes is nothing for a thread on which events go by.
        let cache = self.cache.clone();
        let kept = tokio::task::spawn_blocking(move || cache.get(&key)).await;
        let kept = kept.unwrap_or_else(|error| Err(error.to_string()));
        let why = match kept {
            Ok(Some(code)) => match load(engine, &code) {
                Ok(component) => return Ok(component),
                Err(error) => Some(format!("{error:#}")),
            },
            Ok(None) => None,
            Err(why) => Some(why),
        };
        if let Some(why) = why {
            let component = digest.short();
            tracing::warn!(
                component,
                "a compiled plugin is not used, and compiled again: {why}"
            );
        }
        let code = self.compile(source, digest).await?;
        let component = load(engine, &code)
            .map_err(|error| CompileError::Refused(CleanText::new(&format!("{error:#}"))))?;
        // Only what can be loaded is kept.
        let cache = self.cache.clone();
        let kept = tokio::task::spawn_blocking(move || cache.put(&key, &code)).await;
        if let Err(error) = kept.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(
                "a compiled plugin can't be kept, and the next start compiles it again: {error}"
            );
        }
        Ok(component)
    }

    async fn compile(&self, source: &Path, digest: &Digest) -> Result<Code, CompileError> {
        let bytes = file::read(source, MAX_SIZE).map_err(|reason| CompileError::Unread {
            path: source.to_owned(),
            reason,
        })?;
        // What is compiled is what was checked, whatever becomes of the file.
        let found = Digest::of(&bytes);
        if found != *digest {
            let path = source.to_owned();
            return Err(CompileError::Changed { path, found });
        }
        let no_child = |reason| CompileError::Child {
            program: self.program.clone(),
            reason,
        };
        let ended = child::run(&self.program, &[SUBCOMMAND], &bytes, MAX_TIME, MAX_CODE).await;
        let Some(ended) = ended.map_err(no_child)? else {
            return Err(CompileError::Exhausted);
        };
        if !ended.status.success() {
            return Err(why(ended.status, &ended.stderr));
        }
        if ended.stdout.is_empty() {
            return Err(no_child(io::Error::other("it gave no code")));
        }
        Ok(Code::compiled(ended.stdout))
    }
}

/// Deletes the compiled code in `cache` that is of none of the components `kept`.
///
/// # Errors
/// The folder can't be listed, or a file can't be deleted.
pub fn tidy(cache: &Path, kept: &BTreeSet<Digest>) -> io::Result<()> {
    Cache::of(cache.to_owned()).keep_only(kept)
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

/// What the child does: compiles the component that stdin gives, within its limits, and writes the code to stdout.
///
/// # Errors
/// A sentence, for the parent.
pub fn child() -> Result<(), String> {
    crate::child::limit(MAX_MEMORY, MAX_CPU)?;
    // Where it can't, it works as quickly as anybody.
    let _ = rustix::process::nice(NICENESS);
    let mut bytes = Vec::new();
    io::stdin()
        .take(MAX_SIZE as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let mut config = engine::config();
    // The other processors are those of whoever waits for events.
    config.parallel_compilation(false);
    let engine = wasmtime::Engine::new(&config).map_err(|error| format!("{error:#}"))?;
    let compiled = engine
        .precompile_component(&bytes)
        .map_err(|error| format!("{error:#}"))?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&compiled)
        .and_then(|()| stdout.flush())
        .map_err(|error| error.to_string())
}

/// Takes code as what it is. The one place in the project that must be trusted with a file.
#[allow(unsafe_code, reason = "machine code can't be checked before it runs")]
fn load(engine: &Engine, code: &Code) -> wasmtime::Result<Component> {
    // SAFETY: `Code` is made in two places alone: of what a child of this host compiled just now, and of bytes whose MAC
    // says that they are what such a child gave, for this engine and component. It lies in this process's memory, where
    // no file's change reaches it.
    unsafe { Component::deserialize(engine.wasmtime(), code.bytes()) }
}

/// Stands for this version of wasmtime, its settings and this kind of processor.
fn fingerprint(engine: &Engine) -> Digest {
    /// Hashes with SHA-256, so that it is the same in the next process and on the next compiler.
    struct Counting(Sha256);
    impl Hasher for Counting {
        fn finish(&self) -> u64 {
            0
        }

        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Counting(Sha256::new());
    engine
        .wasmtime()
        .precompile_compatibility_hash()
        .hash(&mut hasher);
    Digest::finish(hasher.0)
}
