//! `plugin.toml`: what a plugin is called, what it wants to see and what it asks for. The build puts it into the
//! component, as a custom section.

use djangobot_event::Event;
use semver::Version;
use serde::Deserialize;

use crate::grant::Capability;
use crate::roster::Direction;

/// The file in a plugin's folder.
pub const MANIFEST_FILE: &str = "plugin.toml";
/// The component's custom section that holds the file's text.
pub const SECTION: &str = "djangobot:plugin";

/// The longest name of a plugin, in bytes.
const MAX_NAME: usize = 64;
/// The longest kind of an event, in bytes: `slack.` and a kind make a channel's name, which has fewer than 100.
const MAX_KIND: usize = 90;

/// What a plugin says of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// What it is called: lower-case letters, digits and hyphens.
    pub name: String,
    /// Its own version.
    pub version: Version,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// What it is called for.
    #[serde(default)]
    pub subscribe: Subscribe,
    /// The kinds of events that it may emit.
    #[serde(default)]
    pub emits: Vec<String>,
    /// What it asks for beyond the harmless.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// A JSON Schema of its config, as TOML. Without one, it takes no config.
    #[serde(default)]
    pub config_schema: Option<serde_json::Value>,
    /// The limits that it asks for, which the operator's word beats.
    #[serde(default)]
    pub limits: AskedLimits,
}

/// The events that a plugin is called for; others pass it by without a call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Slack's event types.
    #[serde(default)]
    pub inbound: Vec<Filter>,
    /// Web API methods.
    #[serde(default)]
    pub outbound: Vec<Filter>,
}

/// Some events: by kind, and by fields that must be there or not.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "FilterText")]
pub struct Filter {
    /// `message`, `reaction_*` or `*`.
    pub kind: String,
    /// Pointers that must lead to something.
    pub has: Vec<String>,
    /// Pointers that must lead nowhere.
    pub lacks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a kind such as \"message\", or { kind = \"message\", has = [\"/text\"], lacks = [\"/bot_id\"] }"
)]
enum FilterText {
    Kind(String),
    Full(FullFilter),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullFilter {
    kind: String,
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
}

/// Limits that a plugin asks for: raised or lowered from the host's own, up to what the operator allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AskedLimits {
    /// Mebibytes of memory.
    pub memory_mib: Option<u32>,
    /// Milliseconds for one call.
    pub time_ms: Option<u32>,
}

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML, or a key that is unknown, missing or of another type.
    #[error("plugin.toml line {line}: {message}")]
    Toml {
        /// From 1.
        line: usize,
        /// A clause.
        message: String,
    },
    /// TOML, but what it says can't be.
    #[error("plugin.toml: {key}: {message}")]
    Wrong {
        /// Which key.
        key: &'static str,
        /// A clause.
        message: String,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// A [`ManifestError`] that names the line or key.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            ManifestError::Toml {
                line: text.as_bytes()[..start]
                    .iter()
                    .filter(|&&byte| byte == b'\n')
                    .count()
                    + 1,
                message: error.message().to_owned(),
            }
        })?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |key, message: String| Err(ManifestError::Wrong { key, message });
        if !is_name(&self.name) {
            return wrong(
                "name",
                format!(
                    "{:?} must be lower-case letters, digits and hyphens, at most {MAX_NAME}",
                    self.name
                ),
            );
        }
        if self.summary.chars().any(char::is_control) {
            return wrong("summary", "it must be one line".into());
        }
        for filter in self
            .subscribe
            .inbound
            .iter()
            .chain(&self.subscribe.outbound)
        {
            for pointer in filter.has.iter().chain(&filter.lacks) {
                if !pointer.starts_with('/') {
                    return wrong(
                        "subscribe",
                        format!("{pointer:?} is no JSON pointer, such as \"/text\""),
                    );
                }
            }
        }
        for kind in &self.emits {
            if !is_kind(kind) {
                return wrong(
                    "emits",
                    format!(
                        "{kind:?} is no kind: letters, digits, `_`, `.` and `-`, at most {MAX_KIND}"
                    ),
                );
            }
        }
        if let Some(schema) = &self.config_schema
            && let Err(error) = jsonschema::validator_for(schema)
        {
            return wrong("config-schema", format!("it is no JSON Schema: {error}"));
        }
        Ok(())
    }

    /// Whether the plugin is to be called for an event of `kind`.
    pub fn wants(&self, direction: Direction, kind: &str, event: &Event) -> bool {
        let filters = match direction {
            Direction::Inbound => &self.subscribe.inbound,
            Direction::Outbound => &self.subscribe.outbound,
        };
        filters.iter().any(|filter| filter.matches(kind, event))
    }

    /// Whether the manifest lists `kind` among those that it may emit.
    pub fn may_emit(&self, kind: &str) -> bool {
        self.emits.iter().any(|listed| listed == kind)
    }
}

