//! Socket Mode and the HTTP Events API, each through the whole program: the events that arrive, and Slack's answers.

use std::time::Duration;

use djangobot_tests::{DEADLINE, eventually};
use local_slack::{Delivery, Fault, Happening, LocalSlack, Options, Outcome, Reason};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::deployment::{Deployment, Transport, settled, soon_redelivered};

const LATE: &str = "djangobot_answers_total{outcome=\"late\"}";

/// The settings of a Slack that waits for an acknowledgement for as long as a busy machine may need.
fn patient() -> Options {
    Options {
        ack_timeout: DEADLINE,
        ..soon_redelivered()
    }
}

/// The answer in the acknowledgement that Slack got, if it has one.
fn answer(delivery: &Delivery) -> Option<&Value> {
    assert_eq!(delivery.outcome, Outcome::Acknowledged, "{delivery:#?}");
    delivery.attempts.iter().find_map(|it| it.response.as_ref())
}

fn numbered(n: u64) -> Value {
    json!({"type": "numbered", "n": n, "channel": "C1", "event_ts": format!("{n}.000001")})
}

#[tokio::test]
async fn an_event_arrives_as_slack_sent_it_with_its_envelope_and_is_acknowledged_once_the_layer_has_it()
 {
    for transport in Transport::OF_APPS {
        let deployment = Deployment::over(transport, soon_redelivered()).await;
        let control = &deployment.control;
        let _bridge = deployment.bridge().await;
        let delivery = deployment.settled(control.event(&numbered(1))).await;
        assert_eq!(delivery.outcome, Outcome::Acknowledged);
        let mut app = deployment.app(&["slack.numbered", "slack.message"]).await;
        let event = app.next("slack.numbered").await;
        assert_eq!(
            (&event["n"], &event["type"]),
            (&json!(1), &json!("slack.numbered"))
        );
        assert_eq!(event["reply_channel"], "slack.send");
        let about = &event["djangobot"];
        assert_eq!(about["id"], json!(delivery.event_id), "{about:#}");
        assert_eq!(about["transport"], transport.name());
        assert_eq!(about["attempt"], 1);
        assert_eq!(about["team_id"], delivery.payload["team_id"]);
        assert_eq!(about["authorizations"], delivery.payload["authorizations"]);
        assert_eq!(about["event_time"], delivery.payload["event_time"]);
        assert!(about.get("token").is_none(), "{about:#}");

        // A message has one name on all transports and in Slack's history.
        let ts = deployment.say("hello");
        let message = app.next("slack.message").await;
        let general = control.channel_id("general").unwrap();
        let team = delivery.payload["team_id"].as_str().unwrap();
        assert_eq!(
            message["djangobot"]["id"],
            format!("{team}.message.{general}.{ts}")
        );
        // The app's messages go out as on any transport.
        app.send("slack.send", &json!({"text": "hi", "channel": "general"}))
            .await;
        let reply = app.next("slack.message").await;
        assert_eq!(reply["text"], "hi");
    }
}

