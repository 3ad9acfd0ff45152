//! `djangobot plugin test`: runs events of a file through a plugin and shows the changes, without Slack, a layer, or an
//! effect on anything outside. Without a file, it runs the tests beside the plugin.

mod fixtures;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use djangobot_event::Event;
use djangobot_plugins::services::http::Fetcher;
use djangobot_plugins::services::secrets::Secrets;
use djangobot_plugins::services::store::Store;
use djangobot_plugins::{
    Artifact, Compiler, Components, Direction, Engine, OnError, Parts, PluginConfig, PluginEvent,
    PluginHost, PluginOutput, Source, State, own_program, set,
};
use serde_json::{Value, json};
use similar::TextDiff;

use crate::bridge::DEFAULT_METHOD;
use crate::cli::TestArgs;
use crate::failure::Failure;
use crate::plugin::error::PluginError;
use crate::plugin::host_files::HostFiles;
use crate::plugin::shown::{line, plain, print};
use crate::state::folder;
use crate::team::Team;
use crate::telemetry::Terminal;

/// The number of unchanged lines that are shown around a change.
const CONTEXT: usize = 2;

/// Runs events through a plugin and shows the changes.
///
/// # Errors
/// The plugin can't be loaded, or fails on an event.
pub(super) async fn test(args: TestArgs, terminal: &Terminal) -> Result<(), Failure> {
    let files = HostFiles::open(&args.files, terminal)?;
    let Some(path) = &args.events else {
        return run_fixtures(&args, &files, terminal).await;
    };
    let events = events(path)?;
    let subject = Subject::of(&args, &files, terminal).await?;
    let team = Team::new();
    if let Some(roster) = files.roster() {
        team.roster().restore(&roster).map_err(PluginError::below)?;
    }
    let host = subject.load(&subject.config, team).await?;
    let direction = match args.outbound {
        true => Direction::Outbound,
        false => Direction::Inbound,
    };
    let mut results = Vec::with_capacity(events.len());
    let mut failed = 0;
    for (n, event) in events.into_iter().enumerate() {
        let Some(kind) = kind_of(&event, direction) else {
            return Err(PluginError::NoEvent {
                path: path.clone(),
                position: format!("event {}", n + 1),
                reason: "it has no \"type\"".into(),
            }
            .into());
        };
        let passing = PluginEvent::new(&format!("test.{}", n + 1), &kind, event.clone());
        let called = host.wants(direction, &passing);
        let passed = host.pass(direction, passing, 0).await;
        failed += usize::from(
            passed
                .dropped
                .as_ref()
                .is_some_and(|dropped| dropped.failed),
        );
        results.push(TestResult {
            kind,
            event,
            called,
            passed,
        });
    }
    if args.json {
        let all: Vec<Value> = results.iter().map(TestResult::in_json).collect();
        print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&all).map_err(PluginError::below)?
        ))?;
    } else {
        let texts = results
            .iter()
            .enumerate()
            .map(|(n, result)| result.text(n + 1));
        print(&texts.collect::<Vec<_>>().join("\n"))?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(PluginError::FailedOn(failed, results.len()).into()),
    }
}

