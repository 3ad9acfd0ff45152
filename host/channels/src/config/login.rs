//! The user and password of a connection, and a source of newer ones.

use std::fmt;
use std::time::Instant;

use async_trait::async_trait;

use crate::config::hosts::Host;

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
}

impl Login {
    pub(crate) fn of(host: &Host) -> Self {
        Self {
            username: host.username.clone(),
            password: host.password.clone(),
        }
    }

    /// `host` with this user and password.
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
