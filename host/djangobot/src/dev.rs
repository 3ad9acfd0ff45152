//! `djangobot dev`: runs the bridge against a local Slack, shows events and messages, and posts the lines that are
//! typed.

use std::convert::Infallible;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

use djangobot_channels::{BindError, ChannelLayer, ChannelName};
use djangobot_event::{CleanText, Event};
use djangobot_plugins::install::recipe::{self, Installs};
use djangobot_plugins::install::source::Source;
use local_slack::{LocalSlack, Options, StartError};
use miette::Diagnostic;
use secrecy::SecretString;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio_util::sync::CancellationToken;

use crate::bridge::tap::Tap;
use crate::cli::{DevArgs, SlackArgs};
use crate::config::{LayerSettings, Settings, Target, Transport};
use crate::dev_plugins::DevPlugins;
use crate::failure::Failure;
use crate::masking;
use crate::state::folder;
use crate::target::TargetError;
use crate::telemetry::Terminal;
use crate::{plugin, run, target};

/// The help for `/send`, which the local Slack does not know.
const HELP: &str = "\
/send text            puts {\"text\": \"text\"} on slack.send, as a Django app would
/send {\"text\": \"hi\", \"channel\": \"random\"}   puts any other message there; with {\"to\": CHANNEL, ...} it goes to that
                      channel, such as the reply_channel of a click
";

/// Runs until stopped.
pub(crate) async fn dev(
    args: DevArgs,
    terminal: Terminal,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let slack_args = SlackArgs {
        token: Some(SecretString::from("xoxb-local")),
        // Current apps have one: commands, clicks and dialogs come over Socket Mode, and not over RTM.
        app_token: Some(SecretString::from("xapp-local")),
        transport: args.transport,
        ..Default::default()
    };
    let mut settings =
        Settings::read(&args.target, &slack_args, &args.host).map_err(Failure::usage)?;
    terminal
        .start_logs(&settings.log, settings.log_format)
        .map_err(Failure::usage)?;
    settings.open_state().map_err(Failure::failed)?;
    settings.state_dir = folder::open(&settings.state_dir.join("dev")).map_err(Failure::failed)?;
    let plugins = plugins_of(&args, &settings).await?;

    let options = Options {
        listen: args.slack_listen.0,
        users: args.users,
        ..Options::default()
    };
    let slack = LocalSlack::start(options)
        .await
        .map_err(|error| Failure::failed(AddressError::Slack(error)))?;
    settings.slack.token = Some(SecretString::from(slack.token().to_owned()));
    settings.slack.app_token = Some(SecretString::from(slack.app_token().to_owned()));
    if settings.slack.transport == Transport::Http {
        // Socket Mode brings the same events in the same shape, and needs no address.
        settings.slack.transport = Transport::SocketMode;
    }
    settings.slack.api_url = slack.api_url().parse().map_err(Failure::plain)?;
    let own_layer = settings.layer.target.is_none();
    if own_layer {
        settings.layer.target = Some(Target::Urls(vec![format!(
            "embedded://{}",
            args.layer_listen.0
        )]));
    }
    let layer_target = settings
        .layer
        .target
        .clone()
        .ok_or_else(|| Failure::usage(crate::config::ConfigError::NoTarget))?;
    let opening = target::open(&settings.layer, &layer_target);
    let Some(open) = cancel.run_until_cancelled(opening).await else {
        slack.shutdown().await;
        return Ok(());
    };
    let open = open.map_err(|error| match error {
        TargetError::Embedded(error) if own_layer => Failure::failed(AddressError::Layer(error)),
        error => Failure::from(error),
    })?;

    greet(&slack, &settings.layer, &open);
    let screen = Arc::new(Screen { color: color() });
    let send_channel = ChannelName::new(&settings.layer.send_channel).map_err(Failure::plain)?;
    let typing = type_lines(
        &slack,
        open.layer.clone(),
        send_channel,
        screen.clone(),
        own_layer,
        cancel.clone(),
    );
    let bridge = run::bridge(
        settings,
        open,
        terminal,
        run::BridgeOptions {
            args: None,
            tap: Some(screen.clone()),
            plugins,
            no_standby: false,
        },
        cancel.clone(),
    );
    let outcome = tokio::select! {
        outcome = bridge => outcome,
        never = typing => match never {},
    };
    slack.shutdown().await;
    outcome
}

/// An address is taken or may not be used. The cure names the flag for another one.
#[derive(Debug, Error, Diagnostic)]
enum AddressError {
    #[error(transparent)]
    #[diagnostic(help(
        "name another address with --layer-listen, such as --layer-listen 127.0.0.1:0 for any free port, and write the same one into the app's settings; or give the TARGET of a layer that runs already"
    ))]
    Layer(BindError),
    #[error(transparent)]
    #[diagnostic(help(
        "name another address with --slack-listen, or leave the option out for any free port"
    ))]
    Slack(StartError),
}

