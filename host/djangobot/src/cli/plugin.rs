//! The commands and options of `djangobot plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use djangobot_plugins::{Capability, Digest};

use crate::cli::args::FilesArgs;

/// The commands of `plugin`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PluginCommand {
    /// Add a plugin to the config, and load it into the running host.
    Add(AddArgs),
    /// List the plugins of the config with their states.
    List(ListArgs),
    /// Show one plugin in detail.
    Info(InfoArgs),
    /// Remove a plugin from the config and from the running host.
    Remove(RemoveArgs),
    /// Let a disabled plugin get events again.
    Enable(NameArgs),
    /// Let events skip a plugin; it stays in the config.
    Disable(NameArgs),
    /// Read, build or download plugins again, and load the new versions.
    Update(UpdateArgs),
    /// Build a plugin's folder, with its plugin.toml inside, into one file that `add` takes.
    Build(BuildArgs),
    /// Create the folder of a new plugin.
    New(NewArgs),
    /// Run events through a plugin, and show what it changes.
    Test(TestArgs),
    /// Build or add the engine of a script language, which all plugins in that language run on.
    #[command(subcommand)]
    Engine(EngineCommand),
}

/// The commands of `plugin engine`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum EngineCommand {
    /// Add an engine from its file, next to this program. In a clone none has to be added: there it is built when a
    /// script is loaded for the first time.
    Add {
        /// Take the engine in this file, which comes with a release of djangobot.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Build the engine for JavaScript from the clone that this program lies in, into a file that `add` takes.
    Build {
        /// Write the engine to this file [default: javascript.wasm].
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Install missing build tools without asking.
        #[arg(short, long)]
        yes: bool,
    },
}

/// Consent that is given on the command line, so that nobody is asked.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConsentArgs {
    /// Grant all that the plugin asks for, build it if it is a folder, and install missing build tools.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Build the plugin if it is a folder, which runs its code on this machine.
    #[arg(long)]
    pub(crate) build: bool,
    /// Grant this capability, such as `store` or `http:api.example.com`. You can give this option several times.
    #[arg(long, value_name = "CAP")]
    pub(crate) grant: Vec<Capability>,
}

/// The arguments of `add`.
#[derive(Debug, Clone, Args)]
pub(crate) struct AddArgs {
    /// Add the plugin from here: the name of a plugin that ships with djangobot, the file of a component or core
    /// module, a plugin's folder, or an https:// address.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Give the plugin this name [default: the one in its manifest].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
    /// Accept only a file with this SHA-256. An https:// address needs it, here or as `#sha256=HEX` at its end.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<Digest>,
    /// Add the plugin disabled: events skip it until it is enabled.
    #[arg(long)]
    pub(crate) disabled: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// The arguments of `list`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// Print JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// The arguments of `info`.
#[derive(Debug, Clone, Args)]
pub(crate) struct InfoArgs {
    /// Show the plugin with this name; `list` shows the names.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Print JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// The choice of one plugin.
#[derive(Debug, Clone, Args)]
pub(crate) struct NameArgs {
    /// Enable or disable the plugin with this name; `list` shows the names.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// The arguments of `remove`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RemoveArgs {
    /// Remove the plugin with this name; `list` shows the names.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Keep the plugin's stored data; the plugin has it again when it is added again from the same source.
    #[arg(long)]
    pub(crate) keep_store: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// The arguments of `update`.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpdateArgs {
    /// Update the plugins with these names [default: all].
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
    /// Accept only a new file with this SHA-256. It is for one plugin; a new file from an https:// address needs it.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<Digest>,
    /// Take the plugin from this source from now on. It is for one plugin.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<String>,
    /// Get the versions that the lock pins, as after a checkout, and refuse all others. Config and lock stay as they
    /// are.
    #[arg(long, conflicts_with_all = ["source", "sha256"])]
    pub(crate) locked: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// The arguments of `build`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BuildArgs {
    /// Build this plugin's folder. If it is the file of a component or core module, a manifest is put into it.
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub(crate) path: PathBuf,
    /// Write the component to this file [default: NAME.wasm].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Put this manifest into a component that is already built [default: plugin.toml in its folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Install missing build tools without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// The arguments of `new`.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewArgs {
    /// Create this folder; its name becomes the plugin's name.
    #[arg(value_name = "NAME")]
    pub(crate) path: PathBuf,
    /// Write it in this language.
    #[arg(long, value_name = "LANGUAGE", value_enum, default_value_t = NewLanguage::Rust)]
    pub(crate) lang: NewLanguage,
    /// Use the Rust SDK in this folder [default: the one that came with this djangobot, else its repository].
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: Option<PathBuf>,
}

/// A language of `new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NewLanguage {
    /// Rust: a folder that cargo builds into a component.
    Rust,
    /// JavaScript: a script that nothing has to build.
    #[value(alias = "javascript")]
    Js,
}

/// The arguments of `test`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TestArgs {
    /// Test this plugin: one of the config, a plugin's folder, or its component.
    #[arg(value_name = "PLUGIN")]
    pub(crate) plugin: String,
    /// Read events from this file: one event in JSON, an array of events, or one event a line [default: run the tests in
    /// the folder `tests` of the plugin's folder].
    #[arg(value_name = "FILE.json")]
    pub(crate) events: Option<PathBuf>,
    /// Treat the events as messages that an app puts on slack.send.
    #[arg(long)]
    pub(crate) outbound: bool,
    /// Give the plugin this config, as JSON [default: the one in the config file, or none].
    #[arg(long, value_name = "JSON")]
    pub(crate) plugin_config: Option<String>,
    /// Install missing build tools without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print the results as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}
