//! The control socket: how a command finds the host that runs on the same state folder, and asks it something.
//!
//! HTTP and JSON over a Unix socket in the state folder, for the user alone.

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
/// A socket's address has 108 bytes with the zero at its end.
#[cfg(target_os = "linux")]
const LONGEST: usize = 100;
/// The largest answer that is taken.
const ANSWER: usize = 16 << 20;

/// What a running host does when it is asked.
#[async_trait]
pub(crate) trait Control: Send + Sync {
    /// How each plugin is: an array of status objects.
    async fn plugins(&self) -> Value;
    /// Follows config and lock as they are now, and says when that is done:
    /// `{"plugins": [...], "error": null | "sentence"}`.
    async fn reload(&self) -> Value;
    /// Tries what a lock would pin for one plugin, and has it serve where it can: `{"refused": null | "sentence"}`. The
    /// files are the caller's to write.
    async fn propose(&self, proposal: Value) -> Value;
}

/// Why a running host could not be asked.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum ControlError {
    #[error("the djangobot that is running does not answer on {}: {reason}", path.display())]
    #[diagnostic(help("what its log says may tell why; a restart reads all anew"))]
    Mute { path: PathBuf, reason: String },
    #[error("{} can't be made: {reason}", path.display())]
    #[diagnostic(help(
        "choose a folder that can be written to with --state-dir or DJANGOBOT_STATE_DIR"
    ))]
    Unmade { path: PathBuf, reason: io::Error },
}

/// The socket, bound; [`Server::serve`] answers.
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Takes the socket of a state folder, from a host that is no more: who holds the state is alone on it.
    pub(crate) fn bind(state: &Path) -> Result<Self, ControlError> {
        let path = state.join(SOCKET);
        let unmade = |reason| ControlError::Unmade {
            path: path.clone(),
            reason,
        };
        // Made under another name, so that nobody can open it before it is for its owner alone.
        let made = state.join(format!("{SOCKET}.{}", std::process::id()));
        let _ = std::fs::remove_file(&made);
        let listener = at_short_path(&made, |path| UnixListener::bind(path)).map_err(unmade)?;
        std::fs::set_permissions(&made, Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&made, &path))
            .map_err(unmade)?;
        Ok(Self { listener, path })
    }

    /// Answers until `cancel`, and takes the socket away.
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
        // An answer that is under way is not waited for: the one who asked sees that the host ends.
        match cancel.run_until_cancelled(serving).await {
            None | Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, "the control socket ended"),
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where a host that runs on `state` may be found: `djangobot dev` keeps its own state within.
fn hosts(state: &Path) -> [PathBuf; 2] {
    [state.to_owned(), state.join("dev")]
}

/// How the plugins of the host that runs on `state` are; `None` where none runs.
pub(crate) async fn plugins(state: &Path) -> Result<Option<Value>, ControlError> {
    for state in hosts(state) {
        let ask = Question {
            method: Method::GET,
            path: "/plugins",
            body: String::new(),
            patience: Duration::from_secs(5),
        };
        let answer = ask.put_to(&state).await?;
        if answer.is_some() {
            return Ok(answer);
        }
    }
    Ok(None)
}

/// Has the host that runs on `state` read config and lock anew; `None` where none runs.
pub(crate) async fn reload(state: &Path) -> Result<Option<Value>, ControlError> {
    let mut first = None;
    for state in hosts(state) {
        let ask = Question {
            method: Method::POST,
            path: "/plugins/reload",
            body: String::new(),
            // Plugins in languages with large runtimes take a while to compile.
            patience: Duration::from_secs(600),
        };
        let answer = ask.put_to(&state).await?;
        first = first.or(answer);
    }
    Ok(first)
}

/// Has each host that runs on `state` try `proposal`, and gives the first refusal; `None` where none runs.
pub(crate) async fn propose(state: &Path, proposal: &Value) -> Result<Option<Value>, ControlError> {
    let mut answer = None;
    for state in hosts(state) {
        let ask = Question {
            method: Method::POST,
            path: "/plugins/propose",
            body: proposal.to_string(),
            // As long as compiling may take, and the compiling of others before it.
            patience: Duration::from_secs(600),
        };
        let Some(said) = ask.put_to(&state).await? else {
            continue;
        };
        let is_refused = !said["refused"].is_null();
        answer = Some(said);
        if is_refused {
            break;
        }
    }
    Ok(answer)
}

/// What a command asks of a running host.
struct Question {
    method: Method,
    path: &'static str,
    /// JSON, or nothing.
    body: String,
    patience: Duration,
}

impl Question {
    /// The answer of the host that runs on `state` itself; `None` where none does.
    async fn put_to(self, state: &Path) -> Result<Option<Value>, ControlError> {
        let path = state.join(SOCKET);
        let mute = |reason: String| ControlError::Mute {
            path: path.clone(),
            reason,
        };
        let connected =
            match at_short_path(&path, |path| std::os::unix::net::UnixStream::connect(path)) {
                Ok(stream) => stream
                    .set_nonblocking(true)
                    .and_then(|()| UnixStream::from_std(stream)),
                // No host, or the socket of one that was killed.
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
        let stream = connected.map_err(|error| mute(error.to_string()))?;
        let patience = self.patience;
        match tokio::time::timeout(patience, self.exchange(stream)).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) => Err(mute(error.to_string())),
            Err(_) => Err(mute(format!("{} s have passed", patience.as_secs()))),
        }
    }

    /// One request and its answer.
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
                return Err(format!("it said {status}").into());
            }
            Ok(serde_json::from_slice(&body.to_bytes())?)
        };
        // The connection is driven here, beside the request, and ends with it.
        tokio::pin!(connection);
        tokio::select! {
            answer = asking => answer,
            ended = &mut connection => Err(match ended {
                Ok(()) => "it hung up".into(),
                Err(error) => error.into(),
            }),
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Calls `open` with `path`, or with a short name for it where it is longer than a socket's address may be.
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
