//! Socket Mode to Redis and an app of Bolt for Python: how soon Slack has its acknowledgement, and how many a second.

use std::time::{Duration, Instant};

use djangobot_tests::Redis;
use local_slack::{Latency, Traffic};

use crate::queue::Queue;
use crate::socket_mode::{SocketMode, Taker};
use crate::statistics::{Round, Rounds, median};
use crate::table::{Table, short, whole};
use crate::tried;

/// Events a second.
const RATES: [u64; 2] = [100, 1_000];
/// How long a round at a rate takes, in seconds.
const SECONDS: u64 = 3;
const ROUNDS: usize = 3;
/// Slack waits 3 seconds; here it waits for each, so that all of them have a time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A taker, its queue, and what it reached.
struct Lane {
    taker: Taker,
    app: SocketMode,
    queue: Queue,
}

/// The rounds of one taker at one rate, or in bursts.
#[derive(Default)]
struct Reached {
    rounds: Rounds,
    latencies: Vec<Latency>,
    /// Events that the taker never acknowledged, though Slack sent each of them several times.
    unacknowledged: u64,
}

impl Reached {
    /// The median round's, but for the longest of all.
    fn latency(&self) -> [String; 3] {
        let of = |part: fn(&Latency) -> f64| self.latencies.iter().map(part).collect::<Vec<_>>();
        let longest = of(|it| it.max_ms).into_iter().fold(0.0, f64::max);
        [
            short(median(of(|it| it.p50_ms))),
            short(median(of(|it| it.p99_ms))),
            short(longest),
        ]
    }
}

impl Lane {
    async fn new(taker: Taker, redis: u16) -> Self {
        Self {
            taker,
            app: SocketMode::start(taker, redis, PATIENCE).await,
            queue: Queue::channels_redis(redis).await,
        }
    }

    /// Lets Slack send events, until all are acknowledged and in Redis or no more come.
    async fn round(&mut self, events: u64, per_second: Option<u64>, reached: &mut Reached) {
        self.queue.clear().await;
        let (control, program) = (self.app.slack.control(), self.app.program());
        let (cpu, began) = (program.cpu_time(), Instant::now());
        let traffic = control.traffic(Traffic {
            events,
            per_second,
            ..Traffic::default()
        });
        let (report, arrival) = tokio::join!(traffic, self.queue.wait_for(events));
        let acknowledged = began + Duration::from_secs_f64(report.seconds);
        // Work that it does after all are acknowledged belongs to its CPU time, too.
        tokio::time::sleep(Duration::from_millis(50)).await;
        reached.rounds.push(Round {
            messages: arrival.messages,
            lost: events.saturating_sub(arrival.messages),
            wall: acknowledged.max(arrival.at) - began,
            cpu: program.cpu_time() - cpu,
        });
        reached.latencies.push(report.latency);
        reached.unacknowledged += events.saturating_sub(report.acknowledged);
    }

    /// So many that a burst takes some seconds.
    fn burst(&self) -> u64 {
        tried(match self.taker {
            Taker::Djangobot => 100_000,
            Taker::Bolt => 2_000,
        })
    }
}

pub(crate) async fn measure() -> String {
    let redis = Redis::start();
    let mut lanes = Vec::new();
    for taker in [Taker::Bolt, Taker::Djangobot] {
        let mut lane = Lane::new(taker, redis.port()).await;
        // Costs of a process's first events are not of interest here.
        lane.round(tried(500), None, &mut Reached::default()).await;
        lanes.push(lane);
    }
    let tables = [paced(&mut lanes).await, bursts(&mut lanes).await];
    for lane in lanes {
        lane.app.stop().await;
    }
    tables.join("\n")
}

/// Time to the acknowledgement at a rate.
async fn paced(lanes: &mut [Lane]) -> String {
    let mut table = Table::new([
        "time to the acknowledgement",
        "rate",
        "p50, ms",
        "p99, ms",
        "longest, ms",
        "CPU us/event",
        "lost",
        "not acknowledged",
    ]);
    for rate in RATES {
        let mut reached = [Reached::default(), Reached::default()];
        for _ in 0..ROUNDS {
            for (lane, reached) in lanes.iter_mut().zip(&mut reached) {
                lane.round(tried(rate * SECONDS), Some(rate), reached).await;
            }
        }
        for (lane, reached) in lanes.iter().zip(reached) {
            let [p50, p99, longest] = reached.latency();
            table.row([
                lane.taker.name(),
                &format!("{}/s", whole(rate as f64)),
                &p50,
                &p99,
                &longest,
                &short(reached.rounds.cpu_micros()),
                &whole(reached.rounds.lost() as f64),
                &whole(reached.unacknowledged as f64),
            ]);
        }
    }
    table.finish()
}

/// As many as they take.
async fn bursts(lanes: &mut [Lane]) -> String {
    let mut reached = [Reached::default(), Reached::default()];
    for _ in 0..ROUNDS {
        for (lane, reached) in lanes.iter_mut().zip(&mut reached) {
            lane.round(lane.burst(), None, reached).await;
        }
    }
    let mut table = Table::new([
        "a burst",
        "events",
        "events/s, median (min - max)",
        "times slack_bolt's",
        "CPU us/event",
        "part of slack_bolt's",
        "longest acknowledgement, ms",
        "lost",
        "not acknowledged",
    ]);
    let bolt = &reached[0].rounds;
    for (lane, it) in lanes.iter().zip(&reached) {
        let (speed, cpu) = (it.rounds.per_second(), it.rounds.cpu_micros());
        let (slowest, fastest) = it.rounds.spread();
        let [_, _, longest] = it.latency();
        table.row([
            lane.taker.name(),
            &whole(lane.burst() as f64),
            &format!("{} ({} - {})", whole(speed), whole(slowest), whole(fastest)),
            &format!("{} x", short(speed / bolt.per_second())),
            &short(cpu),
            &format!("1/{}", short(bolt.cpu_micros() / cpu)),
            &longest,
            &whole(it.rounds.lost() as f64),
            &whole(it.unacknowledged as f64),
        ]);
    }
    table.finish()
}
