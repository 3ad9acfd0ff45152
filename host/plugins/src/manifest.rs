//! A plugin's manifest, `plugin.toml`: its name, the events that it subscribes to and the capabilities that it asks
//! for. The build puts it into the component, as a custom section.

mod mistake;
mod timer;

use std::collections::BTreeSet;

use djangobot_event::{Budget, Event};
use semver::Version;
use serde::Deserialize;

use crate::grant::Capability;
use crate::plugin_event::HostKind;
use crate::services::roster::Direction;

pub use mistake::{ManifestError, Mistake};
pub use timer::Timer;

/// The file in a plugin's folder.
pub const MANIFEST_FILE: &str = "plugin.toml";
/// The component's custom section that holds the file's text.
pub const SECTION: &str = "djangobot:plugin";

/// The longest name of a plugin, in bytes.
const MAX_NAME: usize = 64;
/// The longest kind of an event, in bytes: `slack.` and a kind make the name of a channel, which has fewer than 100.
const MAX_KIND: usize = 90;

/// The longest text of a manifest, in bytes.
const MAX_TEXT: usize = 256 << 10;
/// The largest number of filters of each direction, and of kinds that may be emitted.
const MAX_LISTED: usize = 100;
/// The largest number of pointers in one filter.
const MAX_POINTERS: usize = 16;
/// The longest pointer of a filter, in bytes.
const MAX_POINTER: usize = 256;
/// The steps that all filters together may take on one event, about a millisecond. They are evaluated for each event,
/// before there is a call to which the work could be charged.
const FILTER_STEPS: u64 = 100_000;

/// A plugin's manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// The plugin's name: lower-case letters, digits and hyphens.
    pub name: String,
    /// The plugin's version.
    pub version: Version,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// The events that it is called for.
    #[serde(default)]
    pub subscribe: Subscriptions,
    /// The moments at which it gets an event `djangobot.timer`.
    #[serde(default)]
    pub timer: Vec<Timer>,
    /// Whether it may answer an event with `defer`.
    #[serde(default)]
    pub defers: bool,
    /// The kinds of events that it may emit.
    #[serde(default)]
    pub emits: Vec<String>,
    /// The capabilities that it needs: without one of them it is not loaded.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// The capabilities that it uses if the operator grants them, and goes on without otherwise.
    #[serde(default)]
    pub optional_capabilities: Vec<Capability>,
    /// A JSON Schema of its config, as TOML. Without one, it takes no config.
    #[serde(default)]
    pub config_schema: Option<serde_json::Value>,
    /// The limits that it asks for; the operator's limits override them.
    #[serde(default)]
    pub limits: RequestedLimits,
}

/// The events that a plugin is called for. Other events cost it no call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscriptions {
    /// Slack's event types.
    #[serde(default)]
    pub inbound: Vec<Filter>,
    /// Web API methods.
    #[serde(default)]
    pub outbound: Vec<Filter>,
}

/// A filter of events: by kind, and by fields that must be present or absent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "FilterText")]
pub struct Filter {
    /// The kind, of which `*` at the end stands for any rest: `message`, `reaction_*` or `*`.
    pub kind: String,
    /// Pointers to fields that must be present.
    pub has: Vec<String>,
    /// Pointers to fields that must be absent.
    pub lacks: Vec<String>,
}

/// The two ways in which a filter may be written.
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

/// The limits that a plugin asks for, in the place of the defaults; see [`crate::Limits::of`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RequestedLimits {
    /// Mebibytes of memory.
    pub memory_mib: Option<u32>,
    /// Milliseconds for one call.
    pub time_ms: Option<u32>,
}

