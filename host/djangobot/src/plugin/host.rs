//! The host that is running, if one is: told of a change, and asked how its plugins are.

use djangobot_plugins::Locked;
use serde::Deserialize;

use super::error::PluginError;
use super::place::Place;
use super::shown::{line, print};
use crate::control;
use crate::failure::Failure;
use crate::telemetry::Terminal;

/// How a plugin is, as the running host says; what an older or newer one does not say is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) state: String,
    /// A sentence, where it is not simply running.
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
    /// Calls that came to nothing, by kind, in the words of a sentence; only kinds that there are.
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

/// The answer to a reload.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reloaded {
    plugins: Vec<Status>,
    error: Option<String>,
}

/// The plugins of the running host; `None` where none runs.
pub(super) async fn statuses(place: &Place) -> Result<Option<Vec<Status>>, Failure> {
    let Some(said) = control::plugins(&place.state)
        .await
        .map_err(Failure::failed)?
    else {
        return Ok(None);
    };
    let statuses = serde_json::from_value(said).map_err(PluginError::below)?;
    Ok(Some(statuses))
}

/// Has the running host try what is to be pinned, and says why it does not serve; where no host runs, the next one to start
/// has the word.
pub(super) async fn propose(
    place: &Place,
    locked: &Locked,
    terminal: &Terminal,
) -> Result<(), PluginError> {
    let proposal = serde_json::to_value(locked).map_err(PluginError::below)?;
    let work = terminal.work("loading the plugin");
    let said = control::propose(&place.state, &proposal).await;
    drop(work);
    let Some(why) = said
        .map_err(PluginError::below)?
        .and_then(|said| said["refused"].as_str().map(line))
    else {
        return Ok(());
    };
    // Another host on this state may have taken it up before one refused.
    control::reload(&place.state)
        .await
        .map_err(PluginError::below)?;
    Err(PluginError::Refused {
        name: locked.name.clone(),
        version: locked.version.to_string(),
        why,
    })
}

/// Has the running host take what was written, and says what became of the plugins of `names`.
pub(super) async fn take_up(
    place: &Place,
    names: &[&str],
    terminal: &Terminal,
) -> Result<(), Failure> {
    let work = terminal.work("loading the plugins");
    let said = control::reload(&place.state).await;
    drop(work);
    let Some(said) = said.map_err(Failure::failed)? else {
        print("No djangobot is running here; the next one to start takes it up.\n")?;
        return Ok(());
    };
    let reloaded: Reloaded = serde_json::from_value(said).map_err(PluginError::below)?;
    let written = || place.config.display().to_string();
    if let Some(error) = reloaded.error {
        return Err(PluginError::NotTaken(written(), line(&error)).into());
    }
    let mut refused = Vec::new();
    for name in names {
        match reloaded.plugins.iter().find(|status| status.name == *name) {
            None => print(&format!("The running djangobot is without {name}.\n"))?,
            Some(status) if status.state == "refused" => refused.push(sentence(status)),
            Some(status) => print(&format!("{}\n", sentence(status)))?,
        }
    }
    match refused.is_empty() {
        true => Ok(()),
        false => Err(PluginError::NotTaken(written(), refused.join("; ")).into()),
    }
}

/// `resolve-names 1.2.0 is running`, and why where that is said.
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
