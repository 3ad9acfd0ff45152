//! `djangobot plugin info`: shows one plugin in detail.

use std::fmt::Write;

use djangobot_plugins::{Artifact, Capability, LockEntry, PluginConfig};
use indicatif::HumanBytes;

use crate::cli::InfoArgs;
use crate::failure::Failure;
use crate::plugin::host::{self, Status};
use crate::plugin::host_files::HostFiles;
use crate::plugin::list::{in_json, kinds, micros, print_json, status};
use crate::plugin::shown::{description, line, print};
use crate::telemetry::Terminal;

/// Shows manifest, state, source, grants and figures of one plugin.
pub(super) async fn info(args: InfoArgs, terminal: &Terminal) -> Result<(), Failure> {
    let files = HostFiles::open(&args.files, terminal)?;
    let plugin = files.plugin(&args.name)?;
    let lock = files.read_lock()?;
    let live = host::statuses(&files).await?;
    let status = status(plugin, &lock, live.as_deref());
    if args.json {
        let value = in_json(plugin, &status, live.is_some());
        return print_json(&value).map_err(Failure::from);
    }
    let mut text = match lock.get(&args.name) {
        Some(locked) => of_component(&files, locked),
        None => format!("{}\n", plugin.name),
    };
    say(&mut text, "state", &state(&status, live.is_some()));
    say(&mut text, "source", &plugin.source);
    if let Some(sha256) = &status.sha256 {
        say(&mut text, "sha256", sha256);
    }
    if let Some(sources) = lock.get(&args.name).and_then(|locked| locked.sources) {
        say(&mut text, "sources", &sources.to_string());
    }
    let grants = words(&plugin.grants);
    say(
        &mut text,
        "granted",
        if grants.is_empty() {
            "nothing"
        } else {
            &grants
        },
    );
    say(&mut text, "on error", on_error(plugin));
    if live.is_some() {
        for (name, figure) in figures(&status) {
            say(&mut text, name, &figure);
        }
    }
    print(&text)?;
    Ok(())
}

/// Describes the component by its own manifest, or says why that can't be read.
fn of_component(files: &HostFiles, locked: &LockEntry) -> String {
    let artifact = files
        .components
        .get(&locked.sha256)
        .map_err(|error| error.to_string())
        .and_then(|bytes| Artifact::read(&bytes).map_err(|error| error.to_string()));
    match artifact {
        Ok(artifact) => {
            let mut text = description(&artifact.manifest);
            let unasked = artifact.unasked();
            if !unasked.is_empty() {
                let why = "it imports that, and its manifest does not ask for it";
                say(
                    &mut text,
                    "denied",
                    &format!("{}: {why}", unasked.join(", ")),
                );
            }
            if let Some(pinned) = &artifact.script
                && let Some(engine) = &pinned.engine
            {
                let language = pinned.script.language.title();
                say(&mut text, "engine", &format!("{language}, sha256 {engine}"));
            }
            text
        }
        Err(error) => {
            let mut text = format!("{} {}\n", locked.name, locked.version);
            say(&mut text, "component", &error);
            text
        }
    }
}

fn state(status: &Status, live: bool) -> String {
    let mut text = status.state.clone();
    if let Some(why) = &status.why {
        let _ = write!(text, ": {why}");
    }
    match live {
        true => text,
        false => format!("{text} (no djangobot is running here)"),
    }
}

fn figures(status: &Status) -> Vec<(&'static str, String)> {
    let counts = [("calls", status.calls), ("instances", status.instances)];
    let mut figures: Vec<_> = counts
        .into_iter()
        .filter_map(|(what, count)| Some((what, count?.to_string())))
        .collect();
    figures.push(("failed", kinds(status)));
    let times = [("p50", status.p50_us), ("p99", status.p99_us)];
    figures.extend(
        times
            .into_iter()
            .filter_map(|(what, time)| Some((what, micros(time?)))),
    );
    if let Some(bytes) = status.memory_bytes {
        figures.push(("memory", HumanBytes(bytes).to_string()));
    }
    figures
}

fn on_error(plugin: &PluginConfig) -> &'static str {
    match plugin.on_error {
        djangobot_plugins::OnError::Pass => "the event goes on without the plugin (pass)",
        djangobot_plugins::OnError::Drop => "the event is dropped (drop)",
        djangobot_plugins::OnError::Hold => "the event waits, and its conversation with it (hold)",
    }
}

fn words(capabilities: &[Capability]) -> String {
    let words: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// Adds a line with a name and a value.
fn say(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<9} {}", line(value));
}
