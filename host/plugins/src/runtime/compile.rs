//! Compiles components to machine code: once, in a child process with limits of its own, and then from a cache.
//!
//! wasmtime does not promise how much memory or time a hostile component takes to compile, and compiling leaves
//! hundreds of megabytes behind in the process. So a child does it, which is this same program with another subcommand:
//! it reads the component from stdin and writes the code to stdout, and touches no file. Code from the cache is loaded
//! only if its MAC shows that it came out of such a child.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use djangobot_event::CleanText;
use djangobot_event::lock::lock;
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
/// How long the parent waits for the child; twice its processor time, since the machine may have other work.
const MAX_TIME: Duration = Duration::from_secs(600);
/// The largest code that is read from the child, in bytes.
const MAX_CODE: u64 = 512 << 20;
/// The child's priority is lower than that of the host, so that events don't wait for a compilation.
const NICENESS: i32 = 10;

/// Compiles components, and caches the code.
#[derive(Clone, Debug)]
pub struct Compiler {
    cache: Cache,
    program: PathBuf,
    shared: SharedCode,
}

/// Components that several plugins run on, so that their code is mapped once: the engines of script languages.
#[derive(Clone, Default)]
struct SharedCode(Arc<Mutex<Vec<(Digest, Component)>>>);

/// The most components that are shared: those of a few languages, and one more of each while it is updated.
const MAX_SHARED: usize = 8;

impl std::fmt::Debug for SharedCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedCode")
    }
}

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Its file can't be read.
    #[error("{} can't be read: {reason}", path.display())]
    Unread {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
    /// Its file was changed since it was checked.
    #[error("{} was changed: its sha256 is now {found}", path.display())]
    Changed {
        /// The file's path.
        path: PathBuf,
        /// The digest of the file now.
        found: Digest,
    },
    /// The child could not be started, or gave no code.
    #[error("{} can't compile the plugin: {reason}", program.display())]
    Child {
        /// The child's program.
        program: PathBuf,
        /// The system's error, or a clause.
        reason: io::Error,
    },
    /// The child reached its limits.
    #[error(
        "compiling it took more than {} s of a processor or {} GiB of memory, and was ended; its author must make it smaller",
        MAX_CPU, MAX_MEMORY >> 30
    )]
    Exhausted,
    /// The compiler refused the component.
    #[error("it can't be compiled: {0}")]
    Refused(CleanText),
}

impl Compiler {
    /// A compiler that starts `program` as its child and keeps the code in the folder `cache`. `program` must answer to
    /// [`SUBCOMMAND`] by calling [`child`].
    pub fn new(program: PathBuf, cache: PathBuf) -> Self {
        let cache = Cache::of(cache);
        Self {
            cache,
            program,
            shared: SharedCode::default(),
        }
    }

    /// The program that children are started from.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Does what [`Compiler::component`] does, and keeps the result for all plugins of this host.
    pub(crate) async fn shared(
        &self,
        engine: &Engine,
        source: &Path,
        digest: &Digest,
    ) -> Result<Component, CompileError> {
        let kept = |shared: &[(Digest, Component)]| {
            let found = shared.iter().find(|(own, _)| own == digest);
            found.map(|(_, component)| component.clone())
        };
        if let Some(component) = kept(&lock(&self.shared.0)) {
            return Ok(component);
        }
        let component = self.component(engine, source, digest).await?;
        let mut shared = lock(&self.shared.0);
        // Another plugin may have loaded it meanwhile.
        if let Some(component) = kept(&shared) {
            return Ok(component);
        }
        if shared.len() >= MAX_SHARED {
            shared.remove(0);
        }
        shared.push((*digest, component.clone()));
        Ok(component)
    }

    /// Compiles the component in the file `source`, whose digest must be `digest`, or loads its code from the cache.
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
        // Reading and checking tens of megabytes would hold up the events on this thread.
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
                "the cached code of a plugin is not used, and the plugin is compiled again: {why}"
            );
        }
        let code = self.compile(source, digest).await?;
        let component = load(engine, &code)
            .map_err(|error| CompileError::Refused(CleanText::new(&format!("{error:#}"))))?;
        // The code is cached only after it was loaded, so that code which can't be loaded does not come back.
        let cache = self.cache.clone();
        let kept = tokio::task::spawn_blocking(move || cache.put(&key, &code)).await;
        if let Err(error) = kept.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(
                "the code of a plugin can't be cached, and the next start compiles it again: {error}"
            );
        }
        Ok(component)
    }

    async fn compile(&self, source: &Path, digest: &Digest) -> Result<Code, CompileError> {
        let bytes = file::read(source, MAX_SIZE).map_err(|reason| CompileError::Unread {
            path: source.to_owned(),
            reason,
        })?;
        // The child gets these bytes and not the file, so that no change of the file after this check can matter.
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
            return Err(no_child(io::Error::other(
                "it ended well, but gave no code",
            )));
        }
        Ok(Code::compiled(ended.stdout))
    }
}

/// Deletes the code in the folder `cache` whose component is not one of `kept`.
///
/// # Errors
/// The folder can't be listed, or a file can't be deleted.
pub fn tidy(cache: &Path, kept: &BTreeSet<Digest>) -> io::Result<()> {
    Cache::of(cache.to_owned()).keep_only(kept)
}

fn why(status: ExitStatus, said: &[u8]) -> CompileError {
    let said = String::from_utf8_lossy(said);
    let said = said.trim();
    // Running out of time ends the child by a signal, and running out of memory by an abort; for a refusal it exits
    // with a code and a text.
    if status.code().is_none() || said.contains("memory allocation of") {
        return CompileError::Exhausted;
    }
    CompileError::Refused(CleanText::within(said, 2_000))
}

/// The child's work: it compiles the component on stdin, within its limits, and writes the code to stdout.
///
/// # Errors
/// A clause for stderr, which the parent reads.
pub fn child() -> Result<(), String> {
    crate::child::limit(MAX_MEMORY, MAX_CPU)?;
    // Where this fails, the child works at the normal priority, which is no reason to refuse the plugin.
    let _ = rustix::process::nice(NICENESS);
    let mut bytes = Vec::new();
    io::stdin()
        .take(MAX_SIZE as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let mut config = engine::config();
    // One thread, so that the other processors are left for the host.
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

/// Maps machine code into this process. It is the one `unsafe` place of the project.
#[allow(unsafe_code, reason = "machine code can't be checked before it runs")]
fn load(engine: &Engine, code: &Code) -> wasmtime::Result<Component> {
    // SAFETY: `Code` is made in two places alone: from the output of a child of this host, and from bytes whose MAC
    // shows that they were such an output, for this engine and this component. It lies in the memory of this process,
    // where no change of a file reaches it.
    unsafe { Component::deserialize(engine.wasmtime(), code.bytes()) }
}

/// A digest of this version of wasmtime, its settings and this kind of processor: code made under another one is not
/// valid.
fn fingerprint(engine: &Engine) -> Digest {
    /// A hasher over SHA-256: the standard library's gives other values in the next process, or from the next compiler.
    struct Sha256Hasher(Sha256);
    impl Hasher for Sha256Hasher {
        fn finish(&self) -> u64 {
            0
        }

        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Sha256Hasher(Sha256::new());
    engine
        .wasmtime()
        .precompile_compatibility_hash()
        .hash(&mut hasher);
    Digest::finish(hasher.0)
}
