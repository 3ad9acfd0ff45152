//! The parts of a loaded plugin that all its instances share: manifest, limits, grants, and the host's services.

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
use crate::services::slack::SlackApi;
use crate::services::store::PluginStore;

/// The parts of a loaded plugin that all its instances share.
pub(crate) struct Owner {
    /// Its name in the config.
    pub(crate) name: String,
    /// How many instances it has.
    pub(crate) instances: u32,
    pub(crate) manifest: Manifest,
    pub(crate) limits: Limits,
    /// Its config, as JSON text: what `init` gets.
    pub(crate) config: String,
    /// The capabilities that were asked for and granted.
    pub(crate) grants: Vec<Capability>,
    /// The hosts among `grants`, taken out because each request looks them up.
    pub(crate) http_grants: Vec<HostPattern>,
    pub(crate) log: Arc<PluginLog>,
    /// The messages to Slack that it sends in a minute. Shared, because the limit holds for the plugin and not for each
    /// instance.
    pub(crate) sends: Meter,
    /// The calls of the Web API that it makes in a minute, shared for the same reason.
    pub(crate) slack_calls: Meter,
    pub(crate) services: Services,
}

/// The host's services for one plugin.
pub(crate) struct Services {
    pub(crate) roster: Arc<dyn Roster>,
    /// `None` where the store was not granted.
    pub(crate) store: Option<PluginStore>,
    pub(crate) http: Fetcher,
    pub(crate) slack: Arc<dyn SlackApi>,
    pub(crate) secrets: Arc<Secrets>,
}

impl Owner {
    /// Whether the plugin asked for a capability and the operator granted it.
    pub(crate) fn holds(&self, capability: &Capability) -> bool {
        self.grants.contains(capability)
    }

    /// The secret `name`; `None` where the operator has not set it. The caller asks first whether it was granted.
    pub(crate) fn secret(&self, name: &str) -> Option<String> {
        let secret = self.services.secrets.get(name)?;
        Some(secret.expose_secret().to_owned())
    }
}
