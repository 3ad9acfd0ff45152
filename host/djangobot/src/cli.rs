//! The command line: what can be said, and what each word means.

pub(crate) mod args;
mod plugin;

use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::address::ListenAddress;
use crate::config::values::Transport;
pub(crate) use args::{FilesArgs, HostArgs, LogArgs, ProjectArgs, SlackArgs, TargetArgs};

pub(crate) use self::plugin::{
    AddArgs, BuildArgs, ConsentArgs, InfoArgs, ListArgs, NameArgs, NewArgs, PluginCommand,
    RemoveArgs, TestArgs, UpdateArgs,
};

/// Bridges Slack and Django Channels apps.
///
/// Without a command, `run` is meant: `djangobot myapp.asgi:channel_layer`.
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
    /// The options with secrets that stand on the command line itself.
    #[arg(skip)]
    pub(crate) open_secrets: Vec<&'static str>,
}

impl Cli {
    /// Reads this process's arguments and environment; ends the process where they are wrong or ask for help.
    pub(crate) fn read() -> Self {
        let arguments: Vec<_> = std::env::args_os().collect();
        let mut command = without_empty_variables(Self::command());
        let read = command
            .try_get_matches_from_mut(&arguments)
            .and_then(|matches| {
                let mut cli = Self::from_arg_matches(&matches)?;
                cli.open_secrets = open_secrets(&matches);
                Ok(cli)
            });
        let word = match &read {
            Ok(cli) if cli.command.is_some() => None,
            Ok(cli) => cli.run.target.target.first().map(String::as_str),
            // Options of a command that was misspelt are unknown to `run`, which is implied.
            Err(_) => arguments.get(1).and_then(|word| word.to_str()),
        };
        if let Some((word, meant)) = word.and_then(|word| Some((word, misspelt(&command, word)?))) {
            let told = format!(
                "{word:?} is neither a command nor a module; did you mean `djangobot {meant}`?\n\ndjangobot --help shows all commands"
            );
            command.error(ErrorKind::InvalidSubcommand, told).exit()
        }
        read.unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

/// The options that put a secret where every user of the machine can see it.
fn open_secrets(matches: &clap::ArgMatches) -> Vec<&'static str> {
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
    let is_open = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let open = OPTIONS.into_iter().filter(|(id, _)| is_open(id));
    open.map(|(_, option)| option).collect()
}

/// The command that was meant, where the first word looks like no TARGET: a lone word near to a command's name.
fn misspelt(command: &clap::Command, word: &str) -> Option<String> {
    let is_lone = !word.is_empty() && !word.contains(['.', ':', '/']) && !word.starts_with('-');
    if !is_lone || Path::new(word).exists() || Path::new(&format!("{word}.py")).exists() {
        return None;
    }
    let names = command.get_subcommands().filter(|it| !it.is_hide_set());
    let names = names.map(clap::Command::get_name).chain(["help"]);
    let near = names.map(|name| (strsim::damerau_levenshtein(word, name), name));
    let (distance, name) = near.min()?;
    // A short name is near to many words that are modules.
    let limit = if name.len() < 5 { 1 } else { 2 };
    (1..=limit).contains(&distance).then(|| name.to_owned())
}

/// An empty variable (`DJANGOBOT_TOKEN=`) counts as unset, as shells and compose files mean it.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|argument| match argument.get_env().map(std::env::var_os) {
            Some(Some(value)) if value.is_empty() => argument.env(Resettable::Reset),
            _ => argument,
        })
        .mut_subcommands(without_empty_variables)
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bridge Slack and a channel layer until stopped.
    Run(RunArgs),
    /// Run against a Slack of your own on this machine: no token, no workspace, nothing leaves the machine.
    ///
    /// What you type is posted into #general as alice; each event is shown as a Django app gets it.
    /// Without TARGET the embedded layer is the channel layer, and a Django app can connect to it.
    Dev(DevArgs),
    /// Say what is wrong with this set-up, each line with its cure.
    Check(CheckArgs),
    /// Messages for Slack that could not be sent, and whose failure nobody could be told.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Plugins: WebAssembly components that every event passes through.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// A Slack workspace on this machine, for clients of your own: Web API, RTM, Socket Mode, events over HTTP.
    LocalSlack(LocalSlackArgs),
    /// The embedded channel layer alone: a small server that channels_redis talks to as to a Redis.
    Layer(LayerArgs),
    /// Compile a plugin's component: what the host starts a child for.
    #[command(name = djangobot_plugins::runtime::compile::SUBCOMMAND, hide = true)]
    CompilePlugin,
    /// Check a plugin's config against its schema: what the host starts a child for.
    #[command(name = djangobot_plugins::schema::SUBCOMMAND, hide = true)]
    CheckPluginConfig,
    /// Print what the program is made of: crates, their versions and licences.
    Licences,
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What `run` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) slack: SlackArgs,
    /// End where another host serves the same app. Without this, stand by until that one is gone.
    #[arg(long)]
    pub(crate) no_standby: bool,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

