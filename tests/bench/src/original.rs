//! RTM to Redis, compared with the unmodified djangobot 0.1 of 2016.

use djangobot_tests::Redis;

use crate::contestant::{Contestant, Layer, ORIGINAL};
use crate::queue::Queue;
use crate::statistics::Rounds;
use crate::table::{Table, short, whole};

/// Sizes of a burst, and how many rounds of each.
const BURSTS: [(u64, usize); 2] = [(10_000, 7), (100_000, 3)];

/// A bridge, its queue, and what it reached.
struct Lane {
    name: &'static str,
    contestant: Contestant,
    queue: Queue,
    rounds: Rounds,
}

pub(crate) async fn measure() -> String {
    // Each has a Redis of its own: a host stands by while another one serves its app there.
    let redis: [Redis; 3] = std::array::from_fn(|_| Redis::start());
    let [original, old_layer, new_layer] = redis.each_ref().map(Redis::port);
    let lane = |name, contestant, queue| Lane {
        name,
        contestant,
        queue,
        rounds: Rounds::default(),
    };
    let mut lanes = Vec::new();
    if ORIGINAL.is_ready() {
        lanes.push(lane(
            "djangobot 0.1",
            Contestant::original(original).await,
            Queue::asgi_redis(original).await,
        ));
    }
    let ours = Contestant::ours(old_layer, Layer::AsgiRedis).await;
    lanes.push(lane(
        "djangobot, on asgi_redis's layer with the same body",
        ours,
        Queue::asgi_redis(old_layer).await,
    ));
    let ours = Contestant::ours(new_layer, Layer::ChannelsRedis).await;
    lanes.push(lane(
        "djangobot, on channels_redis's layer",
        ours,
        Queue::channels_redis(new_layer).await,
    ));

    let mut table = Table::new([
        "",
        "events",
        "events/s, median (min - max)",
        "times the original's",
        "CPU us/event",
        "part of the original's",
        "RSS after, MB",
        "lost",
    ]);
    for (events, rounds) in BURSTS {
        // Costs of a process's first events (a connection, a script, a page of memory) are not of interest here.
        for lane in &mut lanes {
            lane.rounds = Rounds::default();
            lane.contestant.burst(&mut lane.queue, 1_000).await;
        }
        for _ in 0..rounds {
            for lane in &mut lanes {
                lane.rounds
                    .push(lane.contestant.burst(&mut lane.queue, events).await);
            }
        }
        let original = lanes
            .iter()
            .find(|_| ORIGINAL.is_ready())
            .map(|lane| lane.rounds.clone());
        for lane in &lanes {
            let (speed, cpu) = (lane.rounds.per_second(), lane.rounds.cpu_micros());
            let (slowest, fastest) = lane.rounds.spread();
            let (faster, part) = match &original {
                Some(original) => (
                    format!("{} x", short(speed / original.per_second())),
                    format!("1/{}", short(original.cpu_micros() / cpu)),
                ),
                None => ("-".into(), "-".into()),
            };
            table.row([
                lane.name,
                &whole(events as f64),
                &format!("{} ({} - {})", whole(speed), whole(slowest), whole(fastest)),
                &faster,
                &short(cpu),
                &part,
                &short(lane.contestant.program.resident_memory() as f64 / 1e6),
                &whole(lane.rounds.lost() as f64),
            ]);
        }
    }
    for lane in lanes {
        lane.contestant.stop().await;
    }
    let mut section = table.finish();
    if !ORIGINAL.is_ready() {
        section.push_str(
            "\nThere was no Python 3.8 or 3.9 to run djangobot 0.1 with, so it was left out.\n",
        );
    }
    section
}
