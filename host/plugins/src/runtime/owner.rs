//! What all instances of a loaded plugin share.

use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::config::Limits;
use crate::grant::{Capability, HostPattern};
use crate::manifest::Manifest;
use crate::services::http::Fetcher;
use crate::services::log::PluginLog;
use crate::services::meter::Meter;
use crate::services::roster::Roster;
use crate::services::secrets::Secrets;
use crate::services::store::PluginStore;

/// What all instances of a loaded plugin share.
pub(crate) struct Owner {
    pub(crate) manifest: Manifest,
    pub(crate) limits: Limits,
    /// Its config, as JSON text.
    pub(crate) config: String,
    /// What was asked and granted.
    pub(crate) grants: Vec<Capability>,
    pub(crate) http_grants: Vec<HostPattern>,
    pub(crate) log: Arc<PluginLog>,
    /// Messages that it may send to Slack.
    pub(crate) sends: Meter,
    pub(crate) services: Services,
}

/// What the host does for a plugin.
pub(crate) struct Services {
    pub(crate) roster: Arc<dyn Roster>,
    /// Where it was granted.
    pub(crate) store: Option<PluginStore>,
    pub(crate) http: Fetcher,
    pub(crate) secrets: Arc<Secrets>,
}

impl Owner {
    /// A secret that was granted by its name.
    pub(crate) fn secret(&self, name: &str) -> Option<String> {
        let asked = Capability::Secret(name.to_owned());
        let granted = self.grants.contains(&asked);
        let secret = granted.then(|| self.services.secrets.get(name))??;
        Some(secret.expose_secret().to_owned())
    }
}
