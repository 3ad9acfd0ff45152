//! The control socket, over which a command asks the host that runs on the same state folder.
//!
//! It speaks HTTP and JSON over a Unix socket in the state folder, which only the host's user can open.

#[cfg(test)]
mod tests;

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use miette::Diagnostic;
use serde_json::Value;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

const SOCKET: &str = "control.sock";
/// The longest path that is used as a socket's address, which has 108 bytes with the zero at its end. The rest is room
/// for the process id in the name under which a socket is made.
#[cfg(target_os = "linux")]
const LONGEST: usize = 100;
/// The largest answer that a command accepts, in bytes.
const ANSWER: usize = 16 << 20;

/// The requests that a running host answers.
#[async_trait]
pub(crate) trait Control: Send + Sync {
    /// Returns an array of status objects, one for each plugin.
    async fn plugins(&self) -> Value;
    /// Loads the plugins of config and lock as they are now, and returns when that is done:
    /// `{"plugins": [...], "error": null | "sentence"}`.
    async fn reload(&self) -> Value;
    /// Tries a version of a plugin that the lock does not pin yet, and lets it serve if it can:
    /// `{"refused": null | "sentence"}`. The caller then writes config and lock.
    async fn propose(&self, proposal: Value) -> Value;
}

/// A running host could not be asked.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum ControlError {
    #[error("the djangobot that is running does not answer on {}: {reason}", path.display())]
    #[diagnostic(help("look for the reason in its log; a restart reads config and lock again"))]
    NoAnswer { path: PathBuf, reason: String },
    #[error("the control socket {} can't be made: {reason}", path.display())]
    #[diagnostic(help(
        "with --state-dir or DJANGOBOT_STATE_DIR, name a folder that djangobot can write to"
    ))]
    Bind { path: PathBuf, reason: io::Error },
}

