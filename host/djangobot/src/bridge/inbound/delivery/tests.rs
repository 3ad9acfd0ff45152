//! Tests of delivery to an embedded layer that can be away, hang, or be full, with a real state file.

use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use djangobot_channels::{
    EmbeddedLayer, EmbeddedServer, Guard, GuardedLayer, LayerError, LayerOptions, Member,
    ReceiverId,
};
use djangobot_event::Event;

use super::*;
use crate::bridge::inbound::custody::{Admission, EventId, Ledger};
use crate::journal::Journal;
use crate::state::State;

const UP: u8 = 0;
const AWAY: u8 = 1;
/// Takes events and never answers.
const SILENT: u8 = 2;

/// A switch before the embedded layer.
struct Switch {
    layer: Arc<EmbeddedLayer>,
    mood: Arc<AtomicU8>,
}

#[async_trait]
impl Guard for Switch {
    async fn admit(&self, channel: &ChannelName, members: &[Member]) -> Result<(), LayerError> {
        match self.mood.load(Ordering::SeqCst) {
            AWAY => Err(LayerError::Unavailable {
                address: "here".into(),
                reason: "switched off".into(),
            }),
            SILENT => {
                self.layer.send(channel, members).await?;
                std::future::pending().await
            }
            _ => Ok(()),
        }
    }

    async fn admit_others(&self) -> Result<(), LayerError> {
        Ok(())
    }
}

/// A layer and a state folder, which outlive the deliveries of a run.
struct Bench {
    server: EmbeddedServer,
    folder: tempfile::TempDir,
    mood: Arc<AtomicU8>,
    capacity: usize,
    /// Seconds.
    expiry: u64,
}

/// A run on a bench.
struct Run {
    deliveries: Deliveries,
    ledger: Ledger,
    journal: Journal,
    _state: State,
}

impl Bench {
    async fn new(capacity: usize) -> Self {
        Self {
            server: EmbeddedServer::bind("127.0.0.1:0".parse().unwrap())
                .await
                .unwrap(),
            folder: tempfile::tempdir().unwrap(),
            mood: Arc::default(),
            capacity,
            expiry: 60,
        }
    }

    fn layer(&self) -> EmbeddedLayer {
        self.server.layer_with(LayerOptions {
            capacities: djangobot_channels::capacity::Capacities::new(self.capacity),
            expiry: self.expiry,
            ..LayerOptions::default()
        })
    }

    async fn run(&self, rules: &[(&str, Unread)], hold: usize) -> Run {
        let state = State::open(self.folder.path()).unwrap();
        let journal = state.journal().unwrap();
        let layer = Arc::new(self.layer());
        let guard = Arc::new(Switch {
            layer: layer.clone(),
            mood: self.mood.clone(),
        });
        let rules = rules
            .iter()
            .map(|(channel, rule)| ((*channel).to_owned(), *rule));
        let (spool, backlogs) = Spool::open(journal.clone(), 64 << 20).await.unwrap();
        let parts = Parts {
            layer: Arc::new(GuardedLayer { layer, guard }),
            spool,
            metrics: Metrics::new(),
            readiness: Arc::default(),
            rules: UnreadRules::new(rules),
            hold,
            stop: CancellationToken::new(),
        };
        Run {
            deliveries: Deliveries::new(parts, backlogs),
            ledger: Ledger::open(&journal).await.unwrap().0,
            journal,
            _state: state,
        }
    }

    fn set(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    /// Reads `count` numbers from `channel`, as a worker does.
    async fn take(&self, channel: &str, count: usize) -> Vec<i64> {
        let layer = self.layer();
        let id = ReceiverId("worker".into());
        let receiver = layer.receiver(&name(channel), &id).await.unwrap();
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(90), receiver.next());
            let delivery = next.await.expect("an event comes").unwrap();
            let event = layer.decode(&delivery.payload.clone().unwrap()).unwrap();
            numbers.push(event.get("/n").unwrap().as_i64().unwrap());
            receiver.done(&delivery).await.unwrap();
        }
        receiver.close().await.unwrap();
        numbers
    }
}

