//! Reads a Django project's `CHANNEL_LAYERS` by running the project's own Python, since settings are code.
//!
//! A small script, `probe.py`, imports the target, finds the settings, and prints one marked line of JSON. The layer is
//! made as Channels makes it (`layer.py`), so that what settings mean is what channels_redis and redis-py make of them.
//! What the project itself prints on the way goes to stderr, and is shown only when something goes wrong.
//! The project's code runs with this process's environment and rights, as `manage.py` would run it.

mod error;
mod group;
mod project;
mod python;
mod target;
#[cfg(test)]
mod tests;
mod trap;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::{self, Either};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

pub use error::ProbeError;
use group::Group;
use target::Target;
pub use trap::worker_trap;

const SCRIPT: &str = concat!(
    include_str!("probe/layer.py"),
    include_str!("probe/probe.py")
);
/// Begins the line of the answer; with our process's id, so that a project can't print it by chance.
const MARK: &str = "djangobot-probe";
/// How much of what the project printed is kept, for the message when it fails.
const SAID: usize = 4096;
/// The longest line that is read as one, in bytes; no settings' answer is near.
const LINE: u64 = 1 << 20;
/// How long Python's last words may take once it has ended.
const LINGER: Duration = Duration::from_millis(500);

/// How to look for the settings.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// The Python to run: an interpreter, or a virtualenv's folder. Without it, the first of `$VIRTUAL_ENV`,
    /// `.venv`, `venv` and `env` in the project's folder and those around it, `python3` and `python` on `PATH`.
    pub python: Option<PathBuf>,
    /// The project's folder: where `manage.py` lies.
    pub directory: PathBuf,
    /// How long the project may take to import.
    pub timeout: Duration,
    /// Which of `CHANNEL_LAYERS` to read; without it, that of the target's layer, else `default`.
    pub alias: Option<String>,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            python: None,
            directory: PathBuf::from("."),
            timeout: Duration::from_secs(30),
            alias: None,
        }
    }
}

/// What a project's settings say about one channel layer.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectLayer {
    /// The Python that read them.
    pub python: PathBuf,
    /// The layer's alias in `CHANNEL_LAYERS`.
    pub alias: String,
    /// Its `BACKEND`, as a dotted path; of a subclass, the known class that it is.
    pub backend: String,
    /// The project's own class, as a dotted path.
    pub class: String,
    /// What the project's own class changes of the known one, such as `MyLayer.send`.
    pub overrides: Vec<String>,
    /// The classes that were asked for a server's user and password, where settings name such.
    pub providers: Vec<String>,
    /// Its `CONFIG`; where the class is a known one, as that was given it in the end, with each of `hosts` as the
    /// keywords of redis-py's connection.
    ///
    /// Tuples are lists; a compiled regex is `{"__regex__": pattern}`, with its flags inline; bytes are
    /// `{"__bytes__": base64}`; a dict with keys that are no strings, and always `channel_capacity`, whose order
    /// counts, is `{"__items__": [[key, value], ...]}`; any other object is `{"__unsupported__": type}`.
    pub config: Value,
    /// All aliases in `CHANNEL_LAYERS`.
    pub aliases: Vec<String>,
    /// The settings' module, where it is known.
    pub settings_module: Option<String>,
    /// What the project has installed.
    pub versions: Versions,
}

/// Versions of what a project has installed; `None` is not installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// The interpreter's.
    pub python: String,
    /// Django's.
    pub django: Option<String>,
    /// Channels'.
    pub channels: Option<String>,
    /// `channels_redis`'s.
    pub channels_redis: Option<String>,
    /// That of redis-py.
    pub redis: Option<String>,
    /// That of `asgi_redis`, the layer of Channels 1.
    pub asgi_redis: Option<String>,
    /// `channels_valkey`'s.
    pub channels_valkey: Option<String>,
    /// That of valkey-py.
    pub valkey: Option<String>,
}

/// The script's answer.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Error(error::ScriptError),
    Layer(Box<LayerAnswer>),
}

#[derive(Deserialize)]
struct LayerAnswer {
    alias: String,
    backend: String,
    class: String,
    overrides: Vec<String>,
    #[serde(default)]
    providers: Vec<String>,
    config: Value,
    aliases: Vec<String>,
    settings_module: Option<String>,
    versions: Versions,
}

