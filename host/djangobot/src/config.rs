//! The settings of a run: the config file, then the environment, then flags. Each overrides the one before.

mod api_url;
mod error;
pub(crate) mod fuzzing;
mod plugin_tables;
pub(crate) mod reference;
mod secret_kind;
mod slack;
pub(crate) mod values;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use djangobot_plugins::{PluginConfig, file};
use secrecy::SecretString;
use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use crate::address::ListenAddress;
use crate::cli::args::{HostArgs, SlackArgs, TargetArgs};
use crate::state::folder::{self, FolderError};

pub(crate) use error::ConfigError;
pub(crate) use secret_kind::Setting;
pub(crate) use slack::{
    HistoryEvent, HistorySettings, HistoryWhen, RotationSettings, SlackSettings, is_allowed,
};
use slack::{SlackSection, secret_file};
use values::Seconds;
pub(crate) use values::{BodyFormat, CONFIG_FILE, LogFormat, Transport};

/// The longest config file that a running host reads again, in bytes.
const LONGEST: usize = 4 << 20;
/// Channels whose events mean nothing later, so that they are dropped if nobody reads them.
const TRANSIENT_CHANNELS: &[&str] = &[
    "slack.hello",
    "slack.goodbye",
    "slack.user_typing",
    "slack.presence_change",
    "slack.manual_presence_change",
];
/// The default of `layer.import-timeout`. Large projects take ten seconds on a slow disk.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// The default of `layer.spool-mib`.
const SPOOL_MIB: u64 = 1024;

/// All settings of a run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) slack: SlackSettings,
    pub(crate) layer: LayerSettings,
    /// In the order of the file. Events pass them in this order, and messages in the reverse order.
    pub(crate) plugins: Vec<PluginConfig>,
    pub(crate) plugin_host: PluginHostSettings,
    /// The folder of all that must outlive the process.
    pub(crate) state_dir: PathBuf,
    /// The address at which Slack's requests, health and metrics are served, if any.
    pub(crate) listen: Option<SocketAddr>,
    /// An address for operators' pages alone, if they have one.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// The tracing filter of the logs.
    pub(crate) log: String,
    /// The format of the logs; `None`: human on a terminal, JSON elsewhere.
    pub(crate) log_format: Option<LogFormat>,
    /// The config file that was read, for `check` to name.
    pub(crate) file: Option<PathBuf>,
}

/// The channel layer, and the format of events on it.
#[derive(Debug)]
pub(crate) struct LayerSettings {
    pub(crate) target: Option<Target>,
    /// The project's CONFIG for a TARGET of URLs: a URL says only where the layer is.
    pub(crate) config: serde_json::Value,
    /// The password that clients of the embedded layer must give.
    pub(crate) password: Option<SecretString>,
    /// The entry of CHANNEL_LAYERS.
    pub(crate) alias: Option<String>,
    pub(crate) python: Option<PathBuf>,
    /// How long the project may take to be imported.
    pub(crate) import_timeout: Duration,
    /// `None`: flat, or `djangobot-0.1` on a Channels 1 layer.
    pub(crate) format: Option<BodyFormat>,
    /// The channel that messages to Slack are read from.
    pub(crate) send_channel: String,
    /// Events that may wait in memory for one channel of the layer.
    pub(crate) hold: usize,
    /// The fate of events that nobody reads, by channel.
    pub(crate) unread: UnreadRules,
    /// Bytes of events that may wait on the disk.
    pub(crate) spool_bytes: u64,
}

impl LayerSettings {
    /// Reads the layer's settings alone: the config file's `[layer]`, overridden by `args`.
    ///
    /// For commands without Slack: a config whose secrets can't be read must not keep them from their work.
    pub(crate) fn read(args: &TargetArgs, config: Option<&Path>) -> Result<Self, ConfigError> {
        let (file, path) = File::find(config)?;
        file.layer.settings(args, &home(path.as_deref()))
    }

