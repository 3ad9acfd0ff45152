//! The user and password of a connection, and a source of newer ones.

use std::fmt;
use std::time::Instant;

use async_trait::async_trait;

use crate::config::hosts::{Endpoint, Host};

/// A source of users and passwords that change while we run. It is asked when a server refuses those of the settings.
#[async_trait]
pub trait LoginSource: fmt::Debug + Send + Sync {
    /// The user and password of the layer's `nth` host, if they were read after `since`. `None` if there are none, or
    /// if it is too early to ask again.
    async fn newer(&self, nth: usize, since: Instant) -> Option<Login>;
}

/// A user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    username: Option<String>,
    password: Option<String>,
    /// At the Sentinels that name the server.
    sentinels: Vec<Login>,
}

impl Login {
    pub(crate) fn of(host: &Host) -> Self {
        let sentinels = match &host.endpoint {
            Endpoint::Sentinel { sentinels, .. } => sentinels.iter().map(Self::of).collect(),
            _ => Vec::new(),
        };
        Self {
            username: host.username.clone(),
            password: host.password.clone(),
            sentinels,
        }
    }

    /// `host`, with these users and passwords.
    pub(crate) fn at(&self, host: &Host) -> Host {
        let mut host = Host {
            username: self.username.clone(),
            password: self.password.clone(),
            ..host.clone()
        };
        if let Endpoint::Sentinel { sentinels, .. } = &mut host.endpoint {
            for (sentinel, login) in sentinels.iter_mut().zip(&self.sentinels) {
                *sentinel = login.at(sentinel);
            }
        }
        host
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}