/// The bound socket; [`Server::serve`] answers on it.
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket of a state folder. A socket that is there already is replaced: the caller holds the state's
    /// lock, so its host has ended.
    pub(crate) fn bind(state: &Path) -> Result<Self, ControlError> {
        let path = state.join(SOCKET);
        let failed = |reason| ControlError::Bind {
            path: path.clone(),
            reason,
        };
        // Made under another name, so that nobody can find it before its mode allows the owner alone.
        let made = state.join(format!("{SOCKET}.{}", std::process::id()));
        let _ = std::fs::remove_file(&made);
        let listener = at_short_path(&made, |path| UnixListener::bind(path)).map_err(failed)?;
        std::fs::set_permissions(&made, Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&made, &path))
            .map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Answers until `cancel`, and then deletes the socket.
    pub(crate) async fn serve(self, control: Arc<dyn Control>, cancel: CancellationToken) {
        let app = Router::new()
            .route(
                "/plugins",
                get(async |State(control): State<Arc<dyn Control>>| Json(control.plugins().await)),
            )
            .route(
                "/plugins/reload",
                post(async |State(control): State<Arc<dyn Control>>| Json(control.reload().await)),
            )
            .route(
                "/plugins/propose",
                post(
                    async |State(control): State<Arc<dyn Control>>, Json(proposal): Json<Value>| {
                        Json(control.propose(proposal).await)
                    },
                ),
            )
            .with_state(control);
        let serving = axum::serve(self.listener, app).into_future();
        // An answer that is under way is not awaited: the command sees the connection end, and reports it.
        match cancel.run_until_cancelled(serving).await {
            None | Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::error!(%error, "the control socket ended, so that commands can't reach this host; restart it");
            }
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The folders in which a host on `state` may have its socket: `djangobot dev` has its own state in `dev`.
fn hosts(state: &Path) -> [PathBuf; 2] {
    [state.to_owned(), state.join("dev")]
}

/// Asks the host on `state` for the statuses of its plugins; `None` if no host runs.
pub(crate) async fn plugins(state: &Path) -> Result<Option<Value>, ControlError> {
    for state in hosts(state) {
        let request = HostRequest {
            method: Method::GET,
            path: "/plugins",
            body: String::new(),
            // The host answers from memory, however much it has to do.
            timeout: Duration::from_secs(5),
        };
        let answer = request.send(&state).await?;
        if answer.is_some() {
            return Ok(answer);
        }
    }
    Ok(None)
}

/// Lets the hosts on `state` read config and lock again, and returns the first answer; `None` if no host runs.
pub(crate) async fn reload(state: &Path) -> Result<Option<Value>, ControlError> {
    let mut first = None;
    for state in hosts(state) {
        let request = HostRequest {
            method: Method::POST,
            path: "/plugins/reload",
            body: String::new(),
            // Plugins in languages with large runtimes take minutes to compile.
            timeout: Duration::from_secs(600),
        };
        let answer = request.send(&state).await?;
        first = first.or(answer);
    }
    Ok(first)
}

/// Lets each host on `state` try `proposal`, and returns the first refusal, or else the last answer; `None` if no host
/// runs.
pub(crate) async fn propose(state: &Path, proposal: &Value) -> Result<Option<Value>, ControlError> {
    let mut answer = None;
    for state in hosts(state) {
        let request = HostRequest {
            method: Method::POST,
            path: "/plugins/propose",
            body: proposal.to_string(),
            // It includes the time to compile this plugin, and others before it.
            timeout: Duration::from_secs(600),
        };
        let Some(this) = request.send(&state).await? else {
            continue;
        };
        let is_refused = !this["refused"].is_null();
        answer = Some(this);
        if is_refused {
            break;
        }
    }
    Ok(answer)
}

/// A command's request to a running host.
struct HostRequest {
    method: Method,
    path: &'static str,
    /// JSON, or an empty text.
    body: String,
    timeout: Duration,
}

impl HostRequest {
    /// Sends it to the host on `state` itself, and returns the answer; `None` if no host runs there.
    async fn send(self, state: &Path) -> Result<Option<Value>, ControlError> {
        let path = state.join(SOCKET);
        let no_answer = |reason: String| ControlError::NoAnswer {
            path: path.clone(),
            reason,
        };
        let connected =
            match at_short_path(&path, |path| std::os::unix::net::UnixStream::connect(path)) {
                Ok(stream) => stream
                    .set_nonblocking(true)
                    .and_then(|()| UnixStream::from_std(stream)),
                // No host runs, or the socket is left from one that was killed.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) => Err(error),
            };
        let stream = connected.map_err(|error| no_answer(error.to_string()))?;
        let timeout = self.timeout;
        match tokio::time::timeout(timeout, self.exchange(stream)).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) => Err(no_answer(error.to_string())),
            Err(_) => Err(no_answer(format!(
                "no answer came within {} s",
                timeout.as_secs()
            ))),
        }
    }

    /// Sends the request and reads the answer.
    async fn exchange(self, stream: UnixStream) -> Result<Value, AnyError> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header("host", "djangobot")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(self.body)))?;
        let asking = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER).collect().await?;
            if !status.is_success() {
                return Err(format!("it answered with the status {status}").into());
            }
            Ok(serde_json::from_slice(&body.to_bytes())?)
        };
        // The connection is driven here next to the request, and ends with it, so that it needs no task.
        tokio::pin!(connection);
        tokio::select! {
            answer = asking => answer,
            ended = &mut connection => Err(match ended {
                Ok(()) => "it closed the connection".into(),
                Err(error) => error.into(),
            }),
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Calls `open` with `path`, or with a short name for it if it is longer than a socket's address may be.
fn at_short_path<T>(path: &Path, open: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    #[cfg(target_os = "linux")]
    if path.as_os_str().len() > LONGEST
        && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
    {
        use std::os::fd::AsRawFd;
        let folder = File::open(folder)?;
        return open(&PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name));
    }
    open(path)
}