/// Reads the `--plugin` options, and asks once whether missing build tools may be installed.
async fn plugins_of(args: &DevArgs, settings: &Settings) -> Result<Option<DevPlugins>, Failure> {
    let here = std::env::current_dir().map_err(Failure::plain)?;
    let sources = args
        .plugin
        .iter()
        .map(|word| match Source::given(word, &here) {
            // A plugin that ships can be under construction too, in a checkout; its name then means its folder.
            Ok((source, _)) => source.located(&here).map_err(Failure::plain),
            Err(error) => Err(Failure::plain_usage(error)),
        });
    let sources: Vec<Source> = sources.collect::<Result<_, _>>()?;
    let mut installs = Installs::Refused;
    for source in &sources {
        // One answer counts for all plugins, because they need the same tools.
        if let (Source::Folder(folder), Installs::Refused) = (source, installs)
            && let Some(what) = recipe::lacks(folder).await
        {
            plugin::agree_to_install(&what, args.yes).await?;
            installs = Installs::Allowed;
        }
    }
    let configs = settings.plugins.clone();
    Ok((!sources.is_empty()).then(|| DevPlugins::new(sources, configs, installs)))
}

fn greet(slack: &LocalSlack, settings: &LayerSettings, open: &target::OpenLayer) {
    let mut text = format!(
        "A local Slack is at {} (token {}).\n",
        slack.api_url(),
        slack.token()
    );
    match &open.embedded {
        Some(server) => {
            let address = server.addr();
            text.push_str(&format!(
                "The embedded channel layer is at redis://{address}. A Django app needs this in its settings:\n\n\
                 \x20   CHANNEL_LAYERS = {{\"default\": {{\n\
                 \x20       \"BACKEND\": \"channels_redis.core.RedisChannelLayer\",\n\
                 \x20       \"CONFIG\": {config},\n\
                 \x20   }}}}\n\n",
                config = target::django_config(settings, server),
            ));
        }
        None => text.push_str(&format!(
            "The channel layer is {}.\n",
            open.layer.describe()
        )),
    }
    print(&text);
}

