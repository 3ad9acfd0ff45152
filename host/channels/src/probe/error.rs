//! The reasons why a project's settings can't be read, and the cure for each.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::probe::project::{meant_by_missing, settings_near};

/// How many lines from the end of a traceback are shown.
const TRACEBACK: usize = 8;
/// How many names of a module are shown if one is missing.
const NAMES: usize = 12;

/// The reason why a project's settings can't be read. [`ProbeError::help`] says what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The target is neither `MODULE` nor `MODULE:ATTRIBUTE`.
    #[error("{target:?} is not the name of a Python module")]
    BadTarget {
        /// The target as given.
        target: String,
        /// The target that was probably meant.
        meant: Option<String>,
    },
    /// No Python was found.
    #[error("no Python was found; these were tried: {}", list(searched))]
    NoPython {
        /// The places where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// Python could not be started, or the folder does not exist.
    #[error("{} could not be started in {}: {reason}", python.display(), directory.display())]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// The project's folder.
        directory: PathBuf,
        /// The reason of the operating system.
        reason: String,
    },
    /// The interpreter has no Django.
    #[error("{} (Python {version}) has no Django", python.display())]
    NoDjango {
        /// The interpreter.
        python: PathBuf,
        /// Its version.
        version: String,
    },
    /// The target's module, or a package that it lies in, does not exist.
    #[error("there is no module {missing:?} in {}{}", directory.display(), wanted(module, missing))]
    ModuleNotFound {
        /// The target's module.
        module: String,
        /// The module or package that was not found.
        missing: String,
        /// The project's folder.
        directory: PathBuf,
        /// The target that was probably meant.
        meant: Option<String>,
    },
    /// A module of the project could not be imported.
    #[error("{module} could not be imported:\n{}", last_lines(traceback))]
    Import {
        /// The module.
        module: String,
        /// The whole traceback.
        traceback: String,
        /// The interpreter.
        python: PathBuf,
        /// The project's folder.
        directory: PathBuf,
    },
    /// The target's attribute does not exist.
    #[error("{module} has no {attribute:?}{}", some_names(names))]
    NoAttribute {
        /// The target's module.
        module: String,
        /// The attribute.
        attribute: String,
        /// The names that exist.
        names: Vec<String>,
    },
    /// The module is not a settings' module, and does not name one.
    #[error("{module} is not a settings module, and does not set DJANGO_SETTINGS_MODULE")]
    NoSettings {
        /// The target's module.
        module: String,
        /// The settings that were probably meant.
        meant: Option<String>,
    },
    /// The layer's class can't be imported.
    #[error(
        "CHANNEL_LAYERS[{alias:?}] in {} names a BACKEND that can't be imported, {backend}:\n{}",
        settings_name(settings),
        last_lines(traceback)
    )]
    NoClass {
        /// The layer's alias.
        alias: String,
        /// The dotted path in the settings.
        backend: String,
        /// The missing module, if that is the reason.
        missing: Option<String>,
        /// The whole traceback.
        traceback: String,
        /// The settings' module.
        settings: Option<String>,
        /// The interpreter.
        python: PathBuf,
    },
    /// Python refuses the layer's settings.
    #[error(
        "CHANNEL_LAYERS[{alias:?}][\"CONFIG\"]{place} in {} does not work: Python reports {reason}",
        settings_name(settings)
    )]
    Layer {
        /// The layer's alias.
        alias: String,
        /// The place in CONFIG, if it is known, such as `["hosts"][0]`.
        place: String,
        /// Python's exception, or only its type if its text may quote a password.
        reason: String,
        /// The settings' module.
        settings: Option<String>,
    },
    /// The settings have no `CHANNEL_LAYERS`, or an empty one.
    #[error("{} has no CHANNEL_LAYERS", settings_name(settings))]
    NoChannelLayers {
        /// The settings' module.
        settings: Option<String>,
    },
    /// `CHANNEL_LAYERS` has no such alias.
    #[error("CHANNEL_LAYERS in {} has no {alias:?}: it has {}", settings_name(settings), aliases.join(", "))]
    NoAlias {
        /// The alias that was wanted.
        alias: String,
        /// The aliases that exist.
        aliases: Vec<String>,
        /// The settings' module.
        settings: Option<String>,
    },
    /// The layer's entry is not a dict with a `BACKEND`.
    #[error(
        "CHANNEL_LAYERS[{alias:?}] in {} has no BACKEND",
        settings_name(settings)
    )]
    NoBackend {
        /// The layer's alias.
        alias: String,
        /// The settings' module.
        settings: Option<String>,
    },
    /// The project took too long to import.
    #[error("the import of {target} was not finished after {seconds} s with {}{}", python.display(), said_last(said))]
    Timeout {
        /// The target.
        target: String,
        /// The interpreter.
        python: PathBuf,
        /// The time limit in seconds.
        seconds: f64,
        /// The end of its output to stderr.
        said: String,
    },
    /// Python ended without an answer.
    #[error("{} ended while it imported {target} ({status}){}", python.display(), said_last(said))]
    Crashed {
        /// The target.
        target: String,
        /// The interpreter.
        python: PathBuf,
        /// Its exit status or signal.
        status: String,
        /// The end of its output to stderr.
        said: String,
    },
}

