//! The part of `plugin.toml` that a test host uses.

use djangobot_event::Event as Document;
use serde::Deserialize;
use serde_json::Value;

use crate::Direction;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Manifest {
    #[serde(default)]
    subscribe: Subscribe,
    #[serde(default)]
    emits: Vec<String>,
    /// Without one, the plugin takes no config.
    #[serde(default)]
    config_schema: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Subscribe {
    #[serde(default)]
    inbound: Vec<Filter>,
    #[serde(default)]
    outbound: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Filter {
    Kind(String),
    Full {
        kind: String,
        #[serde(default)]
        has: Vec<String>,
        #[serde(default)]
        lacks: Vec<String>,
    },
}

impl Manifest {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if let Some(schema) = &manifest.config_schema {
            jsonschema::validator_for(schema).map_err(|error| format!("config-schema: {error}"))?;
        }
        Ok(manifest)
    }

    /// Checks a config against the schema.
    pub(super) fn check_config(&self, config: &Value) -> Result<(), String> {
        let none = serde_json::json!({"type": "object", "maxProperties": 0});
        let schema = self.config_schema.as_ref().unwrap_or(&none);
        let schema = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
        match schema.iter_errors(config).next() {
            None => Ok(()),
            Some(error) => Err(format!("{}: {error}", error.instance_path())),
        }
    }

    pub(super) fn wants(&self, direction: Direction, kind: &str, event: &Document) -> bool {
        let filters = match direction {
            Direction::Inbound => &self.subscribe.inbound,
            Direction::Outbound => &self.subscribe.outbound,
        };
        filters.iter().any(|filter| filter.matches(kind, event))
    }

    pub(super) fn may_emit(&self, kind: &str) -> bool {
        self.emits.iter().any(|listed| listed == kind)
    }
}

impl Filter {
    fn matches(&self, kind: &str, event: &Document) -> bool {
        let (pattern, has, lacks) = match self {
            Filter::Kind(pattern) => (pattern, [].as_slice(), [].as_slice()),
            Filter::Full { kind, has, lacks } => (kind, has.as_slice(), lacks.as_slice()),
        };
        let kind_fits = match pattern.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == pattern,
        };
        let there = |pointer: &String| event.get(pointer).is_some();
        kind_fits && has.iter().all(there) && !lacks.iter().any(there)
    }
}
