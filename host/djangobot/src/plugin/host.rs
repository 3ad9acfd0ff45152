//! The running host, if there is one: the commands ask it for statuses, and let it load changes.

use djangobot_plugins::LockEntry;
use serde::Deserialize;

use crate::control;
use crate::failure::Failure;
use crate::plugin::error::PluginError;
use crate::plugin::host_files::HostFiles;
use crate::plugin::shown::{line, print};
use crate::telemetry::Terminal;

/// The status of a plugin, as the running host reports it. Fields that an older or newer host does not report are
/// empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) state: String,
    /// A sentence about the state, if the plugin is not simply running.
    pub(super) why: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) calls: Option<u64>,
    pub(super) errors: Option<u64>,
    pub(super) traps: Option<u64>,
    pub(super) timeouts: Option<u64>,
    pub(super) bad_answers: Option<u64>,
    pub(super) over_budget: Option<u64>,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) instances: Option<u64>,
}

impl Status {
    /// Counts of failed calls, by kind. The kinds are predicates for a sentence; those with no failure are left out.
    pub(super) fn failures(&self) -> Vec<(&'static str, u64)> {
        let kinds = [
            ("trapped", self.traps),
            ("took too long", self.timeouts),
            ("returned an error", self.errors),
            ("gave a bad answer", self.bad_answers),
            ("went over a limit", self.over_budget),
        ];
        let counted = kinds
            .into_iter()
            .filter_map(|(kind, count)| Some((kind, count?)));
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

/// The host's answer to a reload.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReloadAnswer {
    plugins: Vec<Status>,
    error: Option<String>,
}

/// Asks the running host for the statuses of its plugins; `None` if no host runs.
pub(super) async fn statuses(files: &HostFiles) -> Result<Option<Vec<Status>>, Failure> {
    let answer = control::plugins(&files.state).await;
    let Some(answer) = answer.map_err(Failure::failed)? else {
        return Ok(None);
    };
    let statuses = serde_json::from_value(answer).map_err(PluginError::below)?;
    Ok(Some(statuses))
}

/// Lets the running host try the version that is about to be pinned. If no host runs, the next one to start will try
/// it.
///
/// # Errors
/// The host refuses the version, or can't be asked.
pub(super) async fn propose(
    files: &HostFiles,
    locked: &LockEntry,
    terminal: &Terminal,
) -> Result<(), PluginError> {
    let proposal = serde_json::to_value(locked).map_err(PluginError::below)?;
    let work = terminal.work("loading the plugin");
    let answer = control::propose(&files.state, &proposal).await;
    drop(work);
    let Some(why) = answer
        .map_err(PluginError::below)?
        .and_then(|answer| answer["refused"].as_str().map(line))
    else {
        return Ok(());
    };
    // A bridge and `dev` may both run on this state. The one that accepted the version must go back to the pinned one.
    control::reload(&files.state)
        .await
        .map_err(PluginError::below)?;
    Err(PluginError::Refused {
        name: locked.name.clone(),
        version: locked.version.to_string(),
        why,
    })
}

/// Lets the running host load config and lock as they were written, and prints the states of the plugins in `names`.
pub(super) async fn take_up(
    files: &HostFiles,
    names: &[&str],
    terminal: &Terminal,
) -> Result<(), Failure> {
    let work = terminal.work("loading the plugins");
    let answer = control::reload(&files.state).await;
    drop(work);
    let Some(answer) = answer.map_err(Failure::failed)? else {
        print("No djangobot is running here; the change takes effect when one starts.\n")?;
        return Ok(());
    };
    let reloaded: ReloadAnswer = serde_json::from_value(answer).map_err(PluginError::below)?;
    let written = || files.config.display().to_string();
    if let Some(error) = reloaded.error {
        return Err(PluginError::NotTaken(written(), line(&error)).into());
    }
    let mut refused = Vec::new();
    for name in names {
        match reloaded.plugins.iter().find(|status| status.name == *name) {
            None => print(&format!("The running djangobot has no plugin {name}.\n"))?,
            Some(status) if status.state == "refused" => refused.push(sentence(status)),
            Some(status) => print(&format!("{}\n", sentence(status)))?,
        }
    }
    match refused.is_empty() {
        true => Ok(()),
        false => Err(PluginError::NotTaken(written(), refused.join("; ")).into()),
    }
}

/// Describes a status: `resolve-names 1.2.0 is running`, with the reason if the host gives one.
fn sentence(status: &Status) -> String {
    let mut text = status.name.clone();
    if let Some(version) = &status.version {
        text = format!("{text} {version}");
    }
    text = match status.state.as_str() {
        "on-trial" => format!("{text} is running, on trial"),
        state => format!("{text} is {state}"),
    };
    if let Some(why) = &status.why {
        text = format!("{text}: {why}");
    }
    line(&text)
}
