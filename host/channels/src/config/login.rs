//! The user and password of a connection, and a source of newer ones.

use std::fmt;
use std::time::Instant;

use async_trait::async_trait;

use crate::config::hosts::Host;

/// A source of users and passwords that change while we run. A server that refuses what the settings name asks it.
#[async_trait]
pub trait LoginSource: fmt::Debug + Send + Sync {
    /// The user and password of the layer's `nth` host, found out after `since`; `None` where there are none, or it is
    /// too early to ask again.
    async fn newer(&self, nth: usize, since: Instant) -> Option<Login>;
}

/// Whom we log in as.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    username: Option<String>,
    password: Option<String>,
}

impl Login {
    pub(crate) fn of(host: &Host) -> Self {
        Self {
            username: host.username.clone(),
            password: host.password.clone(),
        }
    }

    /// `host`, with this user and password.
    pub(crate) fn at(&self, host: &Host) -> Host {
        Host {
            username: self.username.clone(),
            password: self.password.clone(),
            ..host.clone()
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}
