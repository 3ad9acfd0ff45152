//! A Slack workspace on loopback: Web API, RTM, Socket Mode, events over HTTP, faults on demand and a control
//! interface, for development and tests.
//!
//! [`LocalSlack::start`] gives a server that Slack's own SDKs take for Slack once they are pointed at
//! [`LocalSlack::api_url`]. [`LocalSlack::control`] makes things happen in it and shows what it was asked; the same is
//! served as HTTP under `/control/`. [`terminal`] lets a person talk to a bot through it.
//!
//! What happens in the workspace goes to all sockets of RTM. It also goes to the app, once: through HTTP where there is
//! a request URL ([`Options::events_url`]), else through Socket Mode, to one of its connections in turn. Socket Mode
//! begins with the first call of `apps.connections.open`, or at once with [`Options::socket_mode`]; from then on, what
//! is not acknowledged is given again by Slack's rules, also while no connection is there.
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

pub mod browser;
mod core;
mod delivery;
mod fault;
mod server;
mod socket;
mod speakers;
mod state;
mod terminal;

pub use crate::delivery::{Attempt, Delivery, Outcome};
pub use crate::fault::{Fault, Happening, Reason};
pub use crate::socket::ConnectionId;
pub use crate::speakers::control::{
    Burst, Connection, Control, ControlError, Frame, Latency, Posted, Report, Sent, Storm, Through,
    Traffic,
};
pub use crate::state::access::Answer;
pub use crate::state::journal::{Call, ReceivedFrame};
pub use crate::terminal::{HELP, terminal};

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
    /// Only this app-level token is accepted; with `None`, any that begins with `xapp-`.
    pub app_token: Option<String>,
    /// For tokens that expire.
    pub oauth: OAuth,
    /// Where the app takes events, commands and interactions over HTTP: a URL on this machine. Without one it gets them
    /// through Socket Mode.
    pub events_url: Option<String>,
    /// What requests to the app are signed with.
    pub signing_secret: String,
    /// Whether the app uses Socket Mode from the start, so that events wait for its connection by Slack's rules;
    /// otherwise from its first call of `apps.connections.open`.
    pub socket_mode: bool,
    /// Whether what happens in a conversation keeps to one connection of Socket Mode as long as the same ones are open,
    /// so that it comes in its order; otherwise the connections have their turns, as Slack promises no more.
    pub sticky: bool,
    /// How long the app may take to acknowledge; Slack gives 3 s.
    pub ack_timeout: Duration,
    /// When an event that was not acknowledged is given again; Slack does so at once, after 1 min and after 5 min.
    pub retry_delays: [Duration; 3],
    /// How long after a `disconnect` with the reason `warning` a connection is closed; Slack gives about 10 s.
    pub warning_time: Duration,
    /// What the app is subscribed to, by Slack's names: `message.channels`, `app_mention`, `reaction_added`. `None`: to
    /// all that its bot may see, but for `app_mention`.
    pub subscriptions: Option<Vec<String>>,
    /// How often a minute `conversations.history` and `conversations.replies` may each be called, for 15 messages: once
    /// with Slack, for apps that are distributed outside of its Marketplace. `None`: at their tier's rate.
    pub history_per_minute: Option<u32>,
    /// Whether calls beyond Slack's rates are answered with 429: one post a second in each channel, in bursts of up
    /// to 10, and for other methods their tier's calls a minute.
    pub rate_limits: bool,
    /// Whether the token is that of an org-wide app, which has to say of which workspace a list is wanted.
    pub org_wide: bool,
    /// How often each socket is sent a WebSocket ping.
    pub ping_interval: Duration,
    /// How long a URL from `rtm.connect` or `apps.connections.open` can be used; Slack gives 30 s.
    pub url_lifetime: Duration,
    /// How many messages are kept for each conversation; as many calls, frames and deliveries are kept in the journal.
    pub keep: usize,
}

/// What an app needs to renew its tokens with `oauth.v2.access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// The app's id in OAuth.
    pub client_id: String,
    /// The app's secret in OAuth.
    pub client_secret: String,
    /// The first refresh token; each serves once, and its answer has the next.
    pub refresh_token: String,
    /// How long an access token is good; Slack gives 12 h.
    pub token_lifetime: Duration,
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
    /// An app-level token that Slack could not have given out.
    #[error("the local Slack cannot accept an app-level token that does not begin with xapp-")]
    AppToken,
    /// The local Slack posts to no network.
    #[error(
        "the local Slack cannot post to {0:?}: give an http:// URL on this machine, such as http://127.0.0.1:8000/slack/events"
    )]
    EventsUrl(String),
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
            && !matches!(
                state::access::Speaker::of(token),
                Some(state::access::Speaker::Bot | state::access::Speaker::Installer)
            )
        {
            return Err(StartError::Token);
        }
        if let Some(token) = &options.app_token
            && state::access::Speaker::of(token) != Some(state::access::Speaker::App)
        {
            return Err(StartError::AppToken);
        }
        let target = match &options.events_url {
            Some(url) => {
                let target = delivery::http::Target::read(url);
                Some(target.ok_or_else(|| StartError::EventsUrl(url.clone()))?)
            }
            None => None,
        };
        let refused = |source| StartError::Listen { addr, source };
        let listener = tokio::net::TcpListener::bind(addr).await.map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let core = Arc::new(core::Core::new(options, addr));
        core.deliveries.http.aim(target);
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

    /// An app-level token that it accepts.
    pub fn app_token(&self) -> &str {
        &self.core.app_token
    }

    /// What requests to the app are signed with.
    pub fn signing_secret(&self) -> &str {
        &self.core.options.signing_secret
    }

    /// The refresh token that is good now.
    pub fn refresh_token(&self) -> String {
        lock(&self.core.access).rotation.refresh_token().to_owned()
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
            app_token: None,
            oauth: OAuth::default(),
            events_url: None,
            signing_secret: "local-slack-signing-secret".to_owned(),
            socket_mode: false,
            sticky: false,
            ack_timeout: Duration::from_secs(3),
            retry_delays: [
                Duration::ZERO,
                Duration::from_secs(60),
                Duration::from_secs(300),
            ],
            warning_time: Duration::from_secs(10),
            subscriptions: None,
            history_per_minute: None,
            org_wide: false,
            rate_limits: false,
            ping_interval: Duration::from_secs(15),
            url_lifetime: Duration::from_secs(30),
            keep: 10_000,
        }
    }
}

impl Default for OAuth {
    fn default() -> OAuth {
        OAuth {
            client_id: "1000000000000.2000000000000".to_owned(),
            client_secret: "local-slack-client-secret".to_owned(),
            refresh_token: "xoxe-1-local-slack".to_owned(),
            token_lifetime: Duration::from_secs(12 * 3600),
        }
    }
}

/// Locks, also after a panic in another task: each critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