impl Manifest {
    /// The mistakes that parsing alone does not find: keys, each with a clause.
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if !is_name(&self.name) {
            wrong.push((
                "name",
                format!(
                    "{:?} is not a name: it must have lower-case letters, digits and hyphens between them, {MAX_NAME} at most",
                    self.name
                ),
            ));
        }
        if self.summary.chars().any(char::is_control) {
            wrong.push(("summary", "it must be one line".into()));
        }
        for filters in [&self.subscribe.inbound, &self.subscribe.outbound] {
            if filters.len() > MAX_LISTED {
                let message = format!(
                    "{} filters are more than the {MAX_LISTED} allowed; `*` at the end of a kind stands for any rest",
                    filters.len()
                );
                wrong.push(("subscribe", message));
            }
            let mistakes = filters.iter().filter_map(|filter| filter.check().err());
            wrong.extend(mistakes.map(|message| ("subscribe", message)));
        }
        if self.emits.len() > MAX_LISTED {
            let message = format!(
                "{} kinds are more than the {MAX_LISTED} allowed",
                self.emits.len()
            );
            wrong.push(("emits", message));
        }
        for kind in self
            .emits
            .iter()
            .filter(|it| it.starts_with(HostKind::PREFIX))
        {
            let message =
                format!("{kind:?} is one of the host's own kinds, which begin with `djangobot.`");
            wrong.push(("emits", message));
        }
        if self.timer.len() > timer::MAX_TIMERS {
            let message = format!(
                "{} timers are more than the {} allowed",
                self.timer.len(),
                timer::MAX_TIMERS
            );
            wrong.push(("timer", message));
        }
        let mut names = BTreeSet::new();
        for timer in self.timer.iter().filter(|timer| !names.insert(&timer.name)) {
            let message = format!("two timers have the name {:?}", timer.name);
            wrong.push(("timer", message));
        }
        let hears = |filter: &Filter| filter.matches_kind(HostKind::Timer.name());
        if !self.timer.is_empty() && !self.subscribe.inbound.iter().any(hears) {
            let message = "it has timers; add \"djangobot.timer\" to `inbound`, which is the kind of their events";
            wrong.push(("subscribe", message.into()));
        }
        let twice = |it: &&Capability| self.capabilities.contains(it);
        if let Some(twice) = self.optional_capabilities.iter().find(twice) {
            let message = format!("{twice} is in `capabilities` as well; list it in one of them");
            wrong.push(("optional-capabilities", message));
        }
        for kind in self.emits.iter().filter(|kind| !is_kind(kind)) {
            let message = format!(
                "{kind:?} is not a kind: it must have letters, digits, `_`, `.` and `-`, {MAX_KIND} at most"
            );
            wrong.push(("emits", message));
        }
        wrong
    }

    /// Whether the plugin is to be called for an event of `kind`.
    pub fn wants(&self, direction: Direction, kind: &str, event: &Event) -> bool {
        self.subscribe.covers(direction, kind, event)
    }

    /// All capabilities that the plugin can use: those that it needs, and then those that are optional.
    pub fn asked(&self) -> Vec<Capability> {
        [&*self.capabilities, &*self.optional_capabilities].concat()
    }

    /// The capabilities that the plugin asks for and `grants` covers. Grants that it does not ask for are left out.
    pub(crate) fn granted(&self, grants: &[Capability]) -> Vec<Capability> {
        let mut asked = self.asked();
        asked.retain(|asked| grants.iter().any(|grant| grant.covers(asked)));
        asked
    }

    /// Whether the manifest lists `kind` among the kinds that the plugin may emit.
    pub fn may_emit(&self, kind: &str) -> bool {
        self.emits.iter().any(|listed| listed == kind)
    }
}

impl Subscriptions {
    /// Whether an event of `kind` is one of the subscribed events.
    pub(crate) fn covers(&self, direction: Direction, kind: &str, event: &Event) -> bool {
        let filters = match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        };
        let mut budget = Budget::new(FILTER_STEPS);
        filters
            .iter()
            .any(|filter| filter.matches(kind, event, &mut budget))
    }
}

impl Filter {
    fn check(&self) -> Result<(), String> {
        let pointers = self.has.len() + self.lacks.len();
        if pointers > MAX_POINTERS {
            return Err(format!(
                "the filter for {:?} has {pointers} pointers, and at most {MAX_POINTERS} are allowed",
                self.kind
            ));
        }
        for pointer in self.has.iter().chain(&self.lacks) {
            if pointer.len() > MAX_POINTER {
                return Err(format!(
                    "a pointer has {} bytes, and at most {MAX_POINTER} are allowed",
                    pointer.len()
                ));
            }
            if !pointer.starts_with('/') {
                return Err(format!(
                    "{pointer:?} is not a JSON pointer, which begins with a slash, as \"/text\" does"
                ));
            }
        }
        Ok(())
    }

