//! `djangobot run`: settings, layer and state opened, then the bridge.

use std::sync::Arc;

use djangobot_slack::{Token, WebApi};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Tap};
use crate::cli::RunArgs;
use crate::config::{ConfigError, Settings};
use crate::failure::Failure;
use crate::listener::{Listener, Readiness};
use crate::metrics::Metrics;
use crate::state::State;
use crate::target::{self, OpenLayer};
use crate::telemetry::Terminal;

/// Runs until stopped.
pub(crate) async fn run(
    args: RunArgs,
    terminal: Terminal,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let settings = Settings::read(&args.target, &args.slack, &args.host).map_err(Failure::usage)?;
    terminal
        .start_logs(&settings.log, settings.log_format)
        .map_err(Failure::usage)?;
    if let Some(target) = &settings.layer.target {
        // Before the token: who mistypes a command is not helped by hearing of tokens.
        target::refuse_misspelt(target).map_err(Failure::from)?;
    }
    if settings.slack.token.is_none() {
        return Err(Failure::usage(ConfigError::NoToken));
    }
    let Some(target) = &settings.layer.target else {
        return Err(Failure::usage(ConfigError::NoTarget));
    };
    let open = target::open(&settings.layer, target)
        .await
        .map_err(Failure::from)?;
    bridge(settings, open, terminal, None, cancel).await
}

/// The client for `settings`'s token.
pub(crate) fn web_api(settings: &Settings) -> Result<WebApi, Failure> {
    let token = settings
        .slack
        .token
        .as_ref()
        .ok_or_else(|| Failure::usage(ConfigError::NoToken))?;
    let token = Token::new(token.expose_secret()).map_err(Failure::plain_usage)?;
    WebApi::new(settings.slack.api_url.clone(), token).map_err(Failure::plain)
}

/// Runs a bridge on an open layer until `cancel`.
pub(crate) async fn bridge(
    settings: Settings,
    open: OpenLayer,
    terminal: Terminal,
    tap: Option<Arc<dyn Tap>>,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let api = web_api(&settings)?;
    let state = State::open(&settings.state_dir).map_err(Failure::failed)?;
    let metrics = Metrics::new();
    let readiness = Arc::new(Readiness::default());
    for warning in &open.warnings {
        tracing::warn!("{warning}");
    }
    let listener = match settings.listen {
        Some(address) => Some(Listener::bind(address).await.map_err(Failure::failed)?),
        None => None,
    };
    tracing::info!(
        layer = open.layer.describe(),
        "forwarding Slack's events to slack.<type>, sending what comes on {}",
        settings.layer.send_channel
    );
    let listening = async {
        if let Some(listener) = listener {
            tracing::info!(address = %listener.address(), "serving /healthz, /readyz and /metrics");
            listener
                .serve(metrics.clone(), readiness.clone(), cancel.child_token())
                .await;
        }
        std::future::pending::<()>().await;
    };
    let OpenLayer {
        layer,
        format,
        embedded,
        ..
    } = open;
    let bridge = Bridge {
        settings,
        layer,
        format,
        api,
        state,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        terminal,
        tap,
    };
    let outcome = tokio::select! {
        outcome = bridge.run(cancel.clone()) => outcome,
        () = listening => Ok(()),
    };
    if let Some(server) = embedded {
        server.shutdown().await;
    }
    outcome
}
