//! The command line: its commands and options, and how its words are read.

pub(crate) mod args;
mod plugin;

use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::address::ListenAddress;
use crate::config::values::Transport;

pub(crate) use self::plugin::{
    AddArgs, BuildArgs, ConsentArgs, EngineCommand, InfoArgs, ListArgs, NameArgs, NewArgs,
    NewLanguage, PluginCommand, RemoveArgs, TestArgs, UpdateArgs,
};
pub(crate) use args::{FilesArgs, HostArgs, LogArgs, ProjectArgs, SlackArgs, TargetArgs};

/// Bridges Slack and Django Channels apps.
///
/// Without a command, djangobot does what `run` does: `djangobot myapp.asgi:channel_layer`.
#[derive(Debug, Parser)]
#[command(
    name = "djangobot",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The options that gave a secret on the command line, where every user of the machine can read it.
    #[arg(skip)]
    pub(crate) exposed_secrets: Vec<&'static str>,
}

impl Cli {
    /// Reads this process's arguments and environment. Ends the process if they are wrong or ask for help.
    pub(crate) fn read() -> Self {
        let arguments: Vec<_> = std::env::args_os().collect();
        let mut command = without_empty_variables(Self::command());
        let read = command
            .try_get_matches_from_mut(&arguments)
            .and_then(|matches| {
                let mut cli = Self::from_arg_matches(&matches)?;
                cli.exposed_secrets = exposed_secrets(&matches);
                Ok(cli)
            });
        let word = match &read {
            Ok(cli) if cli.command.is_some() => None,
            Ok(cli) => cli.run.target.target.first().map(String::as_str),
            // A misspelt command is read as a TARGET of `run`, which does not know the command's options: the error
            // then names an option, although the mistake is in the first word.
            Err(_) => arguments.get(1).and_then(|word| word.to_str()),
        };
        if let Some((word, meant)) =
            word.and_then(|word| Some((word, likely_command(&command, word)?)))
        {
            let message = format!(
                "{word:?} is neither a command nor a module; did you mean `djangobot {meant}`?\n\ndjangobot --help shows all commands"
            );
            command.error(ErrorKind::InvalidSubcommand, message).exit()
        }
        read.unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

/// Finds the options that gave a secret on the command line rather than in the environment.
fn exposed_secrets(matches: &clap::ArgMatches) -> Vec<&'static str> {
    let matches = match matches.subcommand() {
        Some(("run" | "check", inner)) => inner,
        Some(_) => return Vec::new(),
        None => matches,
    };
    const OPTIONS: [(&str, &str); 3] = [
        ("token", "--token"),
        ("app_token", "--app-token"),
        ("signing_secret", "--signing-secret"),
    ];
    let is_exposed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let exposed = OPTIONS.into_iter().filter(|(id, _)| is_exposed(id));
    exposed.map(|(_, option)| option).collect()
}

/// The command that the user probably meant by `word`: one whose name is similar, if `word` cannot be a TARGET.
///
/// Only a word without a dot, a colon or a slash that names no file is suspect; all others may be a module or a URL.
fn likely_command(command: &clap::Command, word: &str) -> Option<String> {
    let is_lone = !word.is_empty() && !word.contains(['.', ':', '/']) && !word.starts_with('-');
    if !is_lone || Path::new(word).exists() || Path::new(&format!("{word}.py")).exists() {
        return None;
    }
    let names = command.get_subcommands().filter(|it| !it.is_hide_set());
    let names = names.map(clap::Command::get_name).chain(["help"]);
    let near = names.map(|name| (strsim::damerau_levenshtein(word, name), name));
    let (distance, name) = near.min()?;
    // Many names of modules differ from a short command's name in two letters only.
    let limit = if name.len() < 5 { 1 } else { 2 };
    (1..=limit).contains(&distance).then(|| name.to_owned())
}

/// Makes an empty variable (`DJANGOBOT_TOKEN=`) count as unset: shells and compose files write an absent value so.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|argument| match argument.get_env().map(std::env::var_os) {
            Some(Some(value)) if value.is_empty() => argument.env(Resettable::Reset),
            _ => argument,
        })
        .mut_subcommands(without_empty_variables)
}