/// Runs the tests in the plugin's folder, and prints what each came to.
async fn run_fixtures(
    args: &TestArgs,
    files: &HostFiles,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let folder = match source_of(args, files)?.0.located(files.home()) {
        Ok(Source::Folder(folder)) => folder,
        Ok(_) => return Err(PluginError::NoFolder(args.plugin.clone()).into()),
        Err(error) => return Err(PluginError::below(error).into()),
    };
    let fixtures = fixtures::read(&folder)?;
    let subject = Subject::of(args, files, terminal).await?;
    let count = fixtures.len();
    let mut failed = 0;
    for fixtures::Placed { place, fixture } in fixtures {
        let direction = fixture.direction();
        let event = Event::from_value(&fixture.before).map_err(PluginError::below)?;
        let Some(kind) = kind_of(&event, direction) else {
            return Err(PluginError::NoFixture {
                path: folder,
                position: place,
                reason: "its `before` has no \"type\"".into(),
            }
            .into());
        };
        // Each test has an instance of its own, so that none depends on what another one left.
        let config = fixture.config.as_ref().unwrap_or(&subject.config);
        let host = subject.load(config, fixture.team()?).await?;
        let passed = host
            .pass(direction, PluginEvent::new("test.1", &kind, event), 0)
            .await;
        match fixture.difference(&passed) {
            None => print(&format!("ok      {}\n", line(&place)))?,
            Some(difference) => {
                failed += 1;
                print(&format!("failed  {}\n{difference}", line(&place)))?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(PluginError::FailedTests(failed, count).into()),
    }
}

/// The kind of an event of this direction; `None` if it has none.
fn kind_of(event: &Event, direction: Direction) -> Option<String> {
    match direction {
        Direction::Inbound => event.text("/type").map(Into::into),
        Direction::Outbound => Some(
            event
                .text("/method")
                .map_or_else(|| DEFAULT_METHOD.to_owned(), Into::into),
        ),
    }
}

/// The source of the plugin that is tested, and its config: of the config file, or as the command line names it.
fn source_of(args: &TestArgs, files: &HostFiles) -> Result<(Source, Value), PluginError> {
    let configured = files
        .plugins
        .iter()
        .find(|plugin| plugin.name == args.plugin);
    match configured {
        Some(plugin) => Ok((
            plugin
                .source
                .parse::<Source>()
                .map_err(PluginError::below)?,
            plugin.config.clone(),
        )),
        None => {
            let here = std::env::current_dir().map_err(PluginError::below)?;
            let (source, _) = Source::given(&args.plugin, &here).map_err(PluginError::below)?;
            Ok((source, json!({})))
        }
    }
}

/// The plugin that is tested.
struct Subject {
    artifact: Artifact,
    source: Source,
    config: Value,
    components: Components,
    /// Shared by all hosts of the plugin, so that its code is compiled and mapped once.
    engine: Engine,
    compiler: Compiler,
    /// Holds the plugin's files for as long as it is tested.
    _scratch: tempfile::TempDir,
}

impl Subject {
    /// Reads or builds the plugin.
    async fn of(args: &TestArgs, files: &HostFiles, terminal: &Terminal) -> Result<Self, Failure> {
        let (source, config) = source_of(args, files)?;
        let config = match &args.plugin_config {
            Some(text) => serde_json::from_str(text)
                .map_err(|error| PluginError::NoConfig(error.to_string()))?,
            None => config,
        };
        let artifact = files.obtain(&source, None, args.yes, terminal).await?;
        let scratch = tempfile::tempdir().map_err(PluginError::below)?;
        let components = Components::of(scratch.path());
        components
            .put_artifact(&artifact)
            .map_err(PluginError::below)?;
        Ok(Self {
            artifact,
            source,
            config,
            components,
            engine: Engine::new().map_err(PluginError::below)?,
            compiler: Compiler::new(
                own_program().map_err(PluginError::below)?,
                folder::open(&files.state)
                    .map_err(PluginError::State)?
                    .join("cache"),
            ),
            _scratch: scratch,
        })
    }

    /// Makes a host with this plugin alone. It is granted all that it asks for, and its store is empty and not kept.
    async fn load(&self, config: &Value, team: Team) -> Result<PluginHost, Failure> {
        let artifact = &self.artifact;
        let config = PluginConfig {
            // With `pass`, a failure would look like an unchanged event.
            on_error: OnError::Drop,
            grants: artifact.manifest.asked(),
            config: config.clone(),
            ..PluginConfig::new(&artifact.manifest.name, &self.source.to_string())
        };
        let path = self.components.path(&artifact.digest);
        let wanted = set::wanted(&config, &artifact.component, path).map_err(PluginError::Below)?;
        let host = PluginHost::new(Parts {
            engine: self.engine.clone(),
            compiler: self.compiler.clone(),
            roster: Arc::new(team),
            store: Store::in_memory().map_err(PluginError::below)?,
            http: Fetcher::new(false),
            slack: Arc::new(()),
            secrets: Arc::new(Secrets::new(None, Vec::new())),
        });
        host.apply(vec![Ok(wanted)]).await;
        match host.statuses().into_iter().next() {
            Some(status) if status.state == State::Running => Ok(host),
            status => {
                let why = status.and_then(|status| status.why).unwrap_or_default();
                Err(PluginError::NotLoaded(config.name, line(&why)).into())
            }
        }
    }
}

/// Reads the events of a file: one JSON object, an array of objects, or one object a line.
fn events(path: &PathBuf) -> Result<Vec<Event>, PluginError> {
    let text = std::fs::read_to_string(path).map_err(|reason| PluginError::Unread {
        path: path.clone(),
        reason,
    })?;
    let wrong = |position: String, reason: String| PluginError::NoEvent {
        path: path.clone(),
        position,
        reason,
    };
    let values: Vec<Value> = match serde_json::from_str(&text) {
        Ok(Value::Array(events)) => events,
        Ok(event) => vec![event],
        Err(whole) => {
            let lines = text.lines().enumerate();
            let mut lines = lines.filter(|(_, line)| !line.trim().is_empty()).peekable();
            // If the first line is JSON by itself, there is one event a line; otherwise the whole file is one JSON
            // text.
            let is_by_line = lines
                .peek()
                .is_some_and(|(_, line)| serde_json::from_str::<Value>(line).is_ok());
            if !is_by_line {
                return Err(wrong("JSON".into(), whole.to_string()));
            }
            let mut events = Vec::new();
            for (at, line) in lines {
                let event = serde_json::from_str(line).map_err(|error| {
                    // serde_json counts lines within this line; the message names the line of the file instead.
                    let reason = error.to_string().replace(" at line 1 column", " at column");
                    wrong(format!("line {}", at + 1), reason)
                })?;
                events.push(event);
            }
            events
        }
    };
    let events = values.iter().enumerate().map(|(n, value)| {
        Event::from_value(value)
            .map_err(|error| wrong(format!("event {}", n + 1), error.to_string()))
    });
    events.collect()
}

/// The result for one event.
struct TestResult {
    kind: String,
    /// The event before the plugin.
    event: Event,
    /// Whether the plugin subscribes to it.
    called: bool,
    passed: PluginOutput,
}

impl TestResult {
    fn in_json(&self) -> Value {
        let events = self.passed.events.iter().map(|event| {
            json!({ "kind": &*event.kind, "emitted": event.emitted, "event": value(&event.body) })
        });
        let messages = self
            .passed
            .messages
            .iter()
            .map(|message| value(&message.message));
        json!({
            "kind": self.kind,
            "called": self.called,
            "before": value(&self.event),
            "after": events.collect::<Vec<_>>(),
            "messages": messages.collect::<Vec<_>>(),
            "dropped": self.passed.dropped.as_ref().map(|dropped| dropped.reason.as_str()),
            "failed": self.passed.dropped.as_ref().is_some_and(|dropped| dropped.failed),
        })
    }

    fn text(&self, number: usize) -> String {
        let mut text = format!("event {number}, {}", line(&self.kind));
        if !self.called {
            text.push_str(": the plugin does not subscribe to it\n");
            return text;
        }
        match &self.passed.dropped {
            Some(dropped) if dropped.failed => {
                let _ = writeln!(text, ": the plugin failed: {}", line(&dropped.reason));
            }
            Some(dropped) => {
                let _ = writeln!(text, ": dropped: {}", line(&dropped.reason));
            }
            None => text.push('\n'),
        }
        for event in &self.passed.events {
            if event.emitted {
                let _ = writeln!(
                    text,
                    "+ emits {}\n{}",
                    line(&event.kind),
                    indented(&pretty(&event.body), "+ ")
                );
                continue;
            }
            let (before, after) = (pretty(&self.event), pretty(&event.body));
            if before == after {
                text.push_str("  unchanged\n");
                continue;
            }
            let diff = TextDiff::from_lines(&before, &after);
            let hunks = diff.unified_diff().context_radius(CONTEXT).to_string();
            let shown = hunks
                .lines()
                .filter(|line| !line.starts_with("@@") && !line.starts_with('\\'));
            shown.for_each(|shown| {
                let _ = writeln!(text, "{}", plain(shown));
            });
        }
        for message in &self.passed.messages {
            let _ = writeln!(
                text,
                "+ sends to Slack\n{}",
                indented(&pretty(&message.message), "+ ")
            );
        }
        text
    }
}

fn value(event: &Event) -> Value {
    let mut json = Vec::new();
    event.write_json(&mut json);
    serde_json::from_slice(&json).unwrap_or_default()
}

fn pretty(event: &Event) -> String {
    let text = serde_json::to_string_pretty(&value(event)).unwrap_or_default();
    plain(&text) + "\n"
}

fn indented(text: &str, with: &str) -> String {
    text.lines()
        .map(|line| format!("{with}{line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