impl Run {
    /// Pushes an event. Gives the signal that it is safe.
    async fn push(&mut self, channel: &str, n: i64) -> tokio::sync::oneshot::Receiver<()> {
        let id = format!("{channel} {n}");
        let given = EventId::Given {
            id: &id,
            history_id: None,
        };
        let Admission::New(custody) = self.ledger.admit(given, None) else {
            panic!("{id} came before")
        };
        let safe = custody.signal();
        // Large enough to fill a disk soon.
        let text = "x".repeat(2000);
        let message = format!("{{\"n\":{n},\"text\":\"{text}\"}}");
        let message = LayerMessage::Flat(Event::parse(message).unwrap());
        self.deliveries
            .push(&name(channel), &message, Instant::now(), id.into(), custody)
            .await;
        safe
    }

    async fn drain(self) -> usize {
        self.deliveries.drain(Duration::from_secs(20)).await
    }
}

fn name(channel: &str) -> ChannelName {
    ChannelName::new(channel).unwrap()
}

async fn is_safe(safe: tokio::sync::oneshot::Receiver<()>) {
    let told = tokio::time::timeout(Duration::from_secs(90), safe).await;
    told.expect("it becomes safe").expect("it is not abandoned");
}

#[tokio::test]
async fn while_the_layer_is_away_events_are_safe_on_the_disk_and_come_in_order_after_it() {
    let bench = Bench::new(1000).await;
    let mut run = bench.run(&[], 100).await;
    is_safe(run.push("slack.message", 0).await).await;
    bench.set(AWAY);
    for n in 1..300 {
        let safe = run.push("slack.message", n).await;
        if n % 100 == 0 {
            is_safe(safe).await;
        }
    }
    bench.set(UP);
    for n in 300..400 {
        run.push("slack.message", n).await;
    }
    let expect: Vec<i64> = (0..400).collect();
    assert_eq!(bench.take("slack.message", 400).await, expect);
    assert_eq!(run.drain().await, 0);
}

#[tokio::test]
async fn a_full_channel_spools_and_holds_no_other_up() {
    let bench = Bench::new(3).await;
    let mut run = bench.run(&[], 100).await;
    for n in 0..50 {
        is_safe(run.push("slack.message", n).await).await;
    }
    is_safe(run.push("slack.pin_added", 7).await).await;
    assert_eq!(bench.take("slack.pin_added", 1).await, [7]);
    let expect: Vec<i64> = (0..50).collect();
    assert_eq!(bench.take("slack.message", 50).await, expect);
    assert_eq!(run.drain().await, 0);
}

#[tokio::test]
async fn events_that_a_run_left_on_the_disk_are_delivered_first_and_once_by_the_next() {
    let bench = Bench::new(1000).await;
    let mut run = bench.run(&[], 100).await;
    // The layer has them, and its answer never comes: they go to the disk all the same.
    bench.set(SILENT);
    for n in 0..20 {
        let safe = run.push("slack.message", n).await;
        if n == 19 {
            is_safe(safe).await;
        }
    }
    assert_eq!(run.drain().await, 0);
    bench.set(UP);
    let mut run = bench.run(&[], 100).await;
    is_safe(run.push("slack.message", 20).await).await;
    // The members are the same as before, so that the queue has each once.
    let expect: Vec<i64> = (0..21).collect();
    assert_eq!(bench.take("slack.message", 21).await, expect);
    assert_eq!(
        bench.layer().depth(&name("slack.message")).await.unwrap(),
        Some(0)
    );
}

#[tokio::test]
async fn a_channel_whose_events_nobody_wants_later_keeps_the_newest_or_none() {
    let bench = Bench::new(2).await;
    let rules = [
        ("slack.user_typing", Unread::Drop),
        ("slack.message", Unread::DropOldest),
    ];
    let mut run = bench.run(&rules, 5).await;
    for channel in ["slack.user_typing", "slack.message"] {
        for n in 0..100 {
            is_safe(run.push(channel, n).await).await;
        }
    }
    assert_eq!(
        bench.take("slack.message", 7).await,
        [0, 1, 95, 96, 97, 98, 99]
    );
    assert_eq!(bench.take("slack.user_typing", 3).await, [0, 1, 99]);
    assert_eq!(run.drain().await, 0);
}