/// What `dev` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Where the embedded layer listens, when there is no TARGET.
    #[arg(long, value_name = "ADDR", default_value = EMBEDDED_ADDRESS)]
    pub(crate) layer_listen: ListenAddress,
    /// Where the local Slack listens [default: any free port].
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:0",
        hide_default_value = true
    )]
    pub(crate) slack_listen: ListenAddress,
    /// How events come [default: the config's, or socket-mode]. Over rtm no commands, clicks and dialogs come; http is taken for socket-mode.
    #[arg(long, hide_possible_values = true)]
    pub(crate) transport: Option<Transport>,
    /// How many users the local Slack has.
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub(crate) users: usize,
    /// A plugin under construction: its folder, or its component. It is built and taken anew at each change, and all that
    /// it asks for is granted. May be given several times.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) plugin: Vec<String>,
    /// Install what building the plugins needs and this machine lacks, without being asked.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// What `check` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Print the findings as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What can be done with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List them, the oldest first.
    List {
        /// Print them whole, as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        files: FilesArgs,
    },
    /// Show one whole, as JSON.
    Show {
        #[command(flatten)]
        letter: LetterArgs,
    },
    /// Put some back on the channel layer, for a bridge to send or for the app to read, and forget them.
    Retry(RetryArgs),
    /// Forget some.
    Drop {
        #[command(flatten)]
        letters: LettersArgs,
        #[command(flatten)]
        files: FilesArgs,
    },
}

/// Which dead letter.
#[derive(Debug, Clone, Args)]
pub(crate) struct LetterArgs {
    /// Its number, as `list` shows it.
    pub(crate) id: i64,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// Which dead letters.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct LettersArgs {
    /// Their numbers, as `list` shows them.
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<i64>,
    /// All of them.
    #[arg(long)]
    pub(crate) all: bool,
}

/// What `dead-letters retry` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct RetryArgs {
    /// Their numbers, as `list` shows them, and then the channel layer as for `run` [default: the config's
    /// `layer.target`].
    #[arg(value_name = "ID|TARGET", num_args = 0.., required_unless_present = "all")]
    pub(crate) which: Vec<String>,
    /// All of them.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

impl RetryArgs {
    /// The numbers, and what is no number: the channel layer.
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

/// What `local-slack` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct LocalSlackArgs {
    /// Where it listens; loopback only.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7000")]
    pub(crate) listen: ListenAddress,
    /// How many users the workspace has.
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub(crate) users: usize,
    /// How many channels the workspace has.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) channels: usize,
    /// The only token that is accepted [default: any that looks like a bot's or a user's].
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The only app-level token that is accepted [default: any that looks like one].
    #[arg(long, value_name = "TOKEN")]
    pub(crate) app_token: Option<String>,
    /// Where events, commands and interactions are posted: a URL on this machine [default: they go through Socket Mode].
    #[arg(long, value_name = "URL")]
    pub(crate) events_url: Option<String>,
    /// What requests to that URL are signed with.
    #[arg(
        long,
        value_name = "SECRET",
        default_value = "local-slack-signing-secret"
    )]
    pub(crate) signing_secret: String,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What `layer` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct LayerArgs {
    /// Where it listens.
    #[arg(long, value_name = "ADDR", default_value = EMBEDDED_ADDRESS)]
    pub(crate) listen: ListenAddress,
    /// The file that holds the password which clients must give; needed to listen on more than this machine
    /// [default: the config's `layer.password-file`].
    #[arg(long, value_name = "PATH", env = "DJANGOBOT_LAYER_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// The config file [default: djangobot.toml, where there is one]. Below `[layer]`, `config` is CONFIG of the project's
    /// CHANNEL_LAYERS (prefix, capacity, expiry, serializer_format, keys): a client whose settings differ is named in the log.
    #[arg(short, long, value_name = "FILE", env = "DJANGOBOT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Where the embedded layer listens unless told otherwise: beside Redis's own port, which may be taken.
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
    fn a_misspelt_command_is_told_from_a_module() {
        let check = |word: &str, meant: Option<&str>| {
            assert_eq!(misspelt(&Cli::command(), word).as_deref(), meant, "{word}");
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
