//! `djangobot run`: settings, layer and state opened, then the bridge.

use std::sync::Arc;
use std::time::Duration;

use djangobot_slack::{Token, WebApi};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Tap};
use crate::cli::RunArgs;
use crate::config::{ConfigError, Settings};
use crate::control::Server;
use crate::dev_plugins::DevPlugins;
use crate::failure::Failure;
use crate::listener::{Listener, Readiness};
use crate::metrics::Metrics;
use crate::plugins::Plugins;
use crate::state::State;
use crate::target::{self, OpenLayer};
use crate::team::Team;
use crate::telemetry::Terminal;

/// How long an answer of the HTTP listener may take after the bridge has ended.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

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
    if let Some(lack) = settings.slack.lack(settings.listen.is_some()) {
        return Err(Failure::usage(lack));
    }
    let Some(target) = &settings.layer.target else {
        return Err(Failure::usage(ConfigError::NoTarget));
    };
    // A project's Python may take its time; nothing is under way yet, so a stop is a clean one.
    let opening = target::open(&settings.layer, target);
    let Some(open) = cancel.run_until_cancelled(opening).await else {
        return Ok(());
    };
    let open = open.map_err(Failure::from)?;
    bridge(settings, open, terminal, Beside::default(), cancel).await
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

/// What `djangobot dev` has beside a bridge.
#[derive(Default)]
pub(crate) struct Beside {
    pub(crate) tap: Option<Arc<dyn Tap>>,
    pub(crate) plugins: Option<DevPlugins>,
}

/// Runs a bridge on an open layer until `cancel`.
pub(crate) async fn bridge(
    settings: Settings,
    open: OpenLayer,
    terminal: Terminal,
    beside: Beside,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let api = web_api(&settings)?;
    let state = State::open(&settings.state_dir).map_err(Failure::failed)?;
    let metrics = Metrics::new();
    let readiness = Arc::new(Readiness::default());
    for warning in &open.warnings {
        tracing::warn!("{warning}");
    }
    let team = Team::new();
    // Compiling may take its time; nothing is under way yet, so a stop is a clean one.
    let loading = Plugins::open(&settings, &team, &metrics, beside.plugins);
    let Some(plugins) = cancel.run_until_cancelled(loading).await else {
        return Ok(());
    };
    let plugins = Arc::new(plugins?);
    let control = Server::bind(&settings.state_dir).map_err(Failure::failed)?;
    let listener = match settings.listen {
        Some(address) => Some(Listener::bind(address).await.map_err(Failure::failed)?),
        None => None,
    };
    tracing::info!(
        layer = open.layer.describe(),
        "forwarding Slack's events to slack.<type>, sending what comes on {}",
        settings.layer.send_channel
    );
    // Who asks how it is gets an answer until all is finished.
    let ended = CancellationToken::new();
    let listening = async {
        let Some(listener) = listener else { return };
        tracing::info!(address = %listener.address(), "serving /healthz, /readyz and /metrics");
        let last_answers = async {
            ended.cancelled().await;
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            () = listener.serve(metrics.clone(), readiness.clone(), ended.clone()) => {}
            () = last_answers => {}
        }
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
        plugins: plugins.host().clone(),
        team,
        state,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        terminal,
        tap: beside.tap,
    };
    let bridging = async {
        let outcome = bridge.run(cancel).await;
        ended.cancel();
        outcome
    };
    let (outcome, (), (), ()) = tokio::join!(
        bridging,
        listening,
        plugins.run(ended.clone()),
        control.serve(plugins.clone(), ended.clone())
    );
    if let Some(server) = embedded {
        server.shutdown().await;
    }
    outcome
}
