//! Socket Mode under numbered traffic, calm and in all weathers.

use std::sync::Arc;

use djangobot_slack::socket_mode::{self, Config, Health};
use djangobot_slack::{Fatal, Session, rtm};
use local_slack::{Control, Fault, Happening, Outcome, Reason, Report, Storm, Traffic};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

/// Socket Mode at work.
struct Running {
    slack: LocalSlack,
    control: Control,
    health: Arc<Health>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), Fatal>>,
}

impl Running {
    async fn start(options: Options, connections: usize) -> (Running, mpsc::Receiver<Incoming>) {
        let slack = start(options).await;
        let config = Config {
            connections,
            each: rtm::Config {
                ping_every: Duration::from_millis(200),
                silence: Duration::from_secs(2),
                backoff_first: Duration::from_millis(1),
                backoff_max: Duration::from_millis(50),
                ..rtm::Config::default()
            },
            stagger: Duration::from_millis(1),
            crowded: Duration::from_millis(100),
            drain: Duration::from_millis(300),
            ..Config::default()
        };
        let health = Arc::clone(&config.health);
        let (out, incoming) = mpsc::channel(256);
        let cancel = CancellationToken::new();
        let app = client(&slack, slack.app_token());
        let running = socket_mode::run(app, Session::default(), config, out, cancel.clone());
        let task = tokio::spawn(running);
        let control = slack.control();
        soon(control.wait_for_connections(connections)).await;
        let running = Running {
            slack,
            control,
            health,
            cancel,
            task,
        };
        (running, incoming)
    }

    async fn stop(self) {
        self.cancel.cancel();
        assert_eq!(soon(self.task).await.unwrap(), Ok(()));
        soon(self.control.wait_until(<[_]>::is_empty)).await;
        assert_eq!(self.health.open(), 0);
        self.slack.shutdown().await;
    }
}

fn traffic(events: u64, per_second: Option<u64>) -> Traffic {
    Traffic {
        events,
        per_second,
        ..Traffic::default()
    }
}

/// Sends traffic while something else runs, and returns the results of both sides.
async fn under(
    options: Options,
    connections: usize,
    traffic: Traffic,
    weather: impl AsyncFnOnce(&Control),
) -> (Report, Taken) {
    let (running, incoming) = Running::start(options, connections).await;
    let taking = tokio::spawn(take_all(incoming));
    let control = running.control.clone();
    let (report, ()) =
        soon(async { tokio::join!(control.traffic(traffic), weather(&control)) }).await;
    running.stop().await;
    let taken = soon(taking).await.unwrap();
    assert!(taken.is_all(report.events), "{report:?} {taken:?}");
    assert_eq!(report.given_up, 0, "{report:?} {taken:?}");
    (report, taken)
}

#[tokio::test]
async fn all_events_of_a_burst_come_once_and_are_acknowledged_in_time() {
    for connections in [1, 4] {
        let (report, taken) = under(
            Options::default(),
            connections,
            traffic(10_000, None),
            async |_| {},
        )
        .await;
        assert_eq!(
            (report.acknowledged, report.retries, report.stray_acks),
            (10_000, 0, 0)
        );
        assert_eq!(
            (
                taken.again,
                taken.connected,
                taken.hellos,
                taken.disconnected
            ),
            (0, 1, 1, 0)
        );
        assert!(taken.is_in_order, "over {connections}");
    }
}

#[tokio::test]
async fn connections_that_slack_refreshes_leave_no_gap() {
    // The acknowledgements have all the time that Slack gives, so that what comes late was in a gap.
    let options = Options {
        ack_timeout: Duration::from_secs(5),
        warning_time: Duration::from_secs(10),
        ..retrying()
    };
    let (report, taken) = under(options, 2, traffic(2_000, Some(500)), async |control| {
        for _ in 0..5 {
            let old = control.connections();
            control.disconnect(None, Reason::Warning);
            control
                .wait_until(|now| {
                    now.len() == 2 && now.iter().all(|it| old.iter().all(|old| old.id != it.id))
                })
                .await;
        }
    })
    .await;
    assert_eq!((taken.connected, taken.disconnected), (1, 0), "{taken:?}");
    assert_eq!(taken.late, 0, "{report:?} {taken:?}");
}

