//! One run: traffic and faults until the plan's end, then rest, then the verdict.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::aof::Told;
use crate::evidence::{Evidence, unfinished};
use crate::plan::Plan;
use crate::stage::Stage;
use crate::traffic::Written;
use crate::verdict::Verdict;
use crate::{strike, traffic};

/// Nothing that moves at all stands still for so long: the slowest is the host's pause between attempts to connect.
const STANDSTILL: Duration = Duration::from_secs(75);
/// A reader handles a message that it took from an empty channel within this time, or never.
const IN_HAND: Duration = Duration::from_secs(5);
/// How often the evidence is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    pub(crate) verdict: Verdict,
    pub(crate) took: Duration,
    /// Where the files are, if they are kept.
    pub(crate) kept: Option<PathBuf>,
}

/// Runs `plan`. The folder of a run that failed is kept.
pub(crate) async fn run(plan: Plan, keep: bool) -> Outcome {
    let began = Instant::now();
    let prefix = format!("djangobot-faults-{}-{}-", plan.transport.name(), plan.seed);
    let folder = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir()
        .expect("there is room for a folder");
    let path = folder.path().to_owned();
    let running = plan.clone();
    // In a task of its own: what panics in it is the run's failure, and other runs go on.
    let judged = tokio::spawn(async move { play(&running, &path).await }).await;
    let verdict = judged.unwrap_or_else(|error| {
        let mut verdict = Verdict::default();
        verdict.broke(format!("the run itself failed: {error}"));
        verdict
    });
    let keep = keep || !verdict.broken.is_empty();
    let kept = keep.then(|| folder.keep());
    if let Some(kept) = &kept {
        // For whoever looks at it later.
        let _ = std::fs::write(kept.join("plan.txt"), plan.to_string());
        let _ = std::fs::write(kept.join("verdict.txt"), verdict.broken.join("\n"));
    }
    Outcome {
        plan,
        verdict,
        took: began.elapsed(),
        kept,
    }
}

async fn play(plan: &Plan, folder: &Path) -> Verdict {
    let stage = Stage::set(plan, folder).await;
    let (written, _, ()) = tokio::join!(
        traffic::people(plan, &stage),
        traffic::sends(plan, &stage),
        strike::all(plan, &stage)
    );
    strike::lift(&stage);
    let (came_to_rest, told) = rest(&stage, &written).await;
    stage.close().await;
    let mut evidence = Evidence::gather(&stage, &written, told).await;
    evidence.lives = std::mem::take(&mut stage.host.lock().await.lives);
    let mut verdict = Verdict::judge(plan, &evidence);
    for words in &stage.host.lock().await.deserted {
        verdict.broke(format!("the host ended by itself: {words}"));
    }
    if came_to_rest {
        nothing_is_left(&stage, &mut verdict).await;
    }
    verdict
}

/// Waits until all is handled and posted, for as long as anything moves. Gives whether it came to that, and what was read
/// of Redis's log.
async fn rest(stage: &Stage, written: &Written) -> (bool, Told) {
    let (mut progress, mut activity, mut moved) = ([0; 5], 0, Instant::now());
    let mut told = Told::default();
    loop {
        let evidence = Evidence::gather(stage, written, told).await;
        let sender_is_done = stage.sender.lock().await.ended().is_some();
        let (pending, is_empty) = (evidence.pending(), queued(stage).await.is_empty());
        if sender_is_done && is_empty && pending.events == 0 && pending.sends == 0 {
            // Messages that the reader lost never come; those that it has in hand come soon.
            if pending.taken == 0 || moved.elapsed() > IN_HAND {
                return (true, evidence.told);
            }
        }
        let now = (evidence.progress(), stage.host.lock().await.activity());
        if now != (progress, activity) {
            ((progress, activity), moved) = (now, Instant::now());
        } else if moved.elapsed() > STANDSTILL {
            return (false, evidence.told);
        }
        told = evidence.told;
        sleep(LOOK).await;
    }
}

/// The channels of the run, and the keys of who reads them, that are not empty.
async fn queued(stage: &Stage) -> Vec<String> {
    let redis = stage.redis.lock().await;
    let keys = tokio::task::block_in_place(|| redis.cli(&["KEYS", "asgi*"]));
    // The host's leases on what it reads stay for a day.
    let stays = |key: &&str| *key != "asgislack.send{asgislack.send}$djangobot";
    let ours = [
        "asgislack.message",
        "asgislack.app_mention",
        "asgislack.reaction_added",
        "asgislack.send",
        "asgifaults.outcome",
    ];
    keys.lines()
        .filter(stays)
        .filter(|key| ours.iter().any(|ours| key.starts_with(ours)))
        .map(ToOwned::to_owned)
        .collect()
}

async fn nothing_is_left(stage: &Stage, verdict: &mut Verdict) {
    let queued = queued(stage).await;
    if !queued.is_empty() {
        verdict.broke(format!("left on the layer: {}", queued.join(", ")));
    }
    let state = stage.host.lock().await.state().join("state.db");
    match unfinished(&state) {
        Ok(rows) => {
            for (table, rows) in rows {
                verdict.broke(format!("left in the host's {table}: {rows} rows"));
            }
        }
        Err(error) => verdict.broke(format!("the host's state can't be read: {error}")),
    }
}