    /// The TARGET. If none is given, it is the project that `DJANGO_SETTINGS_MODULE` names.
    pub(crate) fn target(&self) -> Result<Target, ConfigError> {
        let of_django = || {
            let module = std::env::var("DJANGO_SETTINGS_MODULE").ok()?;
            (!module.is_empty()).then(|| Target::Project {
                target: module,
                directory: PathBuf::new(),
            })
        };
        let given = self.target.clone();
        given.or_else(of_django).ok_or(ConfigError::NoTarget)
    }
}

/// The fate of events that their channel does not take, because the layer is away or no worker reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unread {
    /// They wait on the disk, in order.
    Hold,
    /// The newest ones, up to `hold`, wait in memory; older ones are dropped.
    DropOldest,
    /// They are dropped.
    Drop,
}

/// The fate of unread events, by channel; `*` stands for all channels that are not named.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnreadRules(HashMap<String, Unread>);

impl UnreadRules {
    #[cfg(test)]
    pub(crate) fn new(rules: impl IntoIterator<Item = (String, Unread)>) -> Self {
        Self(rules.into_iter().collect())
    }

    /// The rule for `channel`.
    pub(crate) fn of(&self, channel: &str) -> Unread {
        let own = self.0.get(channel).or_else(|| self.0.get("*"));
        own.copied().unwrap_or_else(|| {
            if TRANSIENT_CHANNELS.contains(&channel) {
                Unread::Drop
            } else {
                Unread::Hold
            }
        })
    }
}

/// The settings that all plugins share.
#[derive(Debug, Clone, Default)]
pub(crate) struct PluginHostSettings {
    /// The state folder, in which components and their machine code lie. `djangobot dev` has a state of its own but
    /// shares this one, so that it need not compile plugins again.
    pub(crate) components_dir: PathBuf,
    /// Whether a grant may name a private or loopback address, which development and tests need. Elsewhere such a grant
    /// would let a plugin reach services that trust this machine.
    pub(crate) allow_private_http: bool,
    /// The folder in which each file is a secret.
    pub(crate) secrets_dir: Option<PathBuf>,
}

/// The place where the channel layer is described.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// URLs, several for shards.
    Urls(Vec<String>),
    /// A Python module, or `module:attribute`, below `directory`.
    Project { target: String, directory: PathBuf },
    /// A `CHANNEL_LAYERS` entry written in the config file.
    Inline {
        backend: String,
        config: serde_json::Value,
    },
}