/// An error that the script answered.
#[derive(Deserialize)]
#[serde(tag = "error", rename_all = "kebab-case")]
pub(super) enum ScriptError {
    NoDjango {
        version: String,
    },
    NoModule {
        module: String,
        missing: String,
    },
    Import {
        module: String,
        traceback: String,
    },
    NoAttribute {
        module: String,
        attribute: String,
        names: Vec<String>,
    },
    NoSettings {
        module: String,
    },
    NoClass {
        alias: String,
        backend: String,
        missing: Option<String>,
        traceback: String,
        settings: Option<String>,
    },
    Layer {
        alias: String,
        place: String,
        reason: String,
        settings: Option<String>,
    },
    NoChannelLayers {
        settings: Option<String>,
    },
    NoAlias {
        alias: String,
        aliases: Vec<String>,
        settings: Option<String>,
    },
    NoBackend {
        alias: String,
        settings: Option<String>,
    },
}

impl ScriptError {
    pub(super) fn by(self, python: PathBuf, directory: PathBuf) -> ProbeError {
        match self {
            Self::NoDjango { version } => ProbeError::NoDjango { python, version },
            Self::NoModule { module, missing } => ProbeError::ModuleNotFound {
                meant: meant_by_missing(&directory, &module),
                module,
                missing,
                directory,
            },
            Self::Import { module, traceback } => ProbeError::Import {
                module,
                traceback,
                python,
                directory,
            },
            Self::NoAttribute {
                module,
                attribute,
                names,
            } => ProbeError::NoAttribute {
                module,
                attribute,
                names,
            },
            Self::NoSettings { module } => ProbeError::NoSettings {
                meant: settings_near(&directory, &module),
                module,
            },
            Self::NoClass {
                alias,
                backend,
                missing,
                traceback,
                settings,
            } => ProbeError::NoClass {
                alias,
                backend,
                missing,
                traceback,
                settings,
                python,
            },
            Self::Layer {
                alias,
                place,
                reason,
                settings,
            } => ProbeError::Layer {
                alias,
                place,
                reason,
                settings,
            },
            Self::NoChannelLayers { settings } => ProbeError::NoChannelLayers { settings },
            Self::NoAlias {
                alias,
                aliases,
                settings,
            } => ProbeError::NoAlias {
                alias,
                aliases,
                settings,
            },
            Self::NoBackend { alias, settings } => ProbeError::NoBackend { alias, settings },
        }
    }
}

impl ProbeError {
    pub(super) fn start(python: &Path, directory: &Path, reason: &io::Error) -> Self {
        Self::Start {
            python: python.into(),
            directory: directory.into(),
            reason: reason.to_string(),
        }
    }

