//! The embedded server: its listener, and the tasks of its connections.

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

/// How often expired keys are removed. A key that is used is checked at once in any case.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, mostly because the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The reason why the server could not be started. Its text names the cure.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program listens on the address.
    #[error(
        "the embedded channel layer can't listen on {address} because another program does; if that is a Redis, use it \
         (redis://{address}), or else choose another port, or port 0 for any free port"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The operating system refuses.
    #[error(
        "the embedded channel layer can't listen on {address}: {source}; use 127.0.0.1 and a port above 1023"
    )]
    Refused {
        /// The address.
        address: SocketAddr,
        /// The reason of the operating system.
        source: io::Error,
    },
    /// The layer would be open to the network without a password.
    #[error(
        "the embedded channel layer does not listen on {address} without a password, because anybody in the network could \
         read and write messages; use 127.0.0.1, or set a password with --password-file, or use a Redis server"
    )]
    Open {
        /// The address.
        address: SocketAddr,
    },
}

/// A small Redis server inside the process, for a stock `channels_redis`.
///
/// It keeps messages in memory only, and is meant for development and for one small machine. If it is dropped without
/// [`EmbeddedServer::shutdown`], it stops soon afterwards.
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
    /// Starts a server on `listen`. Port 0 takes any free port.
    ///
    /// # Errors
    /// The address can't be used.
    pub async fn bind(listen: SocketAddr) -> Result<Self, BindError> {
        Self::bind_with(listen, ServerOptions::default()).await
    }

    /// Starts a server with the caller's options.
    ///
    /// # Errors
    /// The address can't be used, or can't be used without a password.
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

    /// The address on which it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Whether clients must give a password.
    pub fn has_password(&self) -> bool {
        self.shared.lock().password.is_some()
    }

    /// A layer on the same store, with the settings of the server.
    pub fn layer(&self) -> EmbeddedLayer {
        self.layer_with(self.layer.clone())
    }

    /// A layer on the same store, with the caller's settings.
    pub fn layer_with(&self, options: LayerOptions) -> EmbeddedLayer {
        EmbeddedLayer::new(Arc::clone(&self.shared), self.address, options)
    }

    /// Disconnects all clients and stops. Waiting messages are lost.
    pub async fn shutdown(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task of the embedded channel layer failed");
        }
    }
}

/// Accepts connections, owns their tasks, and removes expired keys.
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
                    tracing::warn!(%error, "the embedded channel layer could not accept a connection; it tries again");
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