/// The config file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    slack: SlackSection,
    layer: LayerSection,
    /// Filled by `plugin_tables`, which reads each table by itself: a mistake in one must not stop the others.
    #[serde(skip)]
    plugin: Vec<PluginConfig>,
    plugins: PluginsSection,
    state_dir: Option<PathBuf>,
    listen: Option<ListenAddress>,
    admin_listen: Option<ListenAddress>,
    log: Option<String>,
    log_format: Option<LogFormat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct LayerSection {
    target: Option<TargetValue>,
    backend: Option<String>,
    config: Option<serde_json::Value>,
    password_file: Option<PathBuf>,
    alias: Option<String>,
    python: Option<PathBuf>,
    import_timeout: Option<Seconds>,
    format: Option<BodyFormat>,
    send_channel: Option<SendChannel>,
    hold: Option<usize>,
    unread: HashMap<String, Unread>,
    spool_mib: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct PluginsSection {
    allow_private_http: bool,
    secrets_dir: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text, or a list of URLs")]
enum TargetValue {
    Text(String),
    Urls(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct SendChannel(String);

impl TryFrom<String> for SendChannel {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        djangobot_channels::ChannelName::new(&name).map_err(|error| error.to_string())?;
        Ok(Self(name))
    }
}

impl Settings {
    /// Reads the config file; `target`, `slack` and `host` (environment and flags) override it.
    pub(crate) fn read(
        target: &TargetArgs,
        slack: &SlackArgs,
        host: &HostArgs,
    ) -> Result<Self, ConfigError> {
        let (file, path) = File::find(host.files.config.as_deref())?;
        let home = home(path.as_deref());
        let files = &host.files;
        let state_dir = files
            .state_dir
            .clone()
            .or(file.state_dir.map(|dir| home.join(dir)))
            .unwrap_or_else(|| home.join(".djangobot"));
        Ok(Self {
            slack: file.slack.settings(slack, &home)?,
            layer: file.layer.settings(target, &home)?,
            plugins: file.plugin,
            plugin_host: PluginHostSettings {
                components_dir: state_dir.clone(),
                allow_private_http: file.plugins.allow_private_http,
                secrets_dir: file.plugins.secrets_dir.map(|dir| home.join(dir)),
            },
            state_dir,
            listen: host.listen.or(file.listen).map(|it| it.0),
            admin_listen: host.admin_listen.or(file.admin_listen).map(|it| it.0),
            log: files
                .log
                .log
                .clone()
                .or(file.log)
                .unwrap_or_else(|| "info".into()),
            log_format: files.log.log_format.or(file.log_format),
            file: path,
        })
    }

    /// Opens the state folder, and makes it if it is missing.
    ///
    /// The folder in use may be one within the folder that was named; from here on the settings name the one in use.
    pub(crate) fn open_state(&mut self) -> Result<(), FolderError> {
        self.state_dir = folder::open(&self.state_dir)?;
        self.plugin_host.components_dir = self.state_dir.clone();
        Ok(())
    }

    /// The config file: the one that was read, or the one that would be made.
    pub(crate) fn config_file(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(CONFIG_FILE))
    }
}

impl File {
    fn find(named: Option<&Path>) -> Result<(Self, Option<PathBuf>), ConfigError> {
        let path = named.unwrap_or(Path::new(CONFIG_FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => Ok((Self::parse(path, &text)?, Some(path.to_owned()))),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok((Self::default(), None))
            }
            Err(reason) => Err(ConfigError::Unreadable {
                path: path.to_owned(),
                reason,
            }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let wrong = |error: &toml::de::Error| {
            let message = without_types(&without_strings(error.message()));
            ConfigError::Wrong {
                help: suggestion(&message),
                message: located(path, text, error.span(), &message),
            }
        };
        // The plugins are taken out first and read one by one. All other sections are read at once, since a mistake in
        // any of them is an error of the whole file.
        let mut tables = DeTable::parse(text).map_err(|error| wrong(&error))?;
        let plugins = plugin_tables::read(path, text, tables.get_mut()).map_err(|message| {
            let help = None;
            ConfigError::Wrong { message, help }
        })?;
        let file = Self::deserialize(Deserializer::from(tables)).map_err(|error| wrong(&error))?;
        Ok(Self {
            plugin: plugins,
            ..file
        })
    }
}

/// Puts the place in the file before a message: `djangobot.toml line 3: ...`.
fn located(path: &Path, text: &str, span: Option<Range<usize>>, message: &str) -> String {
    match span {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            format!("{} line {line}: {message}", path.display())
        }
        None => format!("{}: {message}", path.display()),
    }
}

/// The folder that relative paths in the file start from: the file's own. Relative paths in flags start from the
/// current folder.
fn home(file: Option<&Path>) -> PathBuf {
    file.and_then(Path::parent)
        .map(Path::to_owned)
        .unwrap_or_default()
}

impl LayerSection {
    /// Makes the layer's settings: `args` override the section, whose relative paths start from `home`.
    fn settings(self, args: &TargetArgs, home: &Path) -> Result<LayerSettings, ConfigError> {
        let given = target_of(&args.target, PathBuf::new())?;
        let target = match given {
            Some(target) => Some(target),
            None => self.target(home)?,
        };
        let project = &args.project;
        let from_file = |path: Option<PathBuf>| path.map(|path| home.join(path));
        let password_file = project.password_file.clone();
        Ok(LayerSettings {
            target,
            // Next to `backend`, `config` belongs to that backend, and not to the URLs.
            config: match self.backend {
                Some(_) => serde_json::Value::Null,
                None => self.config.unwrap_or_default(),
            },
            password: password_file
                .or_else(|| from_file(self.password_file))
                .map(|path| secret_file("the layer's password", path))
                .transpose()?,
            alias: project.alias.clone().or(self.alias),
            python: project.python.clone().or_else(|| from_file(self.python)),
            import_timeout: project
                .import_timeout
                .or(self.import_timeout)
                .map_or(IMPORT_TIMEOUT, |limit| limit.0),
            format: args.format.or(self.format),
            send_channel: self
                .send_channel
                .map_or_else(|| "slack.send".into(), |name| name.0),
            hold: self.hold.unwrap_or(10_000),
            unread: UnreadRules(self.unread),
            spool_bytes: self.spool_mib.unwrap_or(SPOOL_MIB) << 20,
        })
    }

    fn target(&self, home: &Path) -> Result<Option<Target>, ConfigError> {
        if let Some(backend) = &self.backend {
            let config = self.config.clone().unwrap_or_else(|| serde_json::json!({}));
            return Ok(Some(Target::Inline {
                backend: backend.clone(),
                config,
            }));
        }
        match &self.target {
            None => Ok(None),
            Some(TargetValue::Text(one)) => target_of(std::slice::from_ref(one), home.to_owned()),
            Some(TargetValue::Urls(urls)) => target_of(urls, home.to_owned()),
        }
    }
}

/// Reads the plugins that the config file at `path` names now, for a running host.
///
/// # Errors
/// The file is missing, empty or wrong. An empty one is an error, because an editor that is saving it may have emptied
/// it for a moment, and the plugins must not all be unloaded then.
pub(crate) fn plugins_of(path: &Path) -> Result<Vec<PluginConfig>, ConfigError> {
    let unreadable = |reason| ConfigError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let text = file::read_text(path, LONGEST).map_err(unreadable)?;
    if text.trim().is_empty() {
        return Err(unreadable(std::io::Error::other("it is empty")));
    }
    Ok(File::parse(path, &text)?.plugin)
}

/// Reads the words of a TARGET. A module is looked for in `directory`.
fn target_of(words: &[String], directory: PathBuf) -> Result<Option<Target>, ConfigError> {
    match words {
        [] => Ok(None),
        [one] if !one.contains("://") => Ok(Some(Target::Project {
            target: one.clone(),
            directory,
        })),
        urls => match urls.iter().find(|url| !url.contains("://")) {
            Some(wrong) => Err(ConfigError::MixedTargets(wrong.clone())),
            None => Ok(Some(Target::Urls(urls.to_vec()))),
        },
    }
}

/// Replaces the quoted values in an error of the TOML parser (`invalid type: string "xoxb-1", expected ...`), because a
/// value may be a token.
fn without_strings(message: &str) -> String {
    let mut kept = String::new();
    let mut rest = message;
    while let Some((before, quoted)) = rest.split_once('"') {
        kept.push_str(before);
        kept.push_str("\"...\"");
        let mut is_escaped = false;
        let end = quoted.find(|c| {
            let is_end = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        rest = end.map_or("", |end| &quoted[end + 1..]);
    }
    kept + rest
}

/// Replaces Rust's name of the type that a key wants, at the end of an error of the TOML parser, by plain words.
fn without_types(message: &str) -> String {
    let Some((before, wanted)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let wanted = match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 up",
        "i64" => "a whole number",
        "f64" => "a number",
        wanted => wanted,
    };
    format!("{before}, expected {wanted}")
}

/// Suggests the key that was probably meant, for an error such as "unknown field `tokne`, expected one of `token`,
/// ...".
fn suggestion(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next().filter(|_| message.starts_with("unknown "))?;
    // The distance counts a letter that is missing, added, changed or swapped with its neighbour as one.
    let near = quoted
        .map(|known| (strsim::damerau_levenshtein(wrong, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3)?;
    Some(format!("did you mean `{}`?", near.1))
}

#[cfg(test)]
pub(crate) mod tests;