/// Reads the lines that are typed. The end of the input (a pipe, /dev/null) leaves the bridge running, so this never
/// returns.
async fn type_lines(
    slack: &LocalSlack,
    layer: Arc<dyn ChannelLayer>,
    send_channel: ChannelName,
    screen: Arc<Screen>,
    own_layer: bool,
    cancel: CancellationToken,
) -> Infallible {
    let (mut to_slack, lines_for_slack) = tokio::io::duplex(64 * 1024);
    let ours = async {
        // The prompt comes once the bridge is connected: plugins may take minutes to build, and RTM does not repeat a
        // message that was posted before.
        slack.control().wait_for_connections(1).await;
        if own_layer {
            print("You can try it without an app: /send TEXT sends a message as an app would.\n");
        }
        print("Type a message and press Enter. /help shows more, Ctrl-C stops.\n");
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let (first, rest) = line
                .trim()
                .split_once(char::is_whitespace)
                .unwrap_or((line.trim(), ""));
            if first == "/help" {
                print(local_slack::HELP);
                print(HELP);
            } else if first == "/send" {
                if let Err(why) = send(&*layer, &send_channel, rest.trim()).await {
                    print(&format!("{}\n", screen.paint(Color::Red, &why)));
                }
            } else if to_slack
                .write_all(format!("{line}\n").as_bytes())
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let slacks = async {
        if let Err(error) = local_slack::terminal(
            slack,
            BufReader::new(lines_for_slack),
            tokio::io::stdout(),
            cancel.clone(),
        )
        .await
        {
            tracing::warn!(%error, "the local Slack reads no more lines; restart djangobot dev to type again");
        }
    };
    tokio::join!(ours, slacks);
    // The bridge ends the command, after it has finished the events and messages under way.
    std::future::pending().await
}

/// Puts a message on `slack.send`, or on the channel that `to` names, as an app would. A JSON object is the message
/// itself; any other text becomes the message's `text`.
///
/// # Errors
/// The message can't be sent. The error is a sentence for the screen.
async fn send(
    layer: &dyn ChannelLayer,
    channel: &ChannelName,
    message: &str,
) -> Result<(), String> {
    if message.is_empty() {
        return Err("/send needs a message: /send TEXT, or /send {\"text\": ...}".to_owned());
    }
    let mut event = if message.starts_with('{') {
        Event::parse(message.to_owned())
            .map_err(|error| format!("The message is not a JSON object: {error}."))?
    } else {
        Event::from_value(&serde_json::json!({ "text": message }))
            .map_err(|error| error.to_string())?
    };
    let to = event.text("/to").map(|to| ChannelName::new(&to));
    let channel = match to {
        None => channel.clone(),
        Some(to) => {
            event.remove("/to").map_err(|error| error.to_string())?;
            to.map_err(|error| format!("`to` is not the name of a channel: {error}."))?
        }
    };
    match layer
        .send(&channel, &[layer.encode(&channel, &event)])
        .await
    {
        Ok(sent) if sent.accepted == 0 => Err(format!(
            "The channel {channel} is full: its reader takes no messages."
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Shows events and messages on stdout.
struct Screen {
    color: bool,
}

#[derive(Clone, Copy)]
enum Color {
    Red = 31,
    Green = 32,
    Cyan = 36,
}

impl Screen {
    fn paint(&self, color: Color, text: &str) -> String {
        match self.color {
            true => format!("\x1b[{}m{text}\x1b[0m", color as u8),
            false => text.to_owned(),
        }
    }

    fn show(&self, color: Color, heading: &str, message: &Event) {
        let mut json = Vec::new();
        message.write_json(&mut json);
        let text = serde_json::from_slice::<serde_json::Value>(&json)
            .and_then(|mut value| {
                masking::mask_tokens(&mut value);
                masking::shorten_contents(&mut value);
                serde_json::to_string_pretty(&value)
            })
            .unwrap_or_else(|_| String::from_utf8_lossy(&json).into_owned());
        // Escape sequences are written out as text: a message must not control the terminal.
        let (heading, text) = (CleanText::new(heading), CleanText::json(&text));
        print(&format!("{}\n{text}\n", self.paint(color, &heading)));
    }
}

impl Tap for Screen {
    fn event(&self, channel: &ChannelName, message: &Event) {
        self.show(Color::Green, &format!("--> {channel}"), message);
    }

    fn send(&self, channel: &ChannelName, message: &Event) {
        self.show(Color::Cyan, &format!("<-- {channel}"), message);
    }

    fn answer(&self, channel: &ChannelName, message: &Event) {
        self.show(Color::Green, &format!("--> {channel}"), message);
    }
}

fn color() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Writes to stdout. An error is ignored: a reader that has ended (`| head`) must not stop the bridge.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
