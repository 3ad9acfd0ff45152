//! djangobot: bridges Slack and Django Channels. This file starts the command that the command line names.
//!
//! The crate is a library only so that the fuzz targets can call its parsers; the program is [`main`] and nothing else.

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
#[doc(hidden)]
pub mod reference;
mod run;
mod serve;
mod state;
mod target;
mod team;
mod telemetry;
mod tokens;

/// Entry points for the fuzz targets. They are not part of the interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::bridge::fuzzing::{
        Refusal, RequestedCall, answer, channel_of, destination, events_of_history,
        merged_with_history, request,
    };
    pub use crate::config::fuzzing::config;

    /// Masks the tokens in a message, as is done before the message is kept as a dead letter.
    pub fn without_tokens(message: &[u8]) -> std::borrow::Cow<'_, [u8]> {
        crate::masking::without_tokens(message)
    }
}

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::CommandFactory;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::telemetry::Terminal;

/// A second signal within this time means the same stop: `timeout` signals the process and then its group.
const SAME_STOP: Duration = Duration::from_millis(500);

/// Reads the command line, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::read();
    let terminal = Terminal::default();
    if let Some(Command::CompilePlugin) = cli.command {
        return compile_plugin();
    }
    if let Some(Command::CheckPluginConfig) = cli.command {
        return check_plugin_config();
    }
    // The limit counts for the whole process, and must be raised before anything is opened.
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
        // The listeners are made before the command begins: a signal without one would kill the process.
        let signals = StopSignals::listen()?;
        // A second signal ends `stop` with an error, which drops the command at once.
        tokio::select! {
            outcome = command(cli, terminal.clone(), cancel.clone()) => outcome,
            outcome = signals.stop(cancel) => outcome,
        }
    });
    // A thread that waits for stdin can't be stopped; it ends with the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    conclude(&terminal, outcome)
}

async fn command(cli: Cli, terminal: Terminal, cancel: CancellationToken) -> Result<(), Failure> {
    let exposed_secrets = cli.exposed_secrets;
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(args, &exposed_secrets, terminal, cancel).await,
        Command::Dev(args) => dev::dev(args, terminal, cancel).await,
        Command::Check(args) => {
            unless_stopped(&cancel, check::check(args, &exposed_secrets, terminal)).await
        }
        Command::DeadLetters(args) => {
            unless_stopped(&cancel, dead_letters::dead_letters(args, terminal)).await
        }
        Command::Plugin(command) => {
            unless_stopped(&cancel, plugin::plugin(command, terminal.clone())).await
        }
        Command::LocalSlack(args) => serve::local_slack(args, &terminal, cancel).await,
        Command::Layer(args) => serve::layer(args, &terminal, cancel).await,
        // `main` ran these without a runtime, because its threads would count against the limits of the child.
        Command::CompilePlugin | Command::CheckPluginConfig => Ok(()),
        Command::Licences => licences::licences(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "djangobot", &mut script);
            std::io::stdout().write_all(&script).map_err(Failure::plain)
        }
    }
}

/// The child process that compiles a plugin. It writes its error for the host, which shows it to people.
fn compile_plugin() -> ExitCode {
    match djangobot_plugins::runtime::compile::child() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::stderr().write_all(error.as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// The child process that checks a plugin's config. It writes its answer or its error for the host.
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

/// Runs a command that has nothing to finish: the first signal ends it.
async fn unless_stopped(
    cancel: &CancellationToken,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let outcome = cancel.run_until_cancelled(command).await;
    outcome.unwrap_or_else(|| Err(stopped_early()))
}

fn stopped_early() -> Failure {
    Failure::plain(std::io::Error::other(
        "stopped by a signal before everything was finished",
    ))
}

/// The signals that stop a command: SIGTERM and Ctrl-C.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Failure::plain)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::plain)?,
        })
    }

    /// Waits for them. The first one asks for a clean end; a second one, while that goes on, ends at once.
    async fn stop(mut self, cancel: CancellationToken) -> Result<(), Failure> {
        let mut first: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            match first {
                None => {
                    tracing::info!(
                        "stopping: events and messages under way are finished first; a second signal stops at once"
                    );
                    cancel.cancel();
                    first = Some(Instant::now());
                }
                Some(first) if first.elapsed() < SAME_STOP => {}
                Some(_) => return Err(stopped_early()),
            }
        }
    }
}

/// Replaces this process by a new one with the same command line. Returns only if that fails.
fn restart() {
    use std::os::unix::process::CommandExt as _;
    // With this option the process must end where another host serves the app.
    if std::env::args_os().any(|argument| argument == "--no-standby") {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let error = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec();
    tracing::error!(%error, "djangobot could not restart itself; start it again");
}

/// Reports a failure where the logs go, and returns the exit code.
fn conclude(terminal: &Terminal, outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.report(&failure.report);
            if failure.restarts {
                restart();
            }
            failure.exit_code()
        }
    }
}