    fn matches_kind(&self, kind: &str) -> bool {
        match self.kind.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == self.kind,
        }
    }

    /// Whether the event fits. Where finding the fields takes too long, it does: the plugin may be a guard, which has
    /// to see an event rather once too often.
    fn matches(&self, kind: &str, event: &Event, budget: &mut Budget) -> bool {
        let mut leads = |pointer: &String| event.has_within(pointer, budget);
        self.matches_kind(kind)
            && self
                .has
                .iter()
                .all(|pointer| leads(pointer).unwrap_or(true))
            && self
                .lacks
                .iter()
                .all(|pointer| !leads(pointer).unwrap_or(false))
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
                "{:?} is not a kind: `*` may stand at its end only, as in \"reaction_*\"",
                filter.kind
            ));
        }
        Ok(filter)
    }
}

/// Whether `name` may be the name of a plugin.
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
    fn an_optional_capability_is_held_only_if_it_was_granted() {
        let text = format!("optional-capabilities = [\"slack\", \"http:*.a.com\"]\n{WHOLE}");
        let manifest = Manifest::parse(&text).unwrap();
        let grants = |texts: &[&str]| -> Vec<Capability> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let needed = ["store", "http:api.example.com"];
        assert_eq!(manifest.granted(&grants(&needed)), grants(&needed));
        let held = manifest.granted(&grants(&["slack", "secrets:KEY"]));
        assert_eq!(held, grants(&["slack"]));
        let error = Manifest::parse(&format!("optional-capabilities = [\"store\"]\n{WHOLE}"));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("optional-capabilities: store is in"),
            "{error}"
        );
    }

    #[test]
    fn a_manifest_that_is_nested_deep_is_refused_and_not_followed() {
        for text in [
            format!("config-schema{} = 1", ".a".repeat(50_000)),
            format!("[config-schema{}]", ".a".repeat(50_000)),
            format!("config-schema = {}", "[".repeat(50_000)),
            format!("config-schema = {}", "{a=".repeat(50_000)),
        ] {
            let text = format!("name = \"a\"\nversion = \"1.0.0\"\n{text}\n");
            let error = Manifest::parse(&text).unwrap_err();
            assert!(error.to_string().contains("plugin.toml line "), "{error}");
        }
    }

    #[test]
    fn filters_take_a_bounded_time_and_then_let_the_plugin_see_the_event() {
        let manifest = Manifest::parse(
            "name = \"a\"\nversion = \"1.0.0\"\n[subscribe]\ninbound = [{ kind = \"m\", has = [\"/a/199999\"], lacks = [\"/b\"] }]",
        )
        .unwrap();
        let event = |count: usize| {
            let list = vec!["0"; count].join(",");
            Event::parse(format!("{{\"a\":[{list}]}}")).unwrap()
        };
        let wants = |count| manifest.wants(Direction::Inbound, "m", &event(count));
        assert!(!wants(1_000));
        assert!(wants(200_000));
    }

    #[test]
    fn a_mistake_is_named_with_its_key() {
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
        let many = |list: String| format!("name = \"a\"\nversion = \"1.0.0\"\n{list}");
        check(
            &many(format!("emits = [{}]", "\"a\",".repeat(101))),
            "101 kinds",
        );
        let filters = "\"a\",".repeat(101);
        check(
            &many(format!("[subscribe]\ninbound = [{filters}]")),
            "101 filters",
        );
        let pointers = "\"/a\",".repeat(17);
        check(
            &many(format!(
                "[subscribe]\ninbound = [{{ kind = \"a\", has = [{pointers}] }}]"
            )),
            "17 pointers",
        );
        check(
            &many(format!(
                "[subscribe]\ninbound = [{{ kind = \"a\", lacks = [\"/{}\"] }}]",
                "a".repeat(256)
            )),
            "257 bytes",
        );
        check(
            &many(format!("summary = \"{}\"", "a".repeat(MAX_TEXT))),
            "256 KiB",
        );
    }
}
