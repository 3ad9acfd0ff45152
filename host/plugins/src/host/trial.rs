//! Trials of new versions: how long they last, when a version fails one, and the version that comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::digest::Digest;
use crate::entry::Predecessor;
use crate::runtime::load::{LoadError, Parts};
use crate::runtime::plugin::Plugin;
use crate::versions::Rollback;

/// How long a new version is on trial.
pub(crate) const TRIAL: Duration = Duration::from_secs(60);
/// A version is judged only after so many failures: one odd event must not roll it back.
const TRIAL_FAILURES: u64 = 3;

/// The result of a trial.
#[derive(Clone, Debug)]
pub enum TrialOutcome {
    /// The version before serves again.
    RolledBack(Box<Rollback>),
    /// The plugin of this name passed its trial with this component.
    Settled(String, Digest),
}

/// Why a new version is worse than the one before, if it is: it fails on more than a tenth of its events, and at more
/// than twice the rate of the other. A version of an earlier process has no counts here, and is taken for one without
/// failures.
pub(crate) fn worse(new: &Plugin, before: &Predecessor) -> Option<String> {
    let rate = |plugin: &Plugin| {
        let calls = plugin.stats.calls.load(Relaxed).max(1);
        plugin.stats.failures() as f64 / calls as f64
    };
    let rate_before = match before {
        Predecessor::Served(plugin) => rate(plugin),
        Predecessor::Pinned(_) => 0.0,
    };
    let (failures, calls) = (new.stats.failures(), new.stats.calls.load(Relaxed));
    let is_worse = failures >= TRIAL_FAILURES && rate(new) > (2.0 * rate_before).max(0.1);
    is_worse.then(|| {
        let last = new.last_failure().unwrap_or_default();
        format!("it failed on {failures} of {calls} events, most recently because {last}")
    })
}

/// The version before, ready to serve. If it served in an earlier process, it is loaded first.
pub(crate) async fn bring_back(
    parts: &Parts,
    before: Predecessor,
) -> Result<Arc<Plugin>, LoadError> {
    let wanted = match before {
        Predecessor::Served(plugin) => return Ok(plugin),
        Predecessor::Pinned(wanted) => wanted,
    };
    let candidate = parts.candidate(*wanted).await?;
    candidate.rehearse(None, &[], None).await?;
    let instances = candidate.start().await?;
    Ok(Arc::new(candidate.into_plugin(instances)))
}
