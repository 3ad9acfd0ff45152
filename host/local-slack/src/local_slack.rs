//! A running workspace: started, asked for its addresses and tokens, and shut down.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::delivery::http::Target;
use crate::lock::lock;
use crate::options::Options;
use crate::server;
use crate::speakers::control::Control;
use crate::state::access::Speaker;

/// The owner of a running workspace. Dropping it ends the server and cuts all connections.
#[derive(Debug)]
pub struct LocalSlack {
    pub(crate) core: Arc<Core>,
    cancel: CancellationToken,
    server: JoinHandle<()>,
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
        /// The address that was asked for.
        addr: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

impl LocalSlack {
    /// Generates the workspace and begins to serve it.
    ///
    /// # Errors
    /// When the address is not a loopback address or cannot be listened on.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let addr = options.listen;
        if !addr.ip().is_loopback() {
            return Err(StartError::NotLoopback(addr));
        }
        if let Some(token) = &options.token
            && !matches!(Speaker::of(token), Some(Speaker::Bot | Speaker::Installer))
        {
            return Err(StartError::Token);
        }
        if let Some(token) = &options.app_token
            && Speaker::of(token) != Some(Speaker::App)
        {
            return Err(StartError::AppToken);
        }
        let target = match &options.events_url {
            Some(url) => {
                let target = Target::read(url);
                Some(target.ok_or_else(|| StartError::EventsUrl(url.clone()))?)
            }
            None => None,
        };
        let refused = |source| StartError::Listen { addr, source };
        let listener = tokio::net::TcpListener::bind(addr).await.map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let core = Arc::new(Core::new(options, addr));
        core.deliveries.http.endpoint.aim(target);
        let cancel = CancellationToken::new();
        let server = tokio::spawn(server::serve(listener, core.clone(), cancel.clone()));
        Ok(LocalSlack {
            core,
            cancel,
            server,
        })
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.core.address.0
    }

    /// The base URL of the Web API, with a slash at its end, as SDKs want it.
    pub fn api_url(&self) -> String {
        self.core.address.url("http", "/api/")
    }

    /// A bot's token that it accepts.
    pub fn token(&self) -> &str {
        &self.core.token
    }

    /// An app-level token that it accepts.
    pub fn app_token(&self) -> &str {
        &self.core.app_token
    }

    /// The secret that requests to the app are signed with.
    pub fn signing_secret(&self) -> &str {
        &self.core.options.signing_secret
    }

    /// The refresh token that is good now.
    pub fn refresh_token(&self) -> String {
        lock(&self.core.access).rotation.refresh_token().to_owned()
    }

    /// A handle that makes things happen and shows what happened.
    pub fn control(&self) -> Control {
        Control::new(self.core.clone())
    }

    /// Ends the server and cuts all connections; returns when nothing of it runs any more.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        // A server that has panicked has ended as well.
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
