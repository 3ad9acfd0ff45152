//! Why a project's settings could not be read, in sentences, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::probe::project::{meant_by_missing, settings_near};

/// How many of a traceback's last lines are shown.
const TRACEBACK: usize = 8;
/// How many of a module's names are shown where one is missing.
const NAMES: usize = 12;

/// Why a project's settings could not be read. What to do is in [`ProbeError::help`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The target is neither `MODULE` nor `MODULE:ATTRIBUTE`.
    #[error("{target:?} names no Python module")]
    BadTarget {
        /// The target as given.
        target: String,
        /// The target that was probably meant.
        meant: Option<String>,
    },
    /// There is no Python.
    #[error("there is no Python: looked for {}", list(searched))]
    NoPython {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// Python is there and could not be started, or the folder is not there.
    #[error("{} could not be started in {}: {reason}", python.display(), directory.display())]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// The project's folder.
        directory: PathBuf,
        /// The system's reason.
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
        /// What was not found: the module or one of its packages.
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
        /// Python's traceback, whole.
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
        /// The names that there are.
        names: Vec<String>,
    },
    /// The module is no settings' module, and does not say which is.
    #[error("{module} is no settings' module, and sets no DJANGO_SETTINGS_MODULE")]
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
        /// The module that is missing, where that is the reason.
        missing: Option<String>,
        /// Python's traceback, whole.
        traceback: String,
        /// The settings' module.
        settings: Option<String>,
        /// The interpreter.
        python: PathBuf,
    },
    /// Python refuses the layer's settings.
    #[error(
        "CHANNEL_LAYERS[{alias:?}][\"CONFIG\"]{place} in {} makes no layer: Python says {reason}",
        settings_name(settings)
    )]
    Layer {
        /// The layer's alias.
        alias: String,
        /// Where in CONFIG, where that is known, such as `["hosts"][0]`.
        place: String,
        /// Python's exception; its type alone where its words may quote a password.
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
        /// The aliases that there are.
        aliases: Vec<String>,
        /// The settings' module.
        settings: Option<String>,
    },
    /// The layer's entry is no dict with a `BACKEND`.
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
    #[error("{target} has not been imported after {seconds} s by {}{}", python.display(), said_last(said))]
    Timeout {
        /// The target.
        target: String,
        /// The interpreter.
        python: PathBuf,
        /// How long was waited.
        seconds: f64,
        /// The last that it wrote to stderr.
        said: String,
    },
    /// Python ended without an answer.
    #[error("{} ended while it imported {target} ({status}){}", python.display(), said_last(said))]
    Crashed {
        /// The target.
        target: String,
        /// The interpreter.
        python: PathBuf,
        /// How it ended.
        status: String,
        /// The last that it wrote to stderr.
        said: String,
    },
}

/// An answer of the script that is an error.
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

    /// What to do about it, as a sentence.
    pub fn help(&self) -> String {
        match self {
            Self::BadTarget { meant: Some(meant), .. } => format!("write {meant}"),
            Self::BadTarget { meant: None, .. } => {
                "write a module, or a module and an attribute: myapp.settings, myapp.asgi:channel_layer".into()
            }
            Self::NoPython { .. } => "activate the project's virtualenv, or name its Python with --python".into(),
            Self::NoClass { missing: Some(missing), python, .. } => install(missing, python),
            Self::NoClass { missing: None, .. } => "BACKEND is the dotted path of a class, such as channels_redis.core.RedisChannelLayer: check its name, and mend what keeps its module from being imported".into(),
            Self::Layer { .. } => "mend the settings: a Django process of the project fails in the same way as soon as it uses this layer".into(),
            Self::Start { .. } => "see whether both are there and may be used; --python names another interpreter".into(),
            Self::NoDjango { python, .. } => format!(
                "if the project has a virtualenv, activate it or name it with --python; else install Django: {} -m pip install channels channels_redis",
                python.display()
            ),
            Self::ModuleNotFound { meant: Some(meant), .. } => format!("did you mean {meant}?"),
            Self::ModuleNotFound { .. } => "start djangobot in the folder that has manage.py, and check the module's name".into(),
            Self::Import { module, traceback, python, directory } => match missing_module(traceback) {
                Some(missing) => install(missing, python),
                None => format!(
                    "mend the error; this shows it whole: cd {} && {} -c \"import {module}\"",
                    directory.display(),
                    python.display()
                ),
            },
            Self::NoAttribute { .. } => "name one of these, or the module alone: the settings' layer is used then".into(),
            Self::NoSettings { meant: Some(meant), .. } => format!("did you mean {meant}? It is where the project's settings are"),
            Self::NoSettings { .. } => "name the settings (myapp.settings) or asgi.py (myapp.asgi), or set DJANGO_SETTINGS_MODULE".into(),
            Self::NoChannelLayers { .. } => {
                r#"add CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [{"address": "redis://localhost:6379", "socket_timeout": None}]}}}"#.into()
            }
            Self::NoAlias { .. } => "add it, or name another alias".into(),
            Self::NoBackend { alias, .. } => {
                format!(r#"write CHANNEL_LAYERS = {{{alias:?}: {{"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {{...}}}}}}"#)
            }
            Self::Timeout { .. } => "a module of the project waits on import, for a database or a network perhaps: import it by hand with that Python to see where; a slow one may have more time with --import-timeout".into(),
            Self::Crashed { .. } => "import it by hand with that Python to see why".into(),
        }
    }
}

/// The module that a traceback is about: one that ends in `ModuleNotFoundError: No module named 'x'`, or in what Channels
/// makes of that for a layer.
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

/// The command that installs what has the module `missing`.
fn install(missing: &str, python: &Path) -> String {
    let (package, rest) = missing.split_once('.').unwrap_or((missing, ""));
    let python = python.display();
    match package {
        "django" | "channels" | "channels_redis" | "channels_valkey" | "asgi_redis" | "redis"
        | "valkey" | "daphne" | "msgpack" | "cryptography" => {
            // Where a part of it is missing, it is there and too old.
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
        format!("; the last that it wrote:\n{}", last_lines(said))
    }
}