    /// The cure, as a sentence.
    pub fn help(&self) -> String {
        match self {
            Self::BadTarget { meant: Some(meant), .. } => format!("write {meant}"),
            Self::BadTarget { meant: None, .. } => {
                "write a module, or a module and an attribute: myapp.settings, myapp.asgi:channel_layer".into()
            }
            Self::NoPython { searched } if searched.len() == 1 => {
                "give --python the path of an interpreter or of a virtualenv's folder, or leave it out".into()
            }
            Self::NoPython { .. } => "activate the project's virtualenv, or name its Python with --python".into(),
            Self::NoClass { missing: Some(missing), python, .. } => install(missing, python),
            Self::NoClass { missing: None, .. } => "BACKEND is the dotted path of a class, such as channels_redis.core.RedisChannelLayer; check its name, and repair the error in its module".into(),
            Self::Layer { .. } => "correct the settings; a Django process of the project fails in the same way as soon as it uses this layer".into(),
            Self::Start { .. } => "check that both exist and that you may use them; --python names another interpreter".into(),
            Self::NoDjango { python, .. } => format!(
                "if the project has a virtualenv, activate it or name it with --python; else install Django: {} -m pip install channels channels_redis",
                python.display()
            ),
            Self::ModuleNotFound { meant: Some(meant), .. } => format!("did you mean {meant}?"),
            Self::ModuleNotFound { .. } => "start djangobot in the folder that has manage.py, and check the module's name".into(),
            Self::Import { module, traceback, python, directory } => match missing_module(traceback) {
                Some(missing) => install(missing, python),
                None => format!(
                    "correct the error; this command shows it whole: cd {} && {} -c \"import {module}\"",
                    directory.display(),
                    python.display()
                ),
            },
            Self::NoAttribute { .. } => "name one of these, or the module alone to use the layer of the settings".into(),
            Self::NoSettings { meant: Some(meant), .. } => format!("did you mean {meant}? It has the project's settings"),
            Self::NoSettings { .. } => "name the settings (myapp.settings) or asgi.py (myapp.asgi), or set DJANGO_SETTINGS_MODULE".into(),
            Self::NoChannelLayers { .. } => {
                r#"add CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [{"address": "redis://localhost:6379", "socket_timeout": None}]}}}"#.into()
            }
            Self::NoAlias { .. } => "add it to the settings, or name another alias with --alias".into(),
            Self::NoBackend { alias, .. } => {
                format!(r#"write CHANNEL_LAYERS = {{{alias:?}: {{"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {{...}}}}}}"#)
            }
            Self::Timeout { .. } => "a module of the project waits while it is imported, for a database or a network perhaps; import it by hand with that Python to see where it waits, or allow a slow one more time with --import-timeout".into(),
            Self::Crashed { .. } => "import it by hand with that Python to see the reason".into(),
        }
    }
}

/// The missing module in a traceback that ends in `ModuleNotFoundError: No module named 'x'`, or in the exception that
/// Channels raises for that.
fn missing_module(traceback: &str) -> Option<&str> {
    fn name(line: &str) -> Option<&str> {
        let name = line.strip_prefix("ModuleNotFoundError: No module named '")?;
        Some(name.split_once('\'')?.0)
    }
    let last = traceback.trim_end().lines().next_back()?;
    if last.contains("InvalidChannelLayerError") {
        return traceback.lines().find_map(name);
    }
    name(last)
}

/// The command that installs the package of the module `missing`.
fn install(missing: &str, python: &Path) -> String {
    let (package, rest) = missing.split_once('.').unwrap_or((missing, ""));
    let python = python.display();
    match package {
        "django" | "channels" | "channels_redis" | "channels_valkey" | "asgi_redis" | "redis"
        | "valkey" | "daphne" | "msgpack" | "cryptography" => {
            // If only a part of the package is missing, it is installed and too old.
            let upgrade = if rest.is_empty() { "" } else { "--upgrade " };
            format!(
                "{missing} is not installed for this Python: {python} -m pip install {upgrade}{package}; or name the project's Python with --python"
            )
        }
        _ => format!(
            "{missing:?} is not installed for {python}: install it there, or name the project's Python with --python"
        ),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TRACEBACK)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn settings_name(settings: &Option<String>) -> &str {
    settings.as_deref().unwrap_or("the project's settings")
}

fn wanted(module: &str, missing: &str) -> String {
    if module == missing {
        String::new()
    } else {
        format!(", so no {module:?}")
    }
}

fn some_names(names: &[String]) -> String {
    let more = if names.len() > NAMES { ", ..." } else { "" };
    match names {
        [] => String::new(),
        names => format!(
            ": it has {}{more}",
            names[..names.len().min(NAMES)].join(", ")
        ),
    }
}

fn said_last(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!("; its last output:\n{}", last_lines(said))
    }
}
