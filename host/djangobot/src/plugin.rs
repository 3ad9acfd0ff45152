//! `djangobot plugin`: adds, lists, updates, builds and tests plugins. The commands change config and lock, and a
//! running host then loads the result.

mod add;
mod build;
mod consent;
mod edit;
mod engine;
mod error;
mod host;
mod host_files;
mod info;
mod list;
mod scaffold;
mod shown;
mod test;
mod update;

use crate::cli::PluginCommand;
use crate::failure::Failure;
use crate::telemetry::Terminal;

/// Runs a command of `plugin`.
pub(crate) async fn plugin(command: PluginCommand, terminal: Terminal) -> Result<(), Failure> {
    match command {
        PluginCommand::Add(args) => add::add(args, &terminal).await,
        PluginCommand::List(args) => list::list(args, &terminal).await,
        PluginCommand::Info(args) => info::info(args, &terminal).await,
        PluginCommand::Remove(args) => edit::remove(args, &terminal).await,
        PluginCommand::Enable(args) => edit::switch(args, true, &terminal).await,
        PluginCommand::Disable(args) => edit::switch(args, false, &terminal).await,
        PluginCommand::Update(args) => update::update(args, &terminal).await,
        PluginCommand::Build(args) => build::build(args, &terminal).await,
        PluginCommand::New(args) => scaffold::new(&args),
        PluginCommand::Test(args) => test::test(args, &terminal).await,
        PluginCommand::Engine(command) => engine::engine(command, &terminal).await,
    }
}

/// Asks whether `what`, which building a plugin needs, may be installed. With `yes`, the command line has agreed.
pub(crate) async fn agree_to_install(what: &str, yes: bool) -> Result<(), Failure> {
    Ok(consent::to_install(what, yes).await?)
}