#[tokio::test]
async fn a_command_is_answered_in_its_acknowledgement_and_late_answers_go_to_its_response_url() {
    for transport in Transport::OF_APPS {
        let deployment = Deployment::over(transport, patient()).await;
        let control = &deployment.control;
        let mut bridge = deployment.bridge().await;
        let mut app = deployment.app(&["slack.slash_commands"]).await;
        // The bridge waits for 2.5 seconds only, which the app may miss on a busy machine: the user tries again.
        let words = json!({"type": "answer", "text": "on it", "response_type": "in_channel"});
        let reply = eventually("it is answered in time", async || {
            let number = control.slash("alice", "general", "/deploy", "web").unwrap();
            let command = app.next("slack.slash_commands").await;
            assert_eq!(
                (&command["command"], &command["text"], &command["type"]),
                (
                    &json!("/deploy"),
                    &json!("web"),
                    &json!("slack.slash_commands")
                )
            );
            let reply = command["reply_channel"].as_str().unwrap().to_owned();
            assert_ne!(reply, "slack.send");
            app.send(&reply, &words).await;
            let delivery = deployment.settled(number).await;
            let expect = json!({"text": "on it", "response_type": "in_channel"});
            (answer(&delivery) == Some(&expect)).then_some(reply)
        })
        .await;
        let late = bridge.metric(LATE).await;
        for n in 0..6 {
            app.send(&reply, &json!({"text": format!("done {n}")}))
                .await;
        }
        bridge
            .line("an answer was not sent to Slack: Slack takes five")
            .await;
        bridge.metric_is(LATE, late + 5.0).await;

        // One that the app does not answer is acknowledged all the same, after its time.
        let number = control.slash("alice", "general", "/ignored", "").unwrap();
        let delivery = deployment.settled(number).await;
        assert_eq!(delivery.attempts.len(), 1, "{delivery:#?}");
        assert!(
            answer(&delivery).is_none_or(|it| *it == json!("")),
            "{delivery:#?}"
        );
    }
}

#[tokio::test]
async fn a_dialog_gets_its_errors_and_an_answer_that_slack_would_drop_is_not_sent() {
    for transport in Transport::OF_APPS {
        let deployment = Deployment::over(transport, patient()).await;
        let control = &deployment.control;
        let mut bridge = deployment.bridge().await;
        let mut app = deployment
            .app(&["slack.view_submission", "slack.block_actions"])
            .await;
        let submission =
            json!({"type": "view_submission", "view": {"id": "V1", "callback_id": "order"}});
        let errors = json!({"response_action": "errors", "errors": {"name": "too short"}});
        eventually("it is answered in time", async || {
            let number = control.interact("alice", None, &submission).unwrap();
            let event = app.next("slack.view_submission").await;
            assert_eq!(event["view"]["callback_id"], "order");
            app.send(event["reply_channel"].as_str().unwrap(), &errors)
                .await;
            (answer(&deployment.settled(number).await) == Some(&errors)).then_some(())
        })
        .await;

        if transport == Transport::SocketMode {
            let number = control.interact("alice", None, &submission).unwrap();
            let event = app.next("slack.view_submission").await;
            let large = json!({"response_action": "update", "view": {"text": "x".repeat(20_000)}});
            app.send(event["reply_channel"].as_str().unwrap(), &large)
                .await;
            let delivery = deployment.settled(number).await;
            assert_eq!(answer(&delivery), None, "{transport:?}");
            assert_eq!(control.stray_acks(), 0);
            bridge.line("an answer was not sent to Slack").await;
        }

        // A click takes no answer in its acknowledgement: that comes at once.
        let click = json!({"type": "block_actions", "actions": [{"action_id": "a"}]});
        let number = control.interact("alice", Some("general"), &click).unwrap();
        deployment.settled(number).await;
    }
}