/// The help of TARGET in `dev`, whose default is another one than that of `run`.
const DEV_TARGET: &str = "Use this channel layer, written as for `run` [default: the config's `layer.target`, else the embedded layer]";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bridge Slack and a channel layer until stopped.
    Run(RunArgs),
    /// Run the bridge against a local Slack on this machine; it needs no token and no workspace.
    ///
    /// Each line that you type is posted into #general as alice; each event is shown as a Django app gets it.
    /// Without TARGET, djangobot starts the embedded channel layer, and a Django app can connect to it. Nothing leaves
    /// this machine.
    #[command(mut_arg("target", |target| target.help(DEV_TARGET)))]
    Dev(DevArgs),
    /// Check this set-up, and print each problem with its cure.
    Check(CheckArgs),
    /// List, show, retry or drop dead letters: messages and events that could not be delivered.
    ///
    /// A message to Slack becomes a dead letter if it could not be sent and the app could not be told. An event for the
    /// app becomes one if the channel layer refuses it.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Manage plugins: WebAssembly components that every event passes through.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Run a Slack workspace on this machine for your own clients.
    ///
    /// It serves the Web API, RTM, Socket Mode and events over HTTP.
    LocalSlack(LocalSlackArgs),
    /// Run the embedded channel layer alone: a small server that channels_redis can use in place of a Redis.
    Layer(LayerArgs),
    /// Compile a plugin's component. The host starts a child process with this command.
    #[command(name = djangobot_plugins::runtime::compile::SUBCOMMAND, hide = true)]
    CompilePlugin,
    /// Check a plugin's config against its schema. The host starts a child process with this command.
    #[command(name = djangobot_plugins::schema::SUBCOMMAND, hide = true)]
    CheckPluginConfig,
    /// Print the crates that djangobot contains, with their versions and licences.
    Licences,
    /// Print a shell's completion script.
    Completions {
        /// The shell to print it for.
        shell: clap_complete::Shell,
    },
}

/// The arguments of `run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) slack: SlackArgs,
    /// Exit if another host serves the same app, instead of standing by until that host is gone.
    #[arg(long)]
    pub(crate) no_standby: bool,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

/// The arguments of `dev`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Let the embedded layer listen at this address; it is started if there is no TARGET.
    #[arg(long, value_name = "ADDR", default_value = EMBEDDED_ADDRESS)]
    pub(crate) layer_listen: ListenAddress,
    /// Let the local Slack listen at this address [default: any free port].
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:0",
        hide_default_value = true
    )]
    pub(crate) slack_listen: ListenAddress,
    /// Get events over this transport: rtm or socket-mode [default: the config's, or socket-mode]. RTM brings no
    /// commands, clicks and dialogs. If the config says http, socket-mode is used.
    #[arg(long, hide_possible_values = true)]
    pub(crate) transport: Option<Transport>,
    /// Give the local Slack this number of users.
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub(crate) users: usize,
    /// Load a plugin that you are writing, from its folder or its component. It is built and loaded again at each
    /// change, and everything that it asks for is granted. You can give this option several times.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) plugin: Vec<String>,
    /// Install missing build tools for the plugins without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// The arguments of `check`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Print the findings as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The commands of `dead-letters`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List the dead letters, the oldest first.
    List {
        /// Print them in full, as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        files: FilesArgs,
    },
    /// Show one dead letter in full, as JSON.
    Show {
        #[command(flatten)]
        letter: LetterArgs,
    },
    /// Put dead letters back on the channel layer, for a bridge to send or for the app to read, and delete them here.
    Retry(RetryArgs),
    /// Delete dead letters.
    Drop {
        #[command(flatten)]
        letters: LettersArgs,
        #[command(flatten)]
        files: FilesArgs,
    },
}

/// Reads the number of a dead letter.
fn dead_letter(text: &str) -> Result<i64, String> {
    let number = text.parse();
    number.map_err(|_| format!("{text:?} is not the number of a dead letter"))
}

/// The choice of one dead letter.
#[derive(Debug, Clone, Args)]
pub(crate) struct LetterArgs {
    /// Show the dead letter with this number; `list` shows the numbers.
    #[arg(value_parser = dead_letter)]
    pub(crate) id: i64,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// The choice of several dead letters.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct LettersArgs {
    /// Delete the dead letters with these numbers; `list` shows the numbers.
    #[arg(value_name = "ID", value_parser = dead_letter)]
    pub(crate) ids: Vec<i64>,
    /// Delete all dead letters.
    #[arg(long)]
    pub(crate) all: bool,
}

/// The arguments of `dead-letters retry`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RetryArgs {
    /// Give the numbers first, as `list` shows them, and then the channel layer as for `run` [default: the config's
    /// `layer.target`].
    #[arg(value_name = "ID|TARGET", num_args = 0.., required_unless_present = "all")]
    pub(crate) which: Vec<String>,
    /// Put back all dead letters.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

impl RetryArgs {
    /// Splits the words into the numbers, and the channel layer, which begins with the first word that is not a number.
    pub(crate) fn read(&self) -> (LettersArgs, TargetArgs) {
        let ids = self.which.iter().map_while(|it| it.parse().ok());
        let ids: Vec<i64> = ids.collect();
        let target = TargetArgs {
            target: self.which[ids.len()..].to_vec(),
            project: self.project.clone(),
            format: None,
        };
        let letters = LettersArgs { ids, all: self.all };
        (letters, target)
    }
}

