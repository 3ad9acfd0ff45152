//! The tests beside a plugin: events in `tests/*.json` of its folder, each with what the plugin has to make of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use djangobot_event::Event;
use djangobot_plugins::{Direction, PluginOutput};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use similar::TextDiff;

use crate::plugin::error::PluginError;
use crate::plugin::shown::plain;
use crate::plugin::test::value;
use crate::team::Team;

/// The folder with the tests, in a plugin's folder.
const FOLDER: &str = "tests";

/// One test: an event, and what becomes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Fixture {
    /// The behaviour that is tested, in words.
    #[serde(default)]
    pub(super) name: String,
    /// The plugin's config.
    pub(super) config: Option<Value>,
    /// Whether the event is a message that an app puts on slack.send.
    #[serde(default)]
    outbound: bool,
    /// The users that the roster knows, as Slack's `users.info` gives them.
    #[serde(default)]
    users: Vec<Value>,
    /// The conversations that it knows, as Slack's `conversations.info` gives them.
    #[serde(default)]
    conversations: Vec<Value>,
    /// The event before the plugin.
    pub(super) before: Value,
    /// The event after the plugin, or the events that have replaced it.
    after: Option<Value>,
    /// The reason for which the plugin drops it.
    dropped: Option<String>,
    /// A part of the error that the plugin returns.
    error: Option<String>,
    /// The events that the plugin emits: each with its `kind` and its `body`.
    #[serde(default)]
    emits: Vec<Value>,
    /// The messages that it sends to Slack.
    #[serde(default)]
    sends: Vec<Value>,
}

/// A test with its place, for people.
pub(super) struct Placed {
    pub(super) place: String,
    pub(super) fixture: Fixture,
}

/// Reads the tests of the plugin in `folder`, in the order of their files' names.
pub(super) fn read(folder: &Path) -> Result<Vec<Placed>, PluginError> {
    let tests = folder.join(FOLDER);
    let unread = |path: &Path, reason| PluginError::Unread {
        path: path.to_owned(),
        reason,
    };
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(&tests) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(reason) => return Err(unread(&tests, reason)),
    };
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|reason| unread(&path, reason))?;
        let wrong = |position: String, error: serde_json::Error| PluginError::NoFixture {
            path: path.clone(),
            position,
            reason: error.to_string(),
        };
        let values =
            match serde_json::from_str(&text).map_err(|error| wrong("JSON".into(), error))? {
                Value::Array(values) => values,
                one => vec![one],
            };
        for (at, value) in values.into_iter().enumerate() {
            let fixture: Fixture = serde_json::from_value(value)
                .map_err(|error| wrong(format!("test {}", at + 1), error))?;
            let file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let name = match fixture.name.is_empty() {
                true => format!("test {}", at + 1),
                false => fixture.name.clone(),
            };
            all.push(Placed {
                place: format!("{FOLDER}/{file}: {name}"),
                fixture,
            });
        }
    }
    match all.is_empty() {
        true => Err(PluginError::NoFixtures(tests)),
        false => Ok(all),
    }
}

impl Fixture {
    pub(super) fn direction(&self) -> Direction {
        match self.outbound {
            true => Direction::Outbound,
            false => Direction::Inbound,
        }
    }

    /// A team with the fixture's users and conversations.
    pub(super) fn team(&self) -> Result<Team, PluginError> {
        let team = Team::new();
        let users = self
            .users
            .iter()
            .map(|user| json!({"type": "user_change", "user": user}));
        let conversations = self.conversations.iter();
        let conversations =
            conversations.map(|it| json!({"type": "channel_joined", "channel": it}));
        for event in users.chain(conversations) {
            let event = Event::from_value(&event).map_err(PluginError::below)?;
            team.roster().apply(&event);
        }
        Ok(team)
    }

    /// The outcome that the test expects, in the form of [`outcome`].
    fn expected(&self) -> Value {
        let mut expected = Map::new();
        let after = match &self.after {
            Some(Value::Array(events)) => Some(events.clone()),
            Some(event) => Some(vec![event.clone()]),
            // A test that says nothing expects the event as it was.
            None if self.dropped.is_none() && self.error.is_none() => {
                Some(vec![self.before.clone()])
            }
            None => None,
        };
        if let Some(after) = after {
            expected.insert("after".into(), after.into());
        }
        if let Some(reason) = &self.dropped {
            expected.insert("dropped".into(), reason.clone().into());
        }
        if let Some(error) = &self.error {
            expected.insert("error".into(), error.clone().into());
        }
        insert_list(&mut expected, "emits", self.emits.clone());
        insert_list(&mut expected, "sends", self.sends.clone());
        expected.into()
    }

    /// The difference between what the plugin made of the event and what the test expects; `None` if there is none.
    pub(super) fn difference(&self, passed: &PluginOutput) -> Option<String> {
        let expected = self.expected();
        let mut actual = outcome(passed);
        // A test names a part of an error, whose lines and columns change with each edit.
        if let (Some(part), Some(error)) = (&self.error, actual["error"].as_str())
            && error.contains(part.as_str())
        {
            actual["error"] = part.clone().into();
        }
        if actual == expected {
            return None;
        }
        let pretty =
            |value: &Value| plain(&serde_json::to_string_pretty(value).unwrap_or_default()) + "\n";
        let (expected, actual) = (pretty(&expected), pretty(&actual));
        let diff = TextDiff::from_lines(&expected, &actual);
        let mut text = "  - expected\n  + but was\n".to_owned();
        for change in diff.iter_all_changes() {
            let _ = write!(text, "  {}{change}", change.tag());
        }
        Some(text)
    }
}

/// The outcome of an event: `after`, `dropped` or `error`, and `emits` and `sends` if there are any.
fn outcome(passed: &PluginOutput) -> Value {
    let mut outcome = Map::new();
    let (emitted, own): (Vec<_>, Vec<_>) = passed.events.iter().partition(|event| event.emitted);
    match &passed.dropped {
        Some(dropped) if dropped.failed => {
            outcome.insert("error".into(), dropped.reason.as_str().into());
        }
        Some(dropped) => {
            outcome.insert("dropped".into(), dropped.reason.as_str().into());
        }
        None => {
            let after: Vec<_> = own.iter().map(|event| value(&event.body)).collect();
            outcome.insert("after".into(), after.into());
        }
    }
    let emits = emitted
        .iter()
        .map(|event| json!({ "kind": &*event.kind, "body": value(&event.body) }));
    insert_list(&mut outcome, "emits", emits.collect());
    let sends = passed
        .messages
        .iter()
        .map(|message| value(&message.message));
    insert_list(&mut outcome, "sends", sends.collect());
    outcome.into()
}

fn insert_list(map: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        map.insert(key.into(), list.into());
    }
}
