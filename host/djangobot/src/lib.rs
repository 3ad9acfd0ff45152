//! djangobot: bridges Slack and Django Channels. This file reads the command line and hands over to the command.
//!
//! It is a library only so that the fuzz targets reach its parsers; the program is [`main`] and nothing else.

mod address;
mod bridge;
mod check;
mod cli;
mod config;
mod control;
mod cure;
mod dead_letters;
mod dev;
mod dev_plugins;
mod failure;
mod fingerprint;
mod journal;
mod licences;
mod listener;
mod masking;
mod metrics;
mod plugin;
mod plugins;
mod run;
mod serve;
mod state;
mod target;
mod team;
mod telemetry;
mod tokens;

/// Ways for the fuzz targets to what has no other way in; no part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::bridge::fuzzing::{
        RequestedCall, answer, channel_of, destination, events_of_history, merged_with_history,
        request,
    };
    pub use crate::config::fuzzing::config;

    /// What is kept of a message that becomes a dead letter.
    pub fn without_tokens(message: &[u8]) -> std::borrow::Cow<'_, [u8]> {
        crate::masking::without_tokens(message)
    }
}

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::CommandFactory;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::telemetry::Terminal;

/// Signals so near to the first mean the same stop: `timeout` signals the process and then its group.
const SAME_STOP: Duration = Duration::from_millis(500);

/// Reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::read();
    let terminal = Terminal::default();
    if let Some(Command::CompilePlugin) = cli.command {
        return compile_plugin();
    }
    if let Some(Command::CheckPluginConfig) = cli.command {
        return check_plugin_config();
    }
    listener::raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return conclude(&terminal, Err(Failure::plain(error))),
    };
    let outcome = runtime.block_on(async {
        let cancel = CancellationToken::new();
        tokio::select! {
            outcome = command(cli, terminal.clone(), cancel.clone()) => outcome,
            outcome = stop_on_signals(cancel) => outcome,
        }
    });
    // A thread that waits for stdin can't be stopped; it is left to the end of the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    conclude(&terminal, outcome)
}

async fn command(cli: Cli, terminal: Terminal, cancel: CancellationToken) -> Result<(), Failure> {
    let open_secrets = cli.open_secrets;
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(args, &open_secrets, terminal, cancel).await,
        Command::Dev(args) => dev::dev(args, terminal, cancel).await,
        Command::Check(args) => {
            unless_stopped(&cancel, check::check(args, &open_secrets, terminal)).await
        }
        Command::DeadLetters(args) => {
            unless_stopped(&cancel, dead_letters::dead_letters(args, terminal)).await
        }
        Command::Plugin(command) => {
            unless_stopped(&cancel, plugin::plugin(command, terminal.clone())).await
        }
        Command::LocalSlack(args) => serve::local_slack(args, &terminal, cancel).await,
        Command::Layer(args) => serve::layer(args, &terminal, cancel).await,
        // `main` has done it, without a runtime: its threads would count against the limits of the child.
        Command::CompilePlugin | Command::CheckPluginConfig => Ok(()),
        Command::Licences => licences::licences(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "djangobot", &mut script);
            std::io::stdout().write_all(&script).map_err(Failure::plain)
        }
    }
}

/// The child that compiles a plugin: what it says goes to the host, which says it to people.
fn compile_plugin() -> ExitCode {
    match djangobot_plugins::runtime::compile::child() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::stderr().write_all(error.as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// The child that checks a plugin's config, likewise.
fn check_plugin_config() -> ExitCode {
    match djangobot_plugins::schema::child() {
        Ok(answer) => match std::io::stdout().write_all(&answer) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err((code, error)) => {
            let _ = std::io::stderr().write_all(error.as_bytes());
            ExitCode::from(code)
        }
    }
}

/// For commands with nothing to finish: the first signal ends them.
async fn unless_stopped(
    cancel: &CancellationToken,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let outcome = cancel.run_until_cancelled(command).await;
    outcome.unwrap_or_else(|| Err(stopped_early()))
}

fn stopped_early() -> Failure {
    Failure::plain(std::io::Error::other("stopped before all was finished"))
}

/// The first SIGTERM or Ctrl-C asks for a clean end; the second, while that takes its time, ends at once.
async fn stop_on_signals(cancel: CancellationToken) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    // Made once: a signal that comes between the two rounds must find its listener.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::plain)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::plain)?;
    let mut first: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        match first {
            None => {
                tracing::info!(
                    "stopping: what was taken is finished first; a second signal stops at once"
                );
                cancel.cancel();
                first = Some(Instant::now());
            }
            Some(first) if first.elapsed() < SAME_STOP => {}
            Some(_) => return Err(stopped_early()),
        }
    }
}

/// Puts a fresh start of the same command in the place of this process; returns where the system has none.
fn start_again() {
    use std::os::unix::process::CommandExt as _;
    if std::env::args_os().any(|argument| argument == "--no-standby") {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let error = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec();
    tracing::error!(%error, "djangobot could not start again by itself");
}

/// Says what went wrong, where the logs go, and gives the exit code.
fn conclude(terminal: &Terminal, outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.report(&failure.report);
            if failure.starts_again {
                start_again();
            }
            failure.exit_code()
        }
    }
}
