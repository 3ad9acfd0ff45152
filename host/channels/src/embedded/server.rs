//! The server: a listener, the store behind it, and the tasks that serve it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::embedded::clients::Clients;
use crate::embedded::layer::EmbeddedLayer;
use crate::embedded::options::{LayerOptions, ServerOptions};
use crate::embedded::session;
use crate::embedded::state::SharedState;

/// How often keys whose time has come are forgotten, if nobody asks for them.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait when the system gives no connection (it has no more files, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the server could not be started. Shown, it says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program listens there.
    #[error(
        "the embedded channel layer can't listen on {address}: another program does. If that is a Redis, use it \
         (redis://{address}); else choose another port, or port 0 for any that is free"
    )]
    InUse {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// The system refuses.
    #[error(
        "the embedded channel layer can't listen on {address}: {source}. Listen on 127.0.0.1 and a port above 1023"
    )]
    Refused {
        /// Where it was to listen.
        address: SocketAddr,
        /// The system's own words.
        source: io::Error,
    },
    /// It would be open to the network.
    #[error(
        "the embedded channel layer does not listen on {address} without a password, since all who reach it could read \
         and write messages: listen on 127.0.0.1, give it a password (--password-file), or use a Redis server"
    )]
    Open {
        /// Where it was to listen.
        address: SocketAddr,
    },
}

/// A small Redis server inside the process, which a stock `channels_redis` talks to.
///
/// It holds messages in memory only, and is meant for development and for one small machine.
/// Dropped without [`EmbeddedServer::shutdown`] it stops soon afterwards.
///
/// ```no_run
/// # async fn example() -> Result<(), djangobot_channels::BindError> {
/// use djangobot_channels::EmbeddedServer;
///
/// let server = EmbeddedServer::bind(([127, 0, 0, 1], 6379).into()).await?;
/// println!("CHANNEL_LAYERS' hosts: [\"redis://{}\"]", server.addr());
/// let layer = server.layer();
/// # drop(layer);
/// server.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EmbeddedServer {
    shared: Arc<SharedState>,
    address: SocketAddr,
    layer: LayerOptions,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl EmbeddedServer {
    /// Starts to listen on `listen`; port 0 is any that is free.
    pub async fn bind(listen: SocketAddr) -> Result<Self, BindError> {
        Self::bind_with(listen, ServerOptions::default()).await
    }

    /// Starts to listen, with bounds and a password of the caller's.
    pub async fn bind_with(listen: SocketAddr, options: ServerOptions) -> Result<Self, BindError> {
        if !listen.ip().is_loopback() && options.password.is_none() {
            return Err(BindError::Open { address: listen });
        }
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address: listen },
            _ => BindError::Refused {
                address: listen,
                source,
            },
        };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let clients = Clients::new(options.max_clients, options.subscriber_limit);
        let shared = Arc::new(SharedState::new(&options, clients));
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(Arc::clone(&shared), listener, stop.clone()));
        Ok(Self {
            shared,
            address,
            layer: options.layer.unwrap_or_default(),
            stop: stop.drop_guard(),
            task,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Whether clients must give a password.
    pub fn has_password(&self) -> bool {
        self.shared.lock().password.is_some()
    }

    /// A layer on the same store, with the settings that the server was given.
    pub fn layer(&self) -> EmbeddedLayer {
        self.layer_with(self.layer.clone())
    }

    /// A layer on the same store.
    pub fn layer_with(&self, options: LayerOptions) -> EmbeddedLayer {
        EmbeddedLayer::new(Arc::clone(&self.shared), self.address, options)
    }

    /// Disconnects all clients and stops. Messages that wait are gone.
    pub async fn shutdown(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the embedded layer's task ended badly");
        }
    }
}

/// Owns the connections' tasks, and forgets expired keys.
async fn accept(shared: Arc<SharedState>, listener: TcpListener, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(session::serve(Arc::clone(&shared), stream, stop.child_token()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the embedded layer could not take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = expiry.tick() => {
                let mut state = shared.lock();
                let now = state.now();
                state.store.expire(now);
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