#[tokio::test]
async fn every_fault_is_survived() {
    let reason = Reason::RefreshRequested;
    for happening in [
        Happening::Lose,
        Happening::Duplicate,
        Happening::Delay { ms: 50 },
        Happening::Reorder,
        Happening::Drop,
        Happening::Freeze { ms: 300 },
        Happening::Disconnect { reason },
        Happening::Disconnect {
            reason: Reason::TooManyWebsockets,
        },
        Happening::LoseAck,
        Happening::LateAck { ms: 600 },
    ] {
        let (report, taken) = under(
            retrying(),
            2,
            traffic(1_000, Some(1_000)),
            async |control| {
                control.fault(Fault {
                    happening,
                    times: 5,
                    spare: 50,
                    probability: Some(0.05),
                    seed: 1,
                });
            },
        )
        .await;
        assert_eq!(report.acknowledged, 1_000, "{happening:?}");
        if happening == Happening::Duplicate {
            assert_eq!(taken.again, 5);
        }
    }
}

#[tokio::test]
async fn a_frame_that_is_cut_off_comes_again_only_where_its_id_is_lost() {
    let (running, incoming) = Running::start(retrying(), 1).await;
    let taking = tokio::spawn(take_all(incoming));
    running.control.fault(Fault {
        happening: Happening::Garble,
        times: 3,
        spare: 10,
        probability: None,
        seed: 1,
    });
    let report = soon(running.control.traffic(traffic(100, None))).await;
    running.stop().await;
    let taken = soon(taking).await.unwrap();
    assert_eq!(report.acknowledged, 100);
    assert_eq!(
        (taken.bad, taken.numbers.len() as u64, taken.disconnected),
        (3, 97 + report.retries, 0)
    );
}

#[tokio::test]
async fn a_storm_is_survived() {
    for seed in 1..=3 {
        let storm = Storm {
            blows: 40,
            every_ms: 40,
            freeze_ms: 100,
            seed,
        };
        let weather = async |control: &Control| {
            assert!(control.storm(storm).await > 0);
        };
        let options = Options {
            ack_timeout: Duration::from_secs(2),
            retry_delays: [0, 1000, 5000].map(Duration::from_millis),
            ..retrying()
        };
        under(options, 3, traffic(1_000, Some(500)), weather).await;
    }
}

#[tokio::test]
async fn an_answer_to_a_command_reaches_slack_and_one_too_large_does_not() {
    let (running, mut incoming) = Running::start(Options::default(), 1).await;
    let control = &running.control;
    let mut ask = async |answer: String| {
        let number = control.slash("alice", "general", "/do", "it").unwrap();
        let frame = loop {
            match soon(incoming.recv()).await.unwrap() {
                Incoming::Frame(frame) if frame.origin.kind.is_some() => break frame,
                Incoming::Frame(_) | Incoming::Connected(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(frame.origin.kind.as_deref(), Some("slash_commands"));
        assert!(frame.origin.answerable);
        let event = frame.event.unwrap();
        assert_eq!(event.text("/command").as_deref(), Some("/do"));
        assert!(event.field("token").is_none());
        let result = frame.ack.unwrap().answer(answer.into());
        let delivery = soon(control.settled(number)).await;
        assert_eq!(delivery.outcome, Outcome::Acknowledged);
        (result.is_ok(), delivery.attempts[0].response.clone())
    };
    let answer = json!({"text": "done & dusted é"});
    assert_eq!(ask(answer.to_string()).await, (true, Some(answer)));
    let large = json!({"text": "x".repeat(20_000)}).to_string();
    assert_eq!(ask(large).await, (false, None));
    running.stop().await;
}

#[tokio::test]
async fn the_eleventh_connection_is_turned_away_with_an_alarm() {
    let (running, _incoming) = Running::start(Options::default(), 9).await;
    let app = client(&running.slack, running.slack.app_token());
    let config = Config {
        connections: 2,
        ..Config::default()
    };
    let health = Arc::clone(&config.health);
    let (out, mut incoming) = mpsc::channel(256);
    let cancel = CancellationToken::new();
    let task = tokio::spawn(socket_mode::run(
        app,
        Session::default(),
        config,
        out,
        cancel.clone(),
    ));
    assert!(matches!(
        soon(incoming.recv()).await,
        Some(Incoming::Connected(_))
    ));
    soon(async {
        while health.alarms() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(
        (health.open(), health.reported(), health.strangers()),
        (1, 10, 9)
    );
    cancel.cancel();
    assert_eq!(soon(task).await.unwrap(), Ok(()));
    running.stop().await;
}
