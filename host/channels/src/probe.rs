//! Reads a Django project's `CHANNEL_LAYERS` by running the project's own Python, because settings are code.
//!
//! A small script, `probe.py`, imports the target, finds the settings, and prints one marked line of JSON. The layer is
//! made as Channels makes it (`layer.py`), so channels_redis and redis-py themselves decide what the settings mean.
//! The project's own output goes to stderr, and is shown only in an error.
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
/// The beginning of the answer's line. It also has our process id, so that a project can't print it by chance.
const MARK: &str = "djangobot-probe";
/// How many bytes of the project's output are kept for an error.
const KEPT_OUTPUT: usize = 4096;
/// The longest line that is read as one, in bytes. Answers are far shorter.
const LINE: u64 = 1 << 20;
/// How long to wait for Python's last output after it has ended.
const LINGER: Duration = Duration::from_millis(500);

/// The options of a probe.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// The Python to run: an interpreter, or a virtualenv's folder. Without it, the first of `$VIRTUAL_ENV`,
    /// `.venv`, `venv` and `env` in the project's folder and those around it, `python3` and `python` on `PATH`.
    pub python: Option<PathBuf>,
    /// The project's folder, which has `manage.py`.
    pub directory: PathBuf,
    /// How long the project may take to import.
    pub timeout: Duration,
    /// The alias in `CHANNEL_LAYERS`. Without it, the alias of the target's layer, or `default`.
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

/// One channel layer of a project, as its settings define it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectLayer {
    /// The Python that read the settings.
    pub python: PathBuf,
    /// The layer's alias in `CHANNEL_LAYERS`.
    pub alias: String,
    /// Its `BACKEND`, as a dotted path. For a subclass of a known class it is the known class.
    pub backend: String,
    /// The project's own class, as a dotted path.
    pub class: String,
    /// The attributes of the known class that the project's class overrides, such as `MyLayer.send`.
    pub overrides: Vec<String>,
    /// The credential provider classes that were asked for a server's user and password.
    pub providers: Vec<String>,
    /// Its `CONFIG`. For a known class it is the configuration that the class got in the end, and each of `hosts` has
    /// the keywords of redis-py's connection.
    ///
    /// Tuples are lists; a compiled regex is `{"__regex__": pattern}`, with its flags inline; bytes are
    /// `{"__bytes__": base64}`; a dict whose keys are not strings, and always `channel_capacity`, whose order
    /// counts, is `{"__items__": [[key, value], ...]}`; any other object is `{"__unsupported__": type}`.
    pub config: Value,
    /// All aliases in `CHANNEL_LAYERS`.
    pub aliases: Vec<String>,
    /// The settings' module, if it is known.
    pub settings_module: Option<String>,
    /// The versions of the project's packages.
    pub versions: Versions,
}

/// The versions of a project's packages. `None` means that a package is not installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// The version of the interpreter.
    pub python: String,
    /// The version of Django.
    pub django: Option<String>,
    /// The version of Channels.
    pub channels: Option<String>,
    /// The version of `channels_redis`.
    pub channels_redis: Option<String>,
    /// The version of redis-py.
    pub redis: Option<String>,
    /// The version of `asgi_redis`, the layer of Channels 1.
    pub asgi_redis: Option<String>,
    /// The version of `channels_valkey`.
    pub channels_valkey: Option<String>,
    /// The version of valkey-py.
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
/// `myapp.asgi:channel_layer`. If the attribute does not exist, the layer of the settings is used.
///
/// # Errors
/// Each error says what is wrong and where. [`ProbeError::help`] says what to do.
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
    // It has answered or its time is over, so no more output is needed.
    group.kill();
    let status = group.wait().await;
    said.drain(..said.len().saturating_sub(KEPT_OUTPUT));
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let Ok(answer) = answer else {
        return Err(ProbeError::Timeout {
            target: target.into(),
            python,
            seconds: options.timeout.as_secs_f64(),
            said,
        });
    };
    tracing::debug!(python = %python.display(), %said, "the project's Python has read its settings");
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

/// Checks the form of `target`, without running Python.
///
/// # Errors
/// [`ProbeError::BadTarget`] names the target that was probably meant, according to the files in `directory`.
pub fn look_at_target(target: &str, directory: &Path) -> Result<(), ProbeError> {
    Target::parse(target, directory).map(drop)
}

/// Reads the answer of the script, without its mark. `None` if the line is not an answer.
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

/// The marked line without its mark, or `None` if Python ended without one. `said` gets the end of stderr.
async fn answer(group: &mut Group, mark: &str, said: &mut Vec<u8>) -> Option<String> {
    let (stdout, stderr) = group.output()?;
    let mut hear = pin!(hear(stdout, stderr, mark, said));
    let answer = tokio::select! {
        answer = &mut hear => answer,
        // Its last output is in the pipes. A daemon that left the group may hold them open for ever, so the wait has a
        // limit.
        _ = group.wait() => return timeout(LINGER, hear).await.ok().flatten(),
    };
    if answer.is_none() {
        group.wait().await;
    }
    answer
}

/// The marked line of either stream. It comes over stderr if the project has closed the descriptor of stdout.
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

/// Reads `stream` to the marked line, or to its end; `said` gets at least the last [`KEPT_OUTPUT`] bytes of all other
/// lines.
async fn find(stream: impl AsyncRead + Unpin, mark: &str, said: &mut Vec<u8>) -> Option<String> {
    let mut stream = BufReader::new(stream);
    loop {
        said.drain(..said.len().saturating_sub(KEPT_OUTPUT));
        let start = said.len();
        // The limit keeps a line without an end from filling the memory.
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
