//! Users and passwords that change while we run: the project's Python is asked for them again when a server refuses ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::config::{Host, LayerConfig, Login, LoginSource};
use crate::probe::{ProbeOptions, probe};

/// How long Python is left alone after it has answered.
const FLOOR: Duration = Duration::from_secs(5);

/// The credential providers of a project's layer. Its hosts share what they answer.
#[derive(Debug)]
pub struct Credentials {
    target: String,
    options: ProbeOptions,
    asked: Mutex<Option<ProviderAnswer>>,
}

/// The last time that they were asked.
#[derive(Debug)]
struct ProviderAnswer {
    began: Instant,
    ended: Instant,
    /// The layer's hosts with what was answered; none where that failed.
    hosts: Vec<Host>,
}

impl Credentials {
    /// Those of the layer that [`probe`] finds for `target`.
    pub fn new(target: &str, options: ProbeOptions) -> Arc<Self> {
        Arc::new(Self {
            target: target.to_owned(),
            options,
            asked: Mutex::default(),
        })
    }

    async fn ask(&self) -> Result<Vec<Host>, String> {
        let probed = probe(&self.target, &self.options)
            .await
            .map_err(|error| error.to_string())?;
        let config = LayerConfig::from_settings(&probed.backend, &probed.config)
            .map_err(|error| error.to_string())?;
        tracing::info!(
            "the channel layer refused djangobot's credentials; the project's credential provider has been asked again"
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
    /// The user and password of the layer's `nth` host, answered after `since`; `None` where there are none, or it is too
    /// early to ask again.
    async fn newer(&self, nth: usize, since: Instant) -> Option<Login> {
        let mut asked = self.asked.lock().await;
        if asked.as_ref().is_none_or(|last| last.began <= since) {
            if asked
                .as_ref()
                .is_some_and(|last| last.ended.elapsed() < FLOOR)
            {
                return None;
            }
            let began = Instant::now();
            let hosts = self.ask().await.unwrap_or_else(|why| {
                tracing::warn!("the project's credential provider can't be asked again: {why}");
                Vec::new()
            });
            let ended = Instant::now();
            *asked = Some(ProviderAnswer {
                began,
                ended,
                hosts,
            });
        }
        asked.as_ref()?.hosts.get(nth).map(Login::of)
    }
}
