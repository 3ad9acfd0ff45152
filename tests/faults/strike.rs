//! The faults of a plan, carried out and lifted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use local_slack::{Answer, Fault as InEnvelopes, Happening, Reason, Storm};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::plan::{Answered, Fault, Plan, Step};
use crate::stage::{Stage, Wish};

/// The rate of a worker or a socket that is not slowed down.
const NO_LIMIT: Option<u32> = None;

/// How the labels of poison begin.
const POISON: &str = "~p/";

/// Longer than Slack gives anything again.
const LONG: Duration = Duration::from_secs(400);

/// Carries out all that `plan` says, each at its time, and returns when all is over.
pub(crate) async fn all(plan: &Plan, stage: &Stage) {
    let begin = Instant::now();
    let steps = plan.steps.iter().enumerate();
    let steps = steps.map(|(number, step)| one(plan, number, step, begin, stage));
    futures_util::future::join_all(steps).await;
}

/// Takes back what has no end of its own. Poison stays: what it is in has to have its outcome all the same.
pub(crate) fn lift(stage: &Stage) {
    stage
        .control
        .keep_answers(|answer| answer.contains.starts_with(POISON));
    stage.control.clear_faults();
    stage.control.thaw(None);
    stage.control.read_slowly(None, NO_LIMIT);
}

async fn one(plan: &Plan, number: usize, step: &Step, begin: Instant, stage: &Stage) {
    sleep_until(begin + step.at).await;
    // All ends with the traffic; who is down or frozen then comes back.
    let left = plan.length.saturating_sub(begin.elapsed());
    carry_out(&step.fault, number, left, stage).await;
}

async fn carry_out(fault: &Fault, number: usize, left: Duration, stage: &Stage) {
    let (control, host) = (&stage.control, &stage.host);
    match fault {
        Fault::KillHost { down } => {
            let mut host = host.lock().await;
            host.kill().await;
            sleep(*down).await;
            host.start();
        }
        Fault::StopHost { down } => {
            let mut host = host.lock().await;
            host.stop().await;
            sleep(*down).await;
            host.start();
        }
        Fault::HostAway { down } => {
            let mut host = host.lock().await;
            host.kill().await;
            sleep(*down).await;
            let given_up = control.give_up();
            let reactions = given_up
                .iter()
                .filter_map(|it| it["event"]["reaction"].as_str().map(str::to_owned));
            stage.given_up.lock().await.extend(reactions);
            host.let_time_pass(LONG);
            host.start();
        }
        Fault::FreezeHost { time } => {
            let host = host.lock().await;
            host.freeze();
            sleep(left.min(*time)).await;
            host.thaw();
        }
        Fault::KillRedis { down } => {
            let mut redis = stage.redis.lock().await;
            redis.kill();
            sleep(*down).await;
            tokio::task::block_in_place(|| redis.restart());
        }
        Fault::FreezeRedis { time } => {
            let redis = stage.redis.lock().await;
            redis.freeze();
            sleep(left.min(*time)).await;
            redis.thaw();
        }
        Fault::FreezeWorker { time } => {
            let worker = stage.worker.lock().await;
            worker.freeze();
            sleep(left.min(*time)).await;
            worker.thaw();
        }
        Fault::FillDisk { time, room } => {
            host.lock().await.limit(Some(*room));
            sleep(left.min(*time)).await;
            host.lock().await.limit(None);
        }
        Fault::MoveClock { time, by } => {
            set_clock(&stage.folder, *by);
            sleep(left.min(*time)).await;
            set_clock(&stage.folder, 0);
        }
        Fault::CutSockets => drop(control.drop_connections(None)),
        Fault::FreezeSockets { time } => {
            control.freeze(None);
            sleep(left.min(*time)).await;
            control.thaw(None);
        }
        Fault::Goodbye { linger } => drop(control.goodbye(None, Some(*linger)).await),
        Fault::Disconnect { reason } => disconnect(*reason, stage).await,
        Fault::Storm { blows, seed } => {
            let storm = Storm {
                blows: *blows,
                seed: *seed,
                ..Storm::default()
            };
            control.storm(storm).await;
        }
        Fault::SlowReads { time, rate } => {
            control.read_slowly(None, Some(*rate));
            sleep(left.min(*time)).await;
            control.read_slowly(None, NO_LIMIT);
        }
        Fault::Envelopes { happening, times } => {
            let (times, happening) = match happening {
                // Each of these costs a connection.
                Happening::Drop | Happening::Freeze { .. } => ((*times).min(3), *happening),
                _ => (*times, *happening),
            };
            control.fault(InEnvelopes {
                happening,
                times,
                spare: 0,
                probability: None,
                seed: 0,
            });
        }
        Fault::StaleNames { conversation } => {
            let conversation = &stage.conversations[*conversation];
            let name = format!("renamed-{number}");
            control
                .rename_channel(conversation, &name)
                .expect("there is such a conversation");
            stage.wish(Wish::ByName {
                conversation: conversation.clone(),
                name,
            });
        }
        Fault::PoisonCall {
            conversation,
            method,
            how,
        } => {
            let label = prescribe_poison(stage, *conversation, number, method, *how);
            stage.wish(Wish::Poison {
                conversation: stage.conversations[*conversation].clone(),
                method,
                label,
            });
        }
        Fault::Calls { method, how, times } => control.answer(method, answer(*how, *times)),
    }
}

/// Lets all calls of a method fail that hold a label, which is given.
fn prescribe_poison(
    stage: &Stage,
    conversation: usize,
    number: usize,
    method: &str,
    how: Answered,
) -> String {
    let label = format!("{POISON}{}/{number}~", stage.conversations[conversation]);
    let without_end = Answer {
        contains: label.clone(),
        probability: Some(1.0),
        ..answer(how, 0)
    };
    stage.control.answer(method, without_end);
    label
}

/// Slack turned off for the app ends the host, as it should: who supervises it starts it again.
async fn disconnect(reason: Reason, stage: &Stage) {
    if reason != Reason::LinkDisabled {
        stage.control.disconnect(None, reason);
        return;
    }
    stage.host.lock().await.may_end = true;
    stage.control.disconnect(None, reason);
    sleep(Duration::from_secs(2)).await;
    stage.host.lock().await.may_end = false;
}

fn set_clock(folder: &Path, by: i64) {
    let (new, file) = (folder.join("clock.new"), folder.join("clock"));
    // In one step: the host looks at it at any time.
    fs::write(&new, format!("{by:+}\n"))
        .and_then(|()| fs::rename(new, file))
        .expect("the folder can be written");
}

fn answer(how: Answered, times: u64) -> Answer {
    let plain = Answer {
        times,
        ..Answer::default()
    };
    match how {
        Answered::Limited { retry_after } => Answer {
            retry_after: Some(retry_after),
            ..plain
        },
        Answered::Status {
            status,
            carried_out,
        } => Answer {
            status,
            body: Some(json!("<html>no JSON</html>")),
            perform: carried_out,
            ..plain
        },
        Answered::Error { error, carried_out } => Answer {
            error: Some(error.to_owned()),
            perform: carried_out,
            ..plain
        },
        Answered::Cut { carried_out } => Answer {
            hang_up: true,
            perform: carried_out,
            ..plain
        },
        Answered::Truncated => Answer {
            truncate: true,
            ..plain
        },
        Answered::Garbled { carried_out } => Answer {
            body: Some(json!("{\"ok\": tru")),
            perform: carried_out,
            ..plain
        },
        Answered::Late { by } => Answer {
            delay_ms: by.as_millis() as u64,
            ..plain
        },
    }
}
