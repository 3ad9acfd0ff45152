//! `djangobot run`: reads the settings, opens the layer and the state, and runs the bridge.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use djangobot_slack::{Token, WebApi, http_events};
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bridge::tap::Tap;
use crate::bridge::{Bridge, PluginSlack, Source};
use crate::cli::RunArgs;
use crate::config::{ConfigError, Settings, Transport};
use crate::control::Server;
use crate::dev_plugins::DevPlugins;
use crate::failure::Failure;
use crate::fingerprint::fingerprint;
use crate::listener::{self, Listener, Readiness};
use crate::metrics::Metrics;
use crate::plugins::Plugins;
use crate::state::State;
use crate::target::{self, OpenLayer};
use crate::team::Team;
use crate::telemetry::Terminal;
use crate::tokens::{SettingsArgs, TokenHolders, Tokens};

/// How long the HTTP listener goes on after the bridge has ended, so that the last answers reach their clients.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Runs until stopped.
pub(crate) async fn run(
    args: RunArgs,
    exposed_secrets: &[&str],
    terminal: Terminal,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let mut settings =
        Settings::read(&args.target, &args.slack, &args.host).map_err(Failure::usage)?;
    terminal
        .start_logs(&settings.log, settings.log_format)
        .map_err(Failure::usage)?;
    for option in exposed_secrets {
        tracing::warn!("{}", exposure(option));
    }
    // The checks that need nothing but the settings come first, before a folder is made or a program is started.
    if let Some(target) = &settings.layer.target {
        target::look_at_form(target).map_err(Failure::from)?;
    }
    if let Some(lack) = settings.slack.lack(settings.listen.is_some()) {
        return Err(Failure::usage(lack));
    }
    let target = settings.layer.target().map_err(Failure::usage)?;
    settings.open_state().map_err(Failure::failed)?;
    // The project's Python may take long. Nothing is under way yet, so a stop needs no clean-up.
    let opening = target::open(&settings.layer, &target);
    let Some(open) = cancel.run_until_cancelled(opening).await else {
        return Ok(());
    };
    let open = open.map_err(Failure::from)?;
    let options = BridgeOptions {
        args: Some(SettingsArgs {
            target: args.target,
            slack: args.slack,
            host: args.host,
        }),
        no_standby: args.no_standby,
        ..BridgeOptions::default()
    };
    bridge(settings, open, terminal, options, cancel).await
}

/// Describes the danger of a secret on the command line, and after `: ` the cure.
pub(crate) fn exposure(option: &str) -> String {
    let variable = option
        .trim_start_matches('-')
        .replace('-', "_")
        .to_uppercase();
    format!(
        "the secret of {option} is on the command line, which every user of this machine can read (ps) and which shells keep in their history: put it into the environment, as DJANGOBOT_{variable}, or into a file, which {option}-file names"
    )
}

/// Makes the client with the bot's token.
pub(crate) fn web_api(settings: &Settings) -> Result<WebApi, Failure> {
    let token = settings
        .slack
        .token
        .as_ref()
        .ok_or_else(|| Failure::usage(ConfigError::NoToken))?;
    let token = Token::new(token.expose_secret()).map_err(Failure::plain_usage)?;
    WebApi::new(settings.slack.api_url.clone(), token).map_err(Failure::plain)
}

/// Requests of Slack that may wait between the listener and the bridge. Beyond that Slack gets no acknowledgement, and
/// redelivers.
const REQUESTS: usize = 1024;

/// The transport, with its routes at the listener and the holders of its tokens.
struct TransportParts {
    source: Source,
    routes: Router,
    holders: TokenHolders,
}

/// Makes the transport that the settings name.
fn transport_parts(settings: &Settings) -> Result<TransportParts, Failure> {
    let slack = &settings.slack;
    let mut routes = Router::new().fallback(listener::nowhere);
    let mut holders = TokenHolders {
        api: web_api(settings)?,
        app: None,
        signing_secrets: Vec::from_iter(slack.signing_secret.clone()).into(),
    };
    let source = match slack.transport {
        Transport::Rtm => Source::Rtm,
        Transport::SocketMode => {
            let token = slack
                .app_token
                .as_ref()
                .ok_or_else(|| Failure::usage(ConfigError::NoAppToken))?;
            let token = Token::new(token.expose_secret()).map_err(Failure::plain_usage)?;
            let app = WebApi::new(slack.api_url.clone(), token).map_err(Failure::plain)?;
            holders.app = Some(app.clone());
            Source::SocketMode {
                app,
                connections: slack.connections.into(),
                health: Arc::default(),
            }
        }
        Transport::Http => {
            let (to_bridge, requests) = mpsc::channel(REQUESTS);
            let config = http_events::Config {
                signing_secrets: holders.signing_secrets.clone(),
                ..http_events::Config::default()
            };
            let counts = config.counts.clone();
            routes = http_events::router(config, to_bridge);
            let secret = slack.signing_secret.as_ref();
            let secret = secret.map_or("", |secret| secret.expose_secret());
            Source::Http {
                requests,
                counts,
                fact: format!("session/{:016x}", fingerprint(secret.as_bytes())),
            }
        }
    };
    Ok(TransportParts {
        source,
        routes,
        holders,
    })
}

/// How long a start waits for plugins before it connects to Slack without them. Compiled plugins load within it.
const PLUGINS_FIRST: Duration = Duration::from_secs(2);

/// The ways in which `run` and `dev` differ.
#[derive(Default)]
pub(crate) struct BridgeOptions {
    /// The arguments to read the settings with again on SIGHUP, if that is possible.
    pub(crate) args: Option<SettingsArgs>,
    /// A witness of all events and messages.
    pub(crate) tap: Option<Arc<dyn Tap>>,
    /// Plugins that are taken without config and lock.
    pub(crate) plugins: Option<DevPlugins>,
    /// Whether to exit if another host serves the app, instead of standing by.
    pub(crate) no_standby: bool,
}

