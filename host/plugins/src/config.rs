//! The operator's settings of a plugin: one `[[plugin]]` of `djangobot.toml`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::grant::Capability;
use crate::manifest::{self, RequestedLimits};

/// One `[[plugin]]`. Their order in the file is the order of events inbound, and the reverse of it outbound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginConfig {
    /// The plugin's name, as in its manifest.
    pub name: String,
    /// The place where the component comes from; see [`crate::install::source::Source`].
    pub source: String,
    /// Whether events go through it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What happens to an event that it fails on.
    #[serde(default)]
    pub on_error: OnError,
    /// The capabilities that the operator grants it.
    #[serde(default)]
    pub grants: Vec<Capability>,
    /// The number of instances; a conversation always meets the same one. `None`: 1, or 8 with `http`.
    #[serde(default)]
    pub instances: Option<usize>,
    /// The resources that it may use.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// The plugin's own config, for which its manifest has the schema.
    #[serde(default = "empty_object")]
    pub config: serde_json::Value,
    /// Why the table can't be used as it is written, in a sentence. The other fields then hold the parts that could be
    /// read: the plugin is still wanted, so that a guard with a typing error lets no event pass.
    #[serde(skip)]
    pub mistake: Option<String>,
}

impl PluginConfig {
    /// A table with nothing but the required keys.
    pub fn new(name: &str, source: &str) -> Self {
        Self {
            name: name.to_owned(),
            source: source.to_owned(),
            enabled: true,
            on_error: OnError::default(),
            grants: Vec::new(),
            instances: None,
            limits: LimitsConfig::default(),
            config: empty_object(),
            mistake: None,
        }
    }

    /// Whether its events may not pass without it.
    pub fn is_guard(&self) -> bool {
        self.enabled && self.on_error != OnError::Pass
    }

    /// Whether the table's name could be read. A table without a readable name may be meant for any plugin.
    pub fn is_named(&self) -> bool {
        manifest::is_name(&self.name)
    }

    /// The name of its store. It includes the source, so that another plugin of the same name gets a store of its own.
    pub fn store_name(&self) -> String {
        store_name(&self.name, &self.source)
    }

    /// A digest by which two tables can be compared, also after a restart.
    pub(crate) fn fingerprint(&self) -> Digest {
        // A config consists of texts, numbers and lists, so that writing it as JSON never fails.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What happens to an event that a plugin fails on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It goes on, as it was before this plugin.
    #[default]
    Pass,
    /// It is dropped, logged and counted.
    Drop,
    /// It waits, and with it its conversation, until the plugin works again, or is replaced or removed.
    Hold,
}

impl OnError {
    /// The mode with this name in the config.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Pass, Self::Drop, Self::Hold]
            .into_iter()
            .find(|mode| mode.name() == name)
    }

    /// Its name in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Hold => "hold",
        }
    }
}

/// The operator's limits. Where one is missing, the manifest's applies, or else the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LimitsConfig {
    /// Mebibytes of memory of one instance.
    pub memory_mib: Option<u32>,
    /// Milliseconds of computing for one call.
    pub time_ms: Option<u32>,
    /// Milliseconds for one call, with all that it waits for.
    pub wait_ms: Option<u32>,
    /// Calls of the host in one call.
    pub host_calls: Option<u32>,
    /// Kibibytes of log lines in a minute.
    pub log_kib: Option<u32>,
    /// Kibibytes of one answer: edits, emissions and messages together.
    pub output_kib: Option<u32>,
    /// Mebibytes in the store.
    pub store_mib: Option<u32>,
    /// Messages to Slack in a minute.
    pub sends: Option<u32>,
    /// Calls of Slack's Web API in a minute.
    pub slack_calls: Option<u32>,
}

/// The resources that one plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory of one instance.
    pub memory: usize,
    /// Computing time of one call.
    pub time: Duration,
    /// The time of one call with all that it waits for: HTTP, the store, its turn.
    pub wait: Duration,
    /// Calls of the host in one call.
    pub host_calls: u32,
    /// Bytes of log lines in a minute.
    pub log: usize,
    /// Bytes of one answer: edits, emissions and messages together.
    pub output: usize,
    /// Bytes in the store, keys and values.
    pub store: u64,
    /// Messages to Slack in a minute.
    pub sends: u32,
    /// Calls of Slack's Web API in a minute.
    pub slack_calls: u32,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

impl Limits {
    /// Takes each limit from the operator, else from the manifest, else from the defaults. A manifest alone gets at
    /// most four times the default: more than that is the operator's decision.
    pub fn of(config: &LimitsConfig, asked: &RequestedLimits, may_wait: bool) -> Self {
        let memory = config
            .memory_mib
            .or(asked.memory_mib.map(|mib| mib.min(256)));
        let time = config.time_ms.or(asked.time_ms.map(|ms| ms.min(400)));
        let wait = config
            .wait_ms
            .unwrap_or(if may_wait { 10_000 } else { 1_000 });
        let ms = |ms: u32| Duration::from_millis(u64::from(ms.max(1)));
        Self {
            memory: memory.unwrap_or(64) as usize * MIB,
            time: ms(time.unwrap_or(100)),
            wait: ms(wait),
            host_calls: config.host_calls.unwrap_or(10_000),
            log: config.log_kib.unwrap_or(64) as usize * KIB,
            output: config.output_kib.unwrap_or(1024) as usize * KIB,
            store: u64::from(config.store_mib.unwrap_or(16)) << 20,
            sends: config.sends.unwrap_or(60),
            slack_calls: config.slack_calls.unwrap_or(60),
        }
    }

    /// How many pointers or ids one call of the host may ask for.
    pub(crate) fn select(&self) -> usize {
        self.host_calls as usize
    }

    /// The bytes that a guest may hand to the host in one call, as an answer or as a value for the store. An answer of
    /// `output` bytes of text takes more than that with its structure, hence the factor; a value for the store takes up
    /// to the fixed part.
    pub(crate) fn host_call_bytes(&self) -> usize {
        (4 * self.output).max(8 * MIB)
    }
}

/// The name of the store of a plugin that comes from `source`. A plugin's name contains no space, so that the two parts
/// can't be mixed up.
pub fn store_name(name: &str, source: &str) -> String {
    format!("{name} {source}")
}

fn yes() -> bool {
    true
}

fn empty_object() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}
