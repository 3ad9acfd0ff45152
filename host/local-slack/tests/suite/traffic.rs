//! Numbered traffic, and what is reported of it.

use local_slack::{Through, Traffic};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::client::{Rtm, SocketMode, call, hasty, soon, start, start_with};
use crate::control::operate;

fn text(event: &Value) -> &str {
    event["text"].as_str().unwrap().get(..18).unwrap()
}

#[tokio::test]
async fn events_are_numbered_and_their_acknowledgements_are_timed() {
    let slack = start().await;
    let control = slack.control();
    let apps = [
        SocketMode::connect(&slack).await,
        SocketMode::connect(&slack).await,
    ];
    let traffic = Traffic {
        events: 2000,
        first: 7,
        channels: 3,
        open: 100,
        ..Traffic::default()
    };
    let drive = async {
        let report = soon(control.traffic(traffic)).await;
        control.drop_connections(None);
        report
    };
    let [one, two] = apps;
    let (report, one, two) = tokio::join!(drive, one.take_all(), two.take_all());
    assert_eq!((report.events, report.acknowledged), (2000, 2000));
    assert_eq!(
        (
            report.given_up,
            report.retries,
            report.duplicates,
            report.stray_acks
        ),
        (0, 0, 0, 0)
    );
    assert!(report.latency.p50_ms > 0.0);
    assert!(report.latency.p99_ms >= report.latency.p50_ms);
    assert!(report.latency.max_ms >= report.latency.p99_ms);
    assert!(report.started_at <= report.sent_at);
    assert_eq!((one.len(), two.len()), (1000, 1000));
    let (mut texts, mut ids, mut stamps) = (Vec::new(), Vec::new(), Vec::new());
    for envelope in one.iter().chain(&two) {
        let (payload, event) = (&envelope["payload"], &envelope["payload"]["event"]);
        texts.push(text(event).to_owned());
        ids.push(payload["event_id"].to_string());
        stamps.push(event["ts"].to_string());
        assert_eq!(event["ts"], event["event_ts"]);
        assert!((490..510).contains(&event.to_string().len()), "{event}");
    }
    texts.sort();
    let expect: Vec<String> = (7..2007)
        .map(|number| format!("message {number:010}"))
        .collect();
    assert_eq!(texts, expect);
    for mut list in [ids, stamps] {
        list.sort();
        list.dedup();
        assert_eq!(list.len(), 2000);
    }
    // Only sums are kept.
    assert!(control.deliveries().is_empty());
}

#[tokio::test]
async fn unacknowledged_events_are_counted() {
    let slack = start_with(hasty()).await;
    let mut app = SocketMode::connect(&slack).await;
    let traffic = json!({"events": 20, "through": "socket-mode", "bytes": 400});
    let (status, report) = soon(operate(&slack, Method::POST, "traffic", traffic)).await;
    assert_eq!(status, 200);
    assert_eq!(
        (
            &report["acknowledged"],
            &report["given_up"],
            &report["retries"]
        ),
        (&json!(0), &json!(20), &json!(60))
    );
    assert_eq!(
        report["latency"],
        json!({"p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0})
    );
    app.envelope().await;
}

#[tokio::test]
async fn traffic_comes_no_faster_than_its_rate() {
    let slack = start().await;
    let app = SocketMode::connect(&slack).await;
    let control = slack.control();
    let traffic = Traffic {
        events: 40,
        per_second: Some(100),
        ..Traffic::default()
    };
    let drive = async {
        let report = soon(control.traffic(traffic)).await;
        control.drop_connections(None);
        report
    };
    let (report, taken) = tokio::join!(drive, app.take_all());
    assert_eq!((report.acknowledged, taken.len()), (40, 40));
    // The last is due 390 ms after the first.
    assert!(report.sent_at - report.started_at > 0.38, "{report:?}");
}

#[tokio::test]
async fn traffic_goes_over_http_too() {
    let slack = start().await;
    let mut app = App::start(&slack).await;
    let control = slack.control();
    let traffic = Traffic {
        events: 50,
        per_second: Some(250),
        through: Some(Through::Http),
        ..Traffic::default()
    };
    let take = async {
        for number in 0..50 {
            let asked = app.take().await;
            let event = asked.json()["event"].clone();
            // One conversation comes in its order.
            assert_eq!(text(&event), format!("message {number:010}"));
        }
    };
    let (report, ()) = tokio::join!(control.traffic(traffic), take);
    assert_eq!((report.acknowledged, report.retries), (50, 0));
    assert!(report.seconds >= 49.0 / 250.0);
}

#[tokio::test]
async fn traffic_that_is_posted_stands_in_the_history_and_goes_to_rtm() {
    let slack = start().await;
    let control = slack.control();
    let mut rtm = Rtm::connect(&slack).await;
    let mut app = SocketMode::connect(&slack).await;
    let traffic = Traffic {
        events: 5,
        posted: true,
        bytes: 20,
        ..Traffic::default()
    };
    let take = async {
        for number in 0..5 {
            let event = app.take().await["payload"]["event"].clone();
            assert_eq!(text(&event), format!("message {number:010}"));
        }
    };
    let (report, ()) = tokio::join!(control.traffic(traffic), take);
    assert_eq!((report.events, report.acknowledged), (5, 5));
    assert_eq!(text(&rtm.event().await), "message 0000000000");
    let general = json!({"channel": control.channel_id("general")});
    let history = call(&slack, "conversations.history", general).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 5);
    assert_eq!(text(&history["messages"][0]), "message 0000000004");
}