/// Reads the channel layer that `target` names.
///
/// A target is `MODULE` or `MODULE:ATTRIBUTE`: `myapp.settings`, `myapp.asgi`, `myapp.asgi:application`, or
/// `myapp.asgi:channel_layer`, which need not exist: then the settings' layer counts.
///
/// # Errors
/// Each says what is wrong and where; [`ProbeError::help`] says what to do.
pub async fn probe(target: &str, options: &ProbeOptions) -> Result<ProjectLayer, ProbeError> {
    let target = Target::parse(target, &options.directory)?;
    let python = python::find(options.python.as_deref(), &options.directory)?;
    let mark = format!("{MARK}-{}:", std::process::id());
    let mut group = Group::spawn(
        Command::new(&python)
            .args([
                "-c",
                SCRIPT,
                &mark,
                target.as_str(),
                options.alias.as_deref().unwrap_or_default(),
            ])
            .current_dir(&options.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
    .map_err(|reason| ProbeError::start(&python, &options.directory, &reason))?;
    let mut said = Vec::new();
    let answer = timeout(options.timeout, answer(&mut group, &mark, &mut said)).await;
    // It has answered or has run out of time; in neither case is there more to come from it.
    group.kill();
    let status = group.wait().await;
    said.drain(..said.len().saturating_sub(SAID));
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let Ok(answer) = answer else {
        return Err(ProbeError::Timeout {
            target: target.into(),
            python,
            seconds: options.timeout.as_secs_f64(),
            said,
        });
    };
    tracing::debug!(python = %python.display(), %said, "the project's settings were asked for");
    match answer.and_then(|line| read_answer(&line, &python, &options.directory)) {
        Some(probed) => probed,
        None => Err(ProbeError::Crashed {
            target: target.into(),
            python,
            status: ended(status),
            said,
        }),
    }
}

/// Whether `target` has the form of one, before any Python is asked.
///
/// # Errors
/// [`ProbeError::BadTarget`] says what was probably meant, as files in `directory` show it.
pub fn look_at_target(target: &str, directory: &Path) -> Result<(), ProbeError> {
    Target::parse(target, directory).map(drop)
}

/// What the script has answered, without its mark; `None` where that is no answer.
pub fn read_answer(
    line: &str,
    python: &Path,
    directory: &Path,
) -> Option<Result<ProjectLayer, ProbeError>> {
    Some(match serde_json::from_str(line).ok()? {
        Answer::Layer(found) => Ok(found.by(python.to_owned())),
        Answer::Error(refusal) => Err(refusal.by(python.to_owned(), directory.to_owned())),
    })
}

/// The marked line, without its mark, or `None` if Python ended without one. `said` gets the end of stderr.
async fn answer(group: &mut Group, mark: &str, said: &mut Vec<u8>) -> Option<String> {
    let (stdout, stderr) = group.output()?;
    let mut hear = pin!(hear(stdout, stderr, mark, said));
    let answer = tokio::select! {
        answer = &mut hear => answer,
        // What it said is in the pipes; a daemon that left the group may hold them open for ever.
        _ = group.wait() => return timeout(LINGER, hear).await.ok().flatten(),
    };
    if answer.is_none() {
        group.wait().await;
    }
    answer
}

/// The marked line of either stream: it comes by stderr from a project that closed the descriptor of the other.
async fn hear(
    stdout: impl AsyncRead + Unpin,
    stderr: impl AsyncRead + Unpin,
    mark: &str,
    said: &mut Vec<u8>,
) -> Option<String> {
    let mut printed = Vec::new();
    let stdout = pin!(find(stdout, mark, &mut printed));
    let stderr = pin!(find(stderr, mark, said));
    match future::select(stdout, stderr).await {
        Either::Left((None, other)) => other.await,
        Either::Right((None, other)) => other.await,
        Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
    }
}

/// Reads `stream` to the marked line, or to its end; `said` gets at least the last [`SAID`] bytes of all else.
async fn find(stream: impl AsyncRead + Unpin, mark: &str, said: &mut Vec<u8>) -> Option<String> {
    let mut stream = BufReader::new(stream);
    loop {
        said.drain(..said.len().saturating_sub(SAID));
        let start = said.len();
        // A line that never ends must not fill the memory.
        let mut line = (&mut stream).take(LINE);
        let (Ok(1..), Some(line)) = (line.read_until(b'\n', said).await, said.get(start..)) else {
            return None;
        };
        if let Some(answer) = line.strip_prefix(mark.as_bytes()) {
            let answer = String::from_utf8(answer.to_vec()).ok();
            said.truncate(start);
            return answer;
        }
    }
}

fn ended(status: Option<ExitStatus>) -> String {
    status.map_or_else(
        || "it closed its output".to_owned(),
        |status| status.to_string(),
    )
}

impl LayerAnswer {
    fn by(self, python: PathBuf) -> ProjectLayer {
        let Self {
            alias,
            backend,
            class,
            overrides,
            providers,
            config,
            aliases,
            settings_module,
            versions,
        } = self;
        ProjectLayer {
            python,
            alias,
            backend,
            class,
            overrides,
            providers,
            config,
            aliases,
            settings_module,
            versions,
        }
    }
}
