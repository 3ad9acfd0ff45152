//! Users and passwords that change while we run. When a server refuses ours, the project's Python is asked for them
//! again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::config::{Host, LayerConfig, Login, LoginSource};
use crate::probe::{ProbeOptions, probe};

/// The shortest time between two runs of Python, so that a server that refuses all credentials does not start one after
/// the other.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// The credential providers of a project's layer. One answer serves all hosts of the layer.
#[derive(Debug)]
pub struct Credentials {
    target: String,
    options: ProbeOptions,
    last: Mutex<Option<ProviderAnswer>>,
}

/// The last answer of the providers.
#[derive(Debug)]
struct ProviderAnswer {
    began: Instant,
    ended: Instant,
    /// The layer's hosts with their credentials; empty if the providers failed.
    hosts: Vec<Host>,
}

impl Credentials {
    /// The providers of the layer that [`probe`] finds for `target`.
    pub fn new(target: &str, options: ProbeOptions) -> Arc<Self> {
        Arc::new(Self {
            target: target.to_owned(),
            options,
            last: Mutex::default(),
        })
    }

    async fn ask(&self) -> Result<Vec<Host>, String> {
        let probed = probe(&self.target, &self.options)
            .await
            .map_err(|error| error.to_string())?;
        let config = LayerConfig::from_settings(&probed.backend, &probed.config)
            .map_err(|error| error.to_string())?;
        tracing::info!(
            "the channel layer refused djangobot's credentials, so the project's credential provider was asked again"
        );
        Ok(match config {
            LayerConfig::Redis(config)
            | LayerConfig::PubSub(config)
            | LayerConfig::AsgiRedis(config) => config.hosts,
            LayerConfig::Embedded(_) => Vec::new(),
        })
    }
}

#[async_trait]
impl LoginSource for Credentials {
    async fn newer(&self, nth: usize, since: Instant) -> Option<Login> {
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|answer| answer.began <= since) {
            if last
                .as_ref()
                .is_some_and(|answer| answer.ended.elapsed() < MIN_INTERVAL)
            {
                return None;
            }
            let began = Instant::now();
            let hosts = self.ask().await.unwrap_or_else(|reason| {
                tracing::warn!(%reason,
                    "the project's credential provider could not be asked again; the channel layer is unavailable until it accepts a login");
                Vec::new()
            });
            let ended = Instant::now();
            *last = Some(ProviderAnswer {
                began,
                ended,
                hosts,
            });
        }
        last.as_ref()?.hosts.get(nth).map(Login::of)
    }
}
