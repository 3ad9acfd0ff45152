//! The address that this server is reached at.

use std::net::SocketAddr;

/// The address that this server listens on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl Address {
    /// A URL of this server.
    pub(crate) fn url(self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.0)
    }
}