impl Filter {
    fn matches(&self, kind: &str, event: &Event) -> bool {
        let kind_fits = match self.kind.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == self.kind,
        };
        kind_fits
            && self.has.iter().all(|pointer| event.get(pointer).is_some())
            && self
                .lacks
                .iter()
                .all(|pointer| event.get(pointer).is_none())
    }
}

impl TryFrom<FilterText> for Filter {
    type Error = String;

    fn try_from(text: FilterText) -> Result<Self, String> {
        let filter = match text {
            FilterText::Kind(kind) => Filter {
                kind,
                has: Vec::new(),
                lacks: Vec::new(),
            },
            FilterText::Full(FullFilter { kind, has, lacks }) => Filter { kind, has, lacks },
        };
        let start = filter.kind.strip_suffix('*').unwrap_or(&filter.kind);
        if filter.kind.is_empty() || start.contains('*') {
            return Err(format!(
                "{:?} is no kind: `*` stands at its end only, as in \"reaction_*\"",
                filter.kind
            ));
        }
        Ok(filter)
    }
}

/// Whether `name` may be a plugin's.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether `kind` may be the kind of an event that a plugin emits.
pub(crate) fn is_kind(kind: &str) -> bool {
    (1..=MAX_KIND).contains(&kind.len())
        && kind
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
name = "resolve-names"
version = "1.2.0"
summary = "Puts names beside ids"
emits = ["standup"]
capabilities = ["store", "http:api.example.com"]

[subscribe]
inbound = ["reaction_*", { kind = "message", has = ["/text"], lacks = ["/bot_id"] }]
outbound = ["chat.postMessage"]

[config-schema]
type = "object"
additionalProperties = false
[config-schema.properties.style]
enum = ["name", "display-name"]

[limits]
memory-mib = 32
"#;

    #[test]
    fn a_whole_manifest_is_read() {
        let manifest = Manifest::parse(WHOLE).unwrap();
        assert_eq!(
            (manifest.name.as_str(), manifest.version.major),
            ("resolve-names", 1)
        );
        assert_eq!(manifest.limits.memory_mib, Some(32));
        let check = |direction, kind: &str, event: &'static str, expect| {
            let event = Event::parse(event).unwrap();
            assert_eq!(
                manifest.wants(direction, kind, &event),
                expect,
                "{kind} {event:?}"
            );
        };
        check(Direction::Inbound, "reaction_added", "{}", true);
        check(Direction::Inbound, "reaction", "{}", false);
        check(Direction::Inbound, "message", r#"{"text":"x"}"#, true);
        check(
            Direction::Inbound,
            "message",
            r#"{"text":"x","bot_id":"B1"}"#,
            false,
        );
        check(Direction::Inbound, "message", "{}", false);
        check(Direction::Outbound, "chat.postMessage", "{}", true);
        check(Direction::Outbound, "message", "{}", false);
        assert!(manifest.may_emit("standup") && !manifest.may_emit("message"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expect: &str| {
            let error = Manifest::parse(text).unwrap_err().to_string();
            assert!(error.contains(expect), "{error} / {expect}");
        };
        check("name = 5", "line 1");
        check("name = \"a\"\nversion = \"one\"", "line 2");
        check("name = \"a\"\nversion = \"1.0.0\"\nnmae = 1", "nmae");
        check("name = \"A b\"\nversion = \"1.0.0\"", "name: \"A b\"");
        check(
            "name = \"a\"\nversion = \"1.0.0\"\nemits = [\"../x\"]",
            "emits: \"../x\"",
        );
        check("name = \"a\"\nversion = \"1.0.0\"\nemits = [\"\"]", "emits");
        check(
            "name = \"a\"\nversion = \"1.0.0\"\ncapabilities = [\"files\"]",
            "files",
        );
        check(
            "name = \"a\"\nversion = \"1.0.0\"\n[subscribe]\ninbound = [\"a*b\"]",
            "a*b",
        );
        check(
            "name = \"a\"\nversion = \"1.0.0\"\n[config-schema]\ntype = \"nonsense\"",
            "config-schema",
        );
    }
}
