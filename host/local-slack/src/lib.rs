//! A Slack workspace on loopback: Web API, RTM and a control interface, for development and tests.
//!
//! [`LocalSlack::start`] gives a server that Slack's own SDKs take for Slack once they are pointed at
//! [`LocalSlack::api_url`]. [`LocalSlack::control`] makes things happen in it and shows what it was asked; the same is
//! served as HTTP under `/control/`. [`terminal`] lets a person talk to a bot through it.
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use local_slack::{LocalSlack, Options};
//!
//! let slack = LocalSlack::start(Options::default()).await?;
//! let control = slack.control();
//! let ts = control.say("alice", "general", "good morning")?;
//! assert!(ts.contains('.'));
//! slack.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod access;
mod control;
mod core;
mod journal;
mod roster;
mod rtm;
mod server;
mod terminal;
mod web_api;
mod workspace;

pub use crate::access::Answer;
pub use crate::control::{Burst, Connection, Control, ControlError, Frame, Sent};
pub use crate::journal::{Call, ReceivedFrame};
pub use crate::rtm::ConnectionId;
pub use crate::terminal::terminal;

/// The owner of a running workspace. Dropping it ends the server and cuts all connections.
#[derive(Debug)]
pub struct LocalSlack {
    core: Arc<core::Core>,
    cancel: CancellationToken,
    server: JoinHandle<()>,
}

/// What the workspace is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen: a loopback address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Generated people, beside the named ones (alice, bob, carol, dave who has left, two bots and Slackbot).
    pub users: usize,
    /// Generated channels, beside the named ones (general, random, ops, lounge, core-team, old-projects).
    pub channels: usize,
    /// The same seed gives the same people, channels and ids.
    pub seed: u64,
    /// The workspace's own name.
    pub team: Team,
    /// The bot that `xoxb-` tokens speak for.
    pub bot_name: String,
    /// Only this token is accepted; with `None`, any that begins with `xoxb-` (the bot) or `xoxp-` (alice).
    pub token: Option<String>,
    /// Whether calls beyond Slack's rates are answered with 429: one post a second in each channel, in bursts of up
    /// to 10, and for other methods their tier's calls a minute.
    pub rate_limits: bool,
    /// How often each socket is sent a WebSocket ping.
    pub ping_interval: Duration,
    /// How long a URL from `rtm.connect` can be used; Slack gives 30 s.
    pub url_lifetime: Duration,
    /// How many messages are kept for each conversation; as many calls and as many frames are kept in the journal.
    pub keep: usize,
}

/// A workspace's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Team {
    /// `T...`.
    pub id: String,
    /// For people.
    pub name: String,
    /// The part of the workspace's address before `.slack.com`.
    pub domain: String,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The workspace has no real accounts, so it is never offered to a network.
    #[error("the local Slack listens on loopback only, not on {0}: use 127.0.0.1 or [::1]")]
    NotLoopback(SocketAddr),
    /// A token that Slack could not have given out.
    #[error("the local Slack cannot accept a token that does not begin with xoxb- or xoxp-")]
    Token,
    /// The address is taken, or may not be used.
    #[error(
        "the local Slack cannot listen on {addr}: {source}; use another port, or 0 for any free one"
    )]
    Listen {
        /// What was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl LocalSlack {
    /// Generates the workspace and begins to serve it.
    ///
    /// # Errors
    /// When the address is not a loopback address or cannot be listened on.
    pub async fn start(options: Options) -> Result<LocalSlack, StartError> {
        let addr = options.listen;
        if !addr.ip().is_loopback() {
            return Err(StartError::NotLoopback(addr));
        }
        if let Some(token) = &options.token
            && access::Speaker::of(token).is_none()
        {
            return Err(StartError::Token);
        }
        let refused = |source| StartError::Listen { addr, source };
        let listener = tokio::net::TcpListener::bind(addr).await.map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let core = Arc::new(core::Core::new(options, addr));
        let cancel = CancellationToken::new();
        let server = tokio::spawn(server::serve(listener, core.clone(), cancel.clone()));
        Ok(LocalSlack {
            core,
            cancel,
            server,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.core.addr
    }

    /// The base URL of the Web API, with a slash at its end, as SDKs want it.
    pub fn api_url(&self) -> String {
        self.core.url("http", "/api/")
    }

    /// A bot's token that it accepts.
    pub fn token(&self) -> &str {
        &self.core.token
    }

    /// Makes things happen and shows what happened.
    pub fn control(&self) -> Control {
        Control::new(self.core.clone())
    }

    /// Ends the server and cuts all connections; returns when nothing of it runs any more.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        // A server that has panicked is over, too.
        (&mut self.server).await.ok();
    }
}

impl Drop for LocalSlack {
    fn drop(&mut self) {
        self.cancel.cancel();
        // The accept loop owns all connections' tasks, so that this ends them.
        self.server.abort();
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            users: 40,
            channels: 8,
            seed: 1,
            team: Team {
                id: "T0LOCAL0001".to_owned(),
                name: "Local Slack".to_owned(),
                domain: "local-slack".to_owned(),
            },
            bot_name: "djangobot".to_owned(),
            token: None,
            rate_limits: false,
            ping_interval: Duration::from_secs(15),
            url_lifetime: Duration::from_secs(30),
            keep: 10_000,
        }
    }
}

/// Locks, also after a panic in another task: each critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
