//! The words of `djangobot plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use djangobot_plugins::{Capability, Digest};

use crate::cli::args::FilesArgs;

/// What can be done with plugins.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PluginCommand {
    /// Add a plugin to the config, and to the host that is running.
    Add(AddArgs),
    /// List the plugins of the config and how they are.
    List(ListArgs),
    /// Show all about one plugin.
    Info(InfoArgs),
    /// Take a plugin out of the config, and out of the host that is running.
    Remove(RemoveArgs),
    /// Let events meet a plugin again.
    Enable(NameArgs),
    /// Let events pass a plugin by; it stays in the config.
    Disable(NameArgs),
    /// Read, build or download plugins again, and take what came of it.
    Update(UpdateArgs),
    /// Build a plugin's folder, with its plugin.toml inside, into one file that `add` takes.
    Build(BuildArgs),
    /// Make the folder of a new plugin in Rust.
    New(NewArgs),
    /// Run events through a plugin, and show the difference that it makes.
    Test(TestArgs),
}

/// What may be agreed to without being asked.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConsentArgs {
    /// Grant all that the plugin asks for, build it where it is a folder, and install what that needs.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Build it where it is a folder, which runs its code on this machine.
    #[arg(long)]
    pub(crate) build: bool,
    /// Grant this, such as `store` or `http:api.example.com`; may be given several times.
    #[arg(long, value_name = "CAP")]
    pub(crate) grant: Vec<Capability>,
}

/// What `add` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct AddArgs {
    /// The name of a plugin that ships with djangobot, a component or core module, a plugin's folder, or an https:// address.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Call it so [default: as its manifest does].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
    /// The SHA-256 of the file; an https:// address needs it, here or as `#sha256=HEX` at its end.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<Digest>,
    /// Add it, and let events pass it by until it is enabled.
    #[arg(long)]
    pub(crate) disabled: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// What `list` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// Print JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// What `info` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct InfoArgs {
    /// As `list` shows it.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Print JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// Which plugin.
#[derive(Debug, Clone, Args)]
pub(crate) struct NameArgs {
    /// As `list` shows it.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// What `remove` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct RemoveArgs {
    /// As `list` shows it.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Keep what the plugin stored, for the day when it is added again from the same source.
    #[arg(long)]
    pub(crate) keep_store: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// What `update` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpdateArgs {
    /// Which plugins [default: all].
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
    /// The SHA-256 of the new file, for one plugin; what came from an https:// address is taken with it only.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<Digest>,
    /// Where the plugin comes from henceforth, for one plugin.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<String>,
    /// Bring what the lock pins into this state, as after a checkout, and refuse all else: nothing is written down.
    #[arg(long, conflicts_with_all = ["source", "sha256"])]
    pub(crate) locked: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}

/// What `build` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct BuildArgs {
    /// The plugin's folder; or a component or core module that is built, to put a manifest into.
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub(crate) path: PathBuf,
    /// Where the component goes [default: NAME.wasm].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The manifest to put into a component that is built [default: plugin.toml beside it].
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Install what building needs and this machine lacks, without being asked.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// What `new` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewArgs {
    /// The folder to make; its name is the plugin's.
    #[arg(value_name = "NAME")]
    pub(crate) path: PathBuf,
    /// The folder of the Rust SDK [default: the one that lies with this djangobot, else its repository].
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: Option<PathBuf>,
}

/// What `test` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct TestArgs {
    /// A plugin of the config, a plugin's folder, or its component.
    #[arg(value_name = "PLUGIN")]
    pub(crate) plugin: String,
    /// A file with an event in JSON, an array of events, or an event a line.
    #[arg(value_name = "FILE.json")]
    pub(crate) events: PathBuf,
    /// The events are messages as an app puts them on slack.send.
    #[arg(long)]
    pub(crate) outbound: bool,
    /// The plugin's config, as JSON [default: the config's, or none].
    #[arg(long, value_name = "JSON")]
    pub(crate) plugin_config: Option<String>,
    /// Install what building needs and this machine lacks, without being asked.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print what came out as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) files: FilesArgs,
}
