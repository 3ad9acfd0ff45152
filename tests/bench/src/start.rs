//! How long a bridge takes from its start until it is connected, and what memory it holds then.

use djangobot_tests::Redis;

use crate::contestant::{Contestant, Layer, ORIGINAL};
use crate::statistics::{median, quantile};
use crate::table::{Table, short};

const ROUNDS: usize = 9;

/// The starts of one bridge: milliseconds, megabytes.
#[derive(Default)]
struct Starts {
    millis: Vec<f64>,
    megabytes: Vec<f64>,
}

impl Starts {
    async fn add(&mut self, contestant: Contestant) {
        self.millis.push(contestant.started_in.as_secs_f64() * 1e3);
        self.megabytes
            .push(contestant.program.resident_memory() as f64 / 1e6);
        contestant.stop().await;
    }

    fn row(&self, name: &str, table: &mut Table) {
        let at = |part| short(quantile(self.millis.clone(), part));
        let millis = format!("{} ({} - {})", at(0.5), at(0.0), at(1.0));
        table.row([name, &millis, &short(median(self.megabytes.clone()))]);
    }
}

pub(crate) async fn measure() -> String {
    let redis = Redis::start();
    let (mut original, mut ours) = (Starts::default(), Starts::default());
    for _ in 0..ROUNDS {
        if ORIGINAL.is_ready() {
            original.add(Contestant::original(redis.port()).await).await;
        }
        ours.add(Contestant::ours(redis.port(), Layer::ChannelsRedis).await)
            .await;
    }
    let mut table = Table::new([
        "",
        "start to connected, ms, median (min - max)",
        "RSS then, MB",
    ]);
    if ORIGINAL.is_ready() {
        original.row("djangobot 0.1", &mut table);
    }
    ours.row("djangobot", &mut table);
    table.finish()
}