/// The arguments of `local-slack`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LocalSlackArgs {
    /// Listen at this address, which must be a loopback address.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7000")]
    pub(crate) listen: ListenAddress,
    /// Give the workspace this number of users.
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub(crate) users: usize,
    /// Give the workspace this number of channels.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) channels: usize,
    /// Accept only this token [default: any that looks like a bot's or a user's].
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Accept only this app-level token [default: any that looks like one].
    #[arg(long, value_name = "TOKEN")]
    pub(crate) app_token: Option<String>,
    /// Post events, commands and interactions to this URL, which must be on this machine [default: none; they go
    /// through Socket Mode].
    #[arg(long, value_name = "URL")]
    pub(crate) events_url: Option<String>,
    /// Sign requests to that URL with this secret.
    #[arg(
        long,
        value_name = "SECRET",
        default_value = "local-slack-signing-secret"
    )]
    pub(crate) signing_secret: String,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// The arguments of `layer`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LayerArgs {
    /// Listen at this address.
    #[arg(long, value_name = "ADDR", default_value = EMBEDDED_ADDRESS)]
    pub(crate) listen: ListenAddress,
    /// Require a password of clients, and read it from this file. It is needed to listen on more than this machine
    /// [default: the config's `layer.password-file`].
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_LAYER_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read this config file [default: djangobot.toml in this folder, if it exists]. Below `[layer]`, `config` is
    /// CONFIG of the project's CHANNEL_LAYERS (prefix, capacity, expiry, serializer_format, keys): the log names each
    /// client whose settings differ from it.
    #[arg(short, long, value_name = "FILE", env = "DJANGOBOT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Where the embedded layer listens by default. It is not Redis's own port, 6379, which a Redis on the same machine
/// uses.
pub(crate) const EMBEDDED_ADDRESS: &str = "127.0.0.1:6399";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_of_dead_letters_come_before_the_layer() {
        let check = |arguments: &[&str], ids: &[i64], all: bool, target: &[&str]| {
            let line = [&["djangobot", "dead-letters", "retry"], arguments].concat();
            let cli = Cli::try_parse_from(line).unwrap();
            let Some(Command::DeadLetters(DeadLettersCommand::Retry(retry))) = cli.command else {
                panic!("not retry: {cli:?}")
            };
            let (letters, layer) = retry.read();
            assert_eq!((&*letters.ids, letters.all), (ids, all), "{arguments:?}");
            assert_eq!(layer.target, target, "{arguments:?}");
        };
        check(&["1"], &[1], false, &[]);
        check(&["1", "2", "redis://a"], &[1, 2], false, &["redis://a"]);
        check(&["--all"], &[], true, &[]);
        check(
            &["--all", "myapp.asgi:channel_layer"],
            &[],
            true,
            &["myapp.asgi:channel_layer"],
        );
        for arguments in [&["drop"][..], &["drop", "1", "--all"], &["retry"]] {
            let line = [&["djangobot", "dead-letters"], arguments].concat();
            assert!(Cli::try_parse_from(line).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn a_misspelt_command_is_not_taken_for_a_module() {
        let check = |word: &str, meant: Option<&str>| {
            let likely = likely_command(&Cli::command(), word);
            assert_eq!(likely.as_deref(), meant, "{word}");
        };
        check("chekc", Some("check"));
        check("plugn", Some("plugin"));
        check("plugins", Some("plugin"));
        check("local-slac", Some("local-slack"));
        check("deadletters", Some("dead-letters"));
        check("rnu", Some("run"));
        check("check", None);
        check("myapp.asgi:channel_layer", None);
        check("settings", None);
        check("web", None);
        check("compile-plugi", None);
    }

    #[test]
    fn the_help_of_a_command_has_its_own_options_only() {
        let mut cli = Cli::command();
        cli.build();
        let options = |path: &[&str]| {
            let mut command = &cli;
            for name in path {
                command = command.find_subcommand(name).unwrap();
            }
            let options = command.get_arguments().filter_map(|it| it.get_long());
            options.map(str::to_owned).collect::<Vec<_>>()
        };
        for path in [
            &["dead-letters", "list"][..],
            &["dead-letters", "retry"],
            &["plugin", "list"],
            &["plugin", "test"],
        ] {
            let options = options(path);
            for foreign in ["listen", "token", "transport", "format"] {
                assert!(
                    !options.iter().any(|it| it == foreign),
                    "{path:?} {foreign}"
                );
            }
            assert!(options.iter().any(|it| it == "state-dir"), "{path:?}");
        }
        assert!(options(&["run"]).iter().any(|it| it == "listen"));
    }

    #[test]
    fn run_is_implied() {
        let cli =
            Cli::try_parse_from(["djangobot", "-t", "xoxb-1", "myapp.asgi:channel_layer"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.run.target.target, ["myapp.asgi:channel_layer"]);
        let cli = Cli::try_parse_from(["djangobot", "run", "redis://a", "redis://b"]).unwrap();
        let Some(Command::Run(run)) = cli.command else {
            panic!("not run: {cli:?}")
        };
        assert_eq!(run.target.target.len(), 2);
    }
}
