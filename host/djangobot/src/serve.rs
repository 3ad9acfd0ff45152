//! `djangobot local-slack` and `djangobot layer`: the local Slack and the embedded layer as servers of their own.

use std::io::Write;

use djangobot_channels::EmbeddedServer;
use local_slack::{LocalSlack, Options};
use tokio::io::BufReader;
use tokio_util::sync::CancellationToken;

use crate::cli::{LayerArgs, LocalSlackArgs, LogArgs, ProjectArgs, TargetArgs};
use crate::config::LayerSettings;
use crate::failure::Failure;
use crate::target;
use crate::telemetry::Terminal;

/// Runs a local Slack until stopped.
pub(crate) async fn local_slack(
    args: LocalSlackArgs,
    terminal: &Terminal,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    start_logs(terminal, &args.log)?;
    let options = Options {
        listen: args.listen.0,
        users: args.users,
        channels: args.channels,
        token: args.token,
        app_token: args.app_token,
        events_url: args.events_url.clone(),
        signing_secret: args.signing_secret,
        ..Options::default()
    };
    let slack = LocalSlack::start(options).await.map_err(Failure::plain)?;
    let transport = match args.events_url {
        Some(url) => format!(
            "Events are posted to {url}, signed with DJANGOBOT_SIGNING_SECRET={}.",
            slack.signing_secret()
        ),
        None => format!(
            "For Socket Mode, add DJANGOBOT_APP_TOKEN={} to this command.",
            slack.app_token()
        ),
    };
    say(&format!(
        "A Slack workspace is at {url}; its control interface is at http://{address}/control/.\n\
         \n    DJANGOBOT_SLACK_API_URL={url} DJANGOBOT_TOKEN={token} djangobot TARGET\n\n\
         {transport}\n\
         Type a message: it is posted into #general as alice. /help shows more, Ctrl-C stops.\n",
        url = slack.api_url(),
        address = slack.addr(),
        token = slack.token(),
    ))?;
    let input = BufReader::new(tokio::io::stdin());
    local_slack::terminal(&slack, input, tokio::io::stdout(), cancel.clone())
        .await
        .map_err(Failure::plain)?;
    // The end of the input (a pipe, /dev/null) does not end the workspace: services are started without a terminal.
    cancel.cancelled().await;
    slack.shutdown().await;
    Ok(())
}

/// Runs the embedded layer's server until stopped.
pub(crate) async fn layer(
    args: LayerArgs,
    terminal: &Terminal,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    start_logs(terminal, &args.log)?;
    let listen = args.listen.0;
    let target = TargetArgs {
        target: vec![format!("embedded://{listen}")],
        project: ProjectArgs {
            password_file: args.password_file,
            ..ProjectArgs::default()
        },
        format: None,
    };
    // Only `[layer]` of the config counts here, and tokens may be missing.
    let settings = LayerSettings::read(&target, args.config.as_deref()).map_err(Failure::usage)?;
    let options = target::embedded_options(&settings, &target.target)?;
    let server = EmbeddedServer::bind_with(listen, options)
        .await
        .map_err(Failure::plain)?;
    say(&format!(
        "The embedded channel layer is at redis://{address}; it keeps everything in memory. Ctrl-C stops it.\n\
         In Django's settings: CHANNEL_LAYERS = {{\"default\": {{\"BACKEND\": \"channels_redis.core.RedisChannelLayer\", \
         \"CONFIG\": {config}}}}}\n",
        address = server.addr(),
        config = target::django_config(&settings, &server),
    ))?;
    cancel.cancelled().await;
    server.shutdown().await;
    Ok(())
}

fn start_logs(terminal: &Terminal, args: &LogArgs) -> Result<(), Failure> {
    terminal
        .start_logs(args.log.as_deref().unwrap_or("info"), args.log_format)
        .map_err(Failure::usage)
}

fn say(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::plain)
}