#[tokio::test]
async fn an_event_that_neither_layer_nor_disk_takes_is_not_safe_until_one_does() {
    let bench = Bench::new(1000).await;
    let mut run = bench.run(&[], 100).await;
    let full = |database: &rusqlite::Connection| {
        let pages: i64 = database.pragma_query_value(None, "page_count", |row| row.get(0))?;
        database.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    };
    run.journal.write(full).await.unwrap();
    bench.set(AWAY);
    let mut safe = Vec::new();
    for n in 0..60 {
        safe.push(run.push("slack.message", n).await);
    }
    // Some find room in pages that are there already; far from all do.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let last = safe.last_mut().unwrap();
    assert!(last.try_recv().is_err());
    bench.set(UP);
    for safe in safe {
        is_safe(safe).await;
    }
    let expect: Vec<i64> = (0..60).collect();
    assert_eq!(bench.take("slack.message", 60).await, expect);
    assert_eq!(run.drain().await, 0);
}

#[tokio::test]
async fn delivered_events_that_the_disk_kept_are_deleted_as_soon_as_it_can() {
    let bench = Bench::new(1000).await;
    let mut run = bench.run(&[], 100).await;
    bench.set(AWAY);
    for n in 0..10 {
        is_safe(run.push("slack.message", n).await).await;
    }
    // Through a connection of its own: what shares a commit with the refused work hears of the refusal too.
    let database = rusqlite::Connection::open(bench.folder.path().join("state.db")).unwrap();
    database.busy_timeout(Duration::from_secs(20)).unwrap();
    let refuse =
        "CREATE TRIGGER refuse BEFORE DELETE ON spool BEGIN SELECT RAISE(ABORT, 'no'); END";
    database.execute_batch(refuse).unwrap();
    bench.set(UP);
    assert_eq!(
        bench.take("slack.message", 10).await,
        (0..10).collect::<Vec<_>>()
    );
    let left = || {
        let count = "SELECT count(*) FROM spool";
        database.query_row(count, [], |row| row.get::<_, u64>(0))
    };
    assert_eq!(left().unwrap(), 10);
    database.execute_batch("DROP TRIGGER refuse").unwrap();
    let gone = async {
        while left().unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .unwrap();
    assert_eq!(run.drain().await, 0);
}

#[tokio::test]
async fn events_that_nobody_reads_wait_on_the_disk_longer_than_the_layer_keeps_them() {
    let mut bench = Bench::new(1000).await;
    bench.expiry = 2;
    let mut run = bench.run(&[], 100).await;
    for n in 0..40 {
        is_safe(run.push("slack.message", n).await).await;
    }
    let depth = async || bench.layer().depth(&name("slack.message")).await.unwrap();
    assert_eq!(depth().await, Some(40));
    // Two and a half times the expiry, with more coming meanwhile.
    for n in 40..60 {
        is_safe(run.push("slack.message", n).await).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(depth().await <= Some(1), "one shows whether a reader comes");
    let expect: Vec<i64> = (0..60).collect();
    assert_eq!(bench.take("slack.message", 60).await, expect);
    assert_eq!(depth().await, Some(0));
    // Read, it is a channel like any other.
    for n in 60..80 {
        is_safe(run.push("slack.message", n).await).await;
    }
    assert_eq!(
        bench.take("slack.message", 20).await,
        (60..80).collect::<Vec<_>>()
    );
    assert_eq!(run.drain().await, 0);
}

#[tokio::test]
async fn a_slow_reader_loses_nothing_and_gets_nothing_twice() {
    let mut bench = Bench::new(1000).await;
    bench.expiry = 2;
    let mut run = bench.run(&[], 100).await;
    for n in 0..30 {
        is_safe(run.push("slack.message", n).await).await;
    }
    let mut numbers = Vec::new();
    for _ in 0..30 {
        numbers.extend(bench.take("slack.message", 1).await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(numbers, (0..30).collect::<Vec<_>>());
    assert_eq!(run.drain().await, 0);
}

#[tokio::test]
async fn events_that_nobody_read_before_a_stop_come_once_after_the_next_start() {
    let mut bench = Bench::new(1000).await;
    bench.expiry = 2;
    let mut run = bench.run(&[], 100).await;
    for n in 0..10 {
        is_safe(run.push("slack.message", n).await).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(run.drain().await, 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let run = bench.run(&[], 100).await;
    assert_eq!(
        bench.take("slack.message", 10).await,
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(run.drain().await, 0);
    let left = bench.layer().depth(&name("slack.message")).await.unwrap();
    assert_eq!(left, Some(0));
}
