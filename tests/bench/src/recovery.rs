//! How long events stay away after a fault: from its end, or its beginning where it has none, to the first event that
//! is in Redis again; and how many had been acknowledged to Slack and never came.

mod fault;
mod stream;

use std::time::{Duration, Instant};

use djangobot_tests::Redis;
use futures_util::future::join_all;

use crate::queue::Queue;
use crate::socket_mode::{SocketMode, Taker};
use crate::statistics::quantile;
use crate::table::{Table, short, whole};
use fault::Fault;
use stream::Stream;

const ROUNDS: usize = 3;
/// How long Slack waits for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long an event is waited for.
const LIMIT: Duration = Duration::from_secs(75);
/// How long events go on after that.
const AFTER: Duration = Duration::from_millis(300);
/// An event that has not come when nothing has for so long will never come.
const QUIET: Duration = Duration::from_secs(2);

/// The effect of one fault on one taker.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// Until the first event; `None` where none came within [`LIMIT`].
    first: Option<Duration>,
    acknowledged: usize,
    lost: usize,
}

pub(crate) async fn measure() -> String {
    let mut table = Table::new([
        "fault",
        "djangobot: first event after, ms, median (min - max)",
        "acknowledged and lost",
        "slack_bolt: first event after, ms",
        "acknowledged and lost",
        "times as soon",
    ]);
    for fault in [Fault::RedisRestarted, Fault::RedisFrozen, Fault::Killed] {
        let [mut ours, mut bolts] = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            ours.push(once(Taker::Djangobot, fault).await);
            bolts.push(once(Taker::Bolt, fault).await);
        }
        row(&mut table, fault.name(), &ours, &bolts);
    }
    let mut dropped = Vec::new();
    for _ in 0..ROUNDS {
        dropped.push(once(Taker::Djangobot, Fault::SocketsDropped).await);
    }
    // The others take long, and little is done meanwhile: they are had side by side.
    let all = |taker, fault| join_all((0..ROUNDS).map(move |_| once(taker, fault)));
    let (bolts_dropped, one_of_two, silent, bolts_silent) = tokio::join!(
        all(Taker::Bolt, Fault::SocketsDropped),
        all(Taker::Djangobot, Fault::OneSilent),
        all(Taker::Djangobot, Fault::AllSilent),
        all(Taker::Bolt, Fault::AllSilent),
    );
    for (fault, ours, bolts) in [
        (Fault::SocketsDropped, dropped, &bolts_dropped),
        (Fault::OneSilent, one_of_two, &bolts_silent),
        (Fault::AllSilent, silent, &bolts_silent),
    ] {
        row(&mut table, fault.name(), &ours, bolts);
    }
    table.finish()
}

fn row(table: &mut Table, fault: &str, ours: &[Outcome], bolts: &[Outcome]) {
    let lost = |outcomes: &[Outcome]| {
        let sum = |part: fn(&Outcome) -> usize| outcomes.iter().map(part).sum::<usize>() as f64;
        format!(
            "{} of {}",
            whole(sum(|it| it.lost)),
            whole(sum(|it| it.acknowledged))
        )
    };
    let ratio = middle(bolts) / middle(ours);
    table.row([
        fault,
        &times(ours),
        &lost(ours),
        &times(bolts),
        &lost(bolts),
        &if ratio.is_finite() {
            format!("{} x", short(ratio))
        } else {
            "-".into()
        },
    ]);
}

/// In milliseconds; without end where no event came.
fn millis(outcomes: &[Outcome]) -> Vec<f64> {
    let millis = |it: &Outcome| {
        it.first
            .map_or(f64::INFINITY, |first| first.as_secs_f64() * 1e3)
    };
    outcomes.iter().map(millis).collect()
}

fn middle(outcomes: &[Outcome]) -> f64 {
    quantile(millis(outcomes), 0.5)
}

fn times(outcomes: &[Outcome]) -> String {
    let at = |part| match quantile(millis(outcomes), part) {
        never if never.is_infinite() => format!("over {}", whole(LIMIT.as_secs_f64() * 1e3)),
        millis => short(millis),
    };
    format!("{} ({} - {})", at(0.5), at(0.0), at(1.0))
}

/// One fault that befalls a taker with a Slack and a Redis of its own, under a stream of events.
async fn once(taker: Taker, fault: Fault) -> Outcome {
    // After a restart, it has the events that it acknowledged, too.
    let mut redis = Redis::with_args(&["--appendonly", "yes"]);
    let mut app = SocketMode::start(taker, redis.port(), PATIENCE).await;
    let mut queue = Queue::channels_redis(redis.port()).await;
    tokio::time::sleep(fault.after()).await;
    let stream = Stream::start(&app, fault.rate(taker));
    queue.wait_for(20).await.of_all(20);

    let struck = fault.strike(&mut app, &mut redis, &stream).await;
    let mut queue = Queue::channels_redis(redis.port()).await;
    let first = stream::first_of(&mut queue, struck.from, LIMIT).await;
    tokio::time::sleep(AFTER).await;
    drop(stream);

    let (mut before, mut moved) = (0, Instant::now());
    let (acknowledged, lost) = loop {
        let (acknowledged, lost) = stream::account(&app, &mut queue).await;
        let came = queue.length().await;
        if came != before {
            (before, moved) = (came, Instant::now());
        }
        if lost == 0 || moved.elapsed() > QUIET {
            break (acknowledged, lost);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    app.stop().await;
    Outcome {
        first: first.map(|first| first.saturating_duration_since(struck.over)),
        acknowledged,
        lost,
    }
}