/// Runs a bridge on an open layer until `cancel`.
///
/// The order of the start: the state comes first, because its lock lets only one host go on. The tokens need the state,
/// which may have newer ones than the config. Addresses are bound before plugins are compiled, and the control socket
/// after the plugins are open, because commands ask about plugins. The bridge comes last: then Slack gives events.
pub(crate) async fn bridge(
    settings: Settings,
    open: OpenLayer,
    terminal: Terminal,
    options: BridgeOptions,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let TransportParts {
        source,
        routes,
        holders,
    } = transport_parts(&settings)?;
    let api = holders.api.clone();
    let state = State::open(&settings.state_dir).map_err(Failure::failed)?;
    let tokens = Tokens::open(&settings, holders, &state, options.args)?;
    let metrics = Metrics::new();
    let readiness = Arc::new(Readiness::default());
    for warning in &open.warnings {
        tracing::warn!("{warning}");
    }
    for note in &open.notes {
        tracing::info!("{note}");
    }
    let team = Team::new();
    let plugin_slack = PluginSlack::default();
    // Bound before plugins are compiled, which may take minutes: an address that is taken must be reported at once.
    let bind = async |address, flag| match address {
        Some(address) => Listener::bind(address, flag).await.map(Some),
        None => Ok(None),
    };
    let listener = bind(settings.listen, "--listen").await;
    let listener = listener.map_err(Failure::failed)?;
    let admin_listener = bind(settings.admin_listen, "--admin-listen").await;
    let admin_listener = admin_listener.map_err(Failure::failed)?;
    let plugins = Plugins::open(&settings, &team, &plugin_slack, &metrics, options.plugins).await?;
    let plugins = Arc::new(plugins);
    // A plugin that is already compiled loads in no time, and the author of a plugin waits for it anyway. Any other one
    // may take minutes to compile. Slack's connection does not wait for it; events that need it do.
    let configs = settings.plugins.clone();
    let mut loading = Box::pin(plugins.load(&configs));
    let first = async {
        match plugins.builds() {
            true => Some(loading.as_mut().await),
            false => tokio::time::timeout(PLUGINS_FIRST, loading.as_mut())
                .await
                .ok(),
        }
    };
    // Nothing is under way yet, so a stop needs no clean-up.
    let Some(loaded) = cancel.run_until_cancelled(first).await else {
        return Ok(());
    };
    let is_loaded = loaded.is_some();
    match loaded {
        Some(outcome) => outcome?,
        None => tracing::info!("plugins are still being compiled; events wait for them"),
    }
    let control = Server::bind(&settings.state_dir).map_err(Failure::failed)?;
    tracing::info!(
        layer = open.layer.describe(),
        "forwarding Slack's events to slack.<type>, and sending the messages on {} to Slack",
        settings.layer.send_channel
    );
    // Cancelled when the bridge has ended: until then health and metrics are served, and tokens are renewed.
    let ended = CancellationToken::new();
    let is_connecting = settings.slack.transport != Transport::Http;
    let listening = async {
        let admin = listener::admin(metrics.clone(), readiness.clone());
        // Operators' pages share the listener of Slack's requests, unless they have an address of their own.
        let (pages, others) = match &admin_listener {
            None => ("/healthz, /readyz and /metrics", admin.clone()),
            Some(_) => ("/healthz", listener::health()),
        };
        let main = async {
            let Some(listener) = listener else { return };
            tracing::info!(address = %listener.address(), "serving {pages}");
            if !is_connecting {
                tracing::info!(address = %listener.address(), "accepting Slack's requests at {}", http_events::PATHS.join(", "));
            }
            let routes = others.merge(routes);
            listener.serve(routes, metrics.clone(), ended.clone()).await;
        };
        let apart = async {
            let Some(listener) = admin_listener else {
                return;
            };
            tracing::info!(address = %listener.address(), "serving /healthz, /readyz and /metrics for operators");
            listener.serve(admin, metrics.clone(), ended.clone()).await;
        };
        let last_answers = async {
            ended.cancelled().await;
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(main, apart) } => {}
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
        source,
        rotation: tokens.rotation(),
        plugins: plugins.host().clone(),
        plugin_slack,
        team,
        state,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        terminal,
        tap: options.tap,
        standby: !options.no_standby,
    };
    // When no token can be renewed the bridge stops; when the bridge has stopped, renewal does.
    // `stop` is a child of `cancel`: a signal cancels it too, and cancelling it does not look like a signal to the
    // command.
    let stop = cancel.child_token();
    let bridging = async {
        let outcome = bridge.run(stop.clone()).await;
        ended.cancel();
        outcome
    };
    let renewing = async {
        let outcome = tokens.run(ended.clone()).await;
        stop.cancel();
        outcome.map_err(Failure::plain)
    };
    let loading = async {
        if is_loaded {
            return Ok(());
        }
        // A plugin without which nothing may pass ends the bridge if it can't be loaded.
        let loaded = ended.run_until_cancelled(loading).await.unwrap_or(Ok(()));
        if loaded.is_err() {
            stop.cancel();
        }
        loaded
    };
    let (outcome, renewed, loaded, (), (), ()) = tokio::join!(
        bridging,
        renewing,
        loading,
        listening,
        plugins.run(ended.clone()),
        control.serve(plugins.clone(), ended.clone())
    );
    if let Some(server) = embedded {
        server.shutdown().await;
    }
    // A guard that can't be loaded or a token that can't be renewed is the cause of the bridge's end, so its error
    // comes first.
    loaded.and(renewed).and(outcome)
}