#[tokio::test]
async fn while_the_layer_is_away_events_are_acknowledged_from_the_disk_and_delivered_after_it() {
    for transport in Transport::OF_APPS {
        let mut deployment = Deployment::over(transport, soon_redelivered()).await;
        let control = &deployment.control;
        let mut bridge = deployment.bridge().await;
        deployment.redis.stop();
        let numbers: Vec<u64> = (0..30).map(|n| control.event(&numbered(n))).collect();
        for number in numbers {
            let delivery = deployment.settled(number).await;
            assert_eq!(delivery.outcome, Outcome::Acknowledged, "{delivery:#?}");
        }
        // Killed, it has them still.
        bridge.kill().await;
        deployment.redis.restart();
        let _bridge = deployment.bridge().await;
        let mut app = deployment.app(&["slack.numbered"]).await;
        let events = app.take("slack.numbered", 30).await;
        let mut numbers: Vec<_> = events.iter().map(|event| event["n"].as_u64()).collect();
        if transport == Transport::Http {
            // Slack makes requests side by side, which may overtake each other.
            numbers.sort_unstable();
        }
        assert_eq!(
            numbers,
            (0..30).map(Some).collect::<Vec<_>>(),
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn the_app_gets_an_event_once_that_slack_delivers_twice() {
    for transport in Transport::OF_APPS {
        let deployment = Deployment::over(transport, soon_redelivered()).await;
        let control = &deployment.control;
        let bridge = deployment.bridge().await;
        let fault = |happening, times| Fault {
            happening,
            times,
            spare: 0,
            probability: None,
            seed: 0,
        };
        control.fault(fault(Happening::Duplicate, 5));
        control.fault(fault(Happening::LoseAck, 2));
        let numbers: Vec<u64> = (0..20).map(|n| control.event(&numbered(n))).collect();
        for number in numbers {
            assert_eq!(
                deployment.settled(number).await.outcome,
                Outcome::Acknowledged
            );
        }
        let again = bridge.metric("djangobot_duplicates_total").await;
        assert!(again >= 2.0, "{again}");
        // Also after a restart.
        drop(bridge);
        control.fault(fault(Happening::LoseAck, 1));
        let _bridge = deployment.bridge().await;
        let mut app = deployment.app(&["slack.numbered"]).await;
        let last = control.event(&numbered(99));
        deployment.settled(last).await;
        let mut seen = Vec::new();
        while seen.last() != Some(&99) {
            let event = app.next("slack.numbered").await;
            seen.push(event["n"].as_u64().unwrap());
        }
        seen.sort_unstable();
        let expect: Vec<u64> = (0..20).chain([99]).collect();
        assert_eq!(seen, expect, "{transport:?}");
        assert!(app.left("slack.numbered").is_empty());
    }
}

#[tokio::test]
async fn a_connection_that_slack_ends_is_made_again_and_no_event_is_missed() {
    let deployment = Deployment::over(Transport::SocketMode, soon_redelivered()).await;
    let control = &deployment.control;
    let _bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.numbered"]).await;
    let mut n = 0;
    for reason in [
        Reason::RefreshRequested,
        Reason::Warning,
        Reason::RefreshRequested,
    ] {
        let before = control.connections();
        assert!(control.disconnect(None, reason) > 0);
        for _ in 0..20 {
            control.event(&numbered(n));
            n += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let is_replaced = |now: &[local_slack::Connection]| {
            now.len() == 1 && before.iter().all(|old| old.id != now[0].id)
        };
        timeout(DEADLINE, control.wait_until(is_replaced))
            .await
            .expect("it is connected again");
    }
    assert!(control.drop_connections(None) > 0);
    for _ in 0..20 {
        control.event(&numbered(n));
        n += 1;
    }
    let mut seen: Vec<u64> = Vec::new();
    for _ in 0..n {
        seen.push(app.next("slack.numbered").await["n"].as_u64().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..n).collect::<Vec<_>>());
}

#[tokio::test]
async fn requests_that_slack_did_not_sign_are_refused() {
    let deployment = Deployment::over(Transport::Http, soon_redelivered()).await;
    let control = &deployment.control;
    let bridge = deployment.bridge().await;
    let (echoed, posted) = control.verify_url().await;
    assert!(echoed, "{posted:?}");
    assert_eq!(control.ssl_check().await.status, Some(200));
    let (status, body) = bridge.get("/slack/events").await;
    assert_eq!(status, 405, "{body}");
    let forged = LocalSlack::start(Options {
        signing_secret: "another".into(),
        events_url: Some(bridge.url("/slack/events")),
        retry_delays: [Duration::from_millis(10); 3],
        ..Options::default()
    })
    .await
    .unwrap();
    let delivery = settled(&forged.control(), forged.control().event(&numbered(1))).await;
    assert_eq!(delivery.outcome, Outcome::GivenUp);
    assert!(
        delivery.attempts.iter().all(|it| it.status == Some(401)),
        "{delivery:#?}"
    );
    assert_eq!(
        bridge
            .metric("djangobot_events_total{type=\"numbered\"}")
            .await,
        0.0
    );
}
