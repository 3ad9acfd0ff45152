//! Events, commands and interactions over HTTP.

use std::time::Duration;

use local_slack::{ControlError, Options, Outcome, StartError};
use serde_json::json;

use crate::app::App;
use crate::client::{hasty, soon, start, start_with};

#[tokio::test]
async fn an_event_is_posted_and_signed() {
    let slack = start().await;
    let control = slack.control();
    let mut app = App::start(&slack).await;
    control.say("alice", "general", "é & so on").unwrap();
    let asked = app.take().await;
    assert_eq!(asked.header("content-type"), "application/json");
    let at: u64 = asked.header("x-slack-request-timestamp").parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    assert!(now.unwrap().as_secs().abs_diff(at) < 60);
    // How a signature is made is tested against Slack's example; here it is enough that there is one of this body.
    let signature = asked.header("x-slack-signature");
    assert!(
        signature.starts_with("v0=") && signature.len() == 67,
        "{signature}"
    );
    assert_eq!(asked.header("x-slack-retry-num"), "");
    let payload = asked.json();
    assert_eq!(payload["type"], "event_callback");
    assert_eq!(payload["event"]["text"], "é & so on");
    let settled = control.wait_for_delivery(|one| one.outcome != Outcome::Open);
    let delivery = soon(settled).await;
    assert_eq!(
        (delivery.through, delivery.attempts[0].status),
        ("http", Some(200))
    );
}

#[tokio::test]
async fn events_that_the_app_refuses_come_again_with_the_reason() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    let mut app = App::start(&slack).await;
    let number = control.event(&json!({"type": "team_join"}));
    app.asked().await.answer(500, "");
    let second = app.asked().await;
    assert_eq!(
        (
            second.header("x-slack-retry-num"),
            second.header("x-slack-retry-reason")
        ),
        ("1", "http_error")
    );
    drop(second);
    let third = app.asked().await;
    assert_eq!(
        (
            third.header("x-slack-retry-num"),
            third.header("x-slack-retry-reason")
        ),
        ("2", "http_timeout")
    );
    third.answer(302, "");
    let last = app.take().await;
    assert_eq!(last.header("x-slack-retry-num"), "3");
    let delivery = soon(control.settled(number)).await;
    let failed: Vec<_> = delivery.attempts.iter().map(|one| one.failed).collect();
    assert_eq!(
        failed,
        [
            Some("http_error"),
            Some("http_timeout"),
            Some("http_error"),
            None
        ]
    );

    let number = control.event(&json!({"type": "team_join"}));
    let asked = app.asked().await;
    asked.answer_with(503, "", &[("x-slack-no-retry", "1")]);
    let delivery = soon(control.settled(number)).await;
    assert_eq!(
        (delivery.outcome, delivery.attempts.len()),
        (Outcome::GivenUp, 1)
    );
}

#[tokio::test]
async fn an_app_that_is_not_there_is_tried_four_times() {
    let slack = start_with(hasty()).await;
    let port = djangobot_tests::free_port();
    let url = format!("http://127.0.0.1:{port}/");
    slack.control().set_events_url(Some(&url)).unwrap();
    let number = slack.control().event(&json!({"type": "team_join"}));
    let delivery = soon(slack.control().settled(number)).await;
    assert_eq!(
        (delivery.outcome, delivery.attempts.len()),
        (Outcome::GivenUp, 4)
    );
    let refused = |one: &local_slack::Attempt| one.failed == Some("connection_failed");
    assert!(delivery.attempts.iter().all(refused), "{delivery:?}");
}

#[tokio::test]
async fn a_conversation_comes_in_its_order_and_a_slow_one_holds_up_no_other() {
    let slack = start().await;
    let mut app = App::start(&slack).await;
    let control = slack.control();
    for number in 0..3 {
        control
            .say("alice", "general", &number.to_string())
            .unwrap();
    }
    let first = app.asked().await;
    control.say("alice", "random", "meanwhile").unwrap();
    assert_eq!(app.take().await.json()["event"]["text"], "meanwhile");
    assert_eq!(first.json()["event"]["text"], "0");
    first.answer(200, "");
    for number in 1..3 {
        assert_eq!(app.take().await.json()["event"]["text"], number.to_string());
    }
}

#[tokio::test]
async fn commands_and_interactions_are_forms_and_are_answered_in_the_response() {
    let slack = start().await;
    let control = slack.control();
    let mut app = App::start(&slack).await;
    let number = control
        .slash("alice", "general", "/deploy", "a=b & ü")
        .unwrap();
    let asked = app.asked().await;
    assert_eq!(
        asked.header("content-type"),
        "application/x-www-form-urlencoded"
    );
    assert_eq!(
        (asked.field("command"), asked.field("text")),
        ("/deploy".to_owned(), "a=b & ü".to_owned())
    );
    assert!(asked.field("response_url").starts_with("http://127.0.0.1:"));
    asked.answer(200, r#"{"response_type": "in_channel", "text": "done"}"#);
    let delivery = soon(control.settled(number)).await;
    assert_eq!(
        delivery.attempts[0].response.as_ref().unwrap()["text"],
        "done"
    );
    assert_eq!(app.take().await.json()["event"]["text"], "done");

    let view = json!({"type": "view_submission", "view": {"id": "V1"}});
    let number = control.interact("alice", None, &view).unwrap();
    let asked = app.asked().await;
    let payload: serde_json::Value = serde_json::from_str(&asked.field("payload")).unwrap();
    assert_eq!(payload["view"]["id"], "V1");
    asked.answer(200, r#"{"response_action": "clear"}"#);
    let delivery = soon(control.settled(number)).await;
    assert_eq!(
        delivery.attempts[0].response,
        Some(json!({"response_action": "clear"}))
    );
    control.app_rate_limited();
    assert_eq!(app.take().await.json()["type"], "app_rate_limited");
}

#[tokio::test]
async fn the_apps_url_is_verified() {
    let slack = start().await;
    let control = slack.control();
    let mut app = App::start(&slack).await;
    for (prefix, wrong) in [("", false), ("challenge=", false), ("x", true)] {
        let answer = async {
            let asked = app.asked().await;
            let challenge = asked.json()["challenge"].as_str().unwrap().to_owned();
            assert_eq!(asked.json()["type"], "url_verification");
            asked.answer(200, &format!("{prefix}{challenge}"));
        };
        let ((verified, _), ()) = tokio::join!(control.verify_url(), answer);
        assert_eq!(verified, !wrong, "{prefix}");
    }
    let answer = async {
        let asked = app.asked().await;
        let answer = json!({"challenge": asked.json()["challenge"]});
        asked.answer(200, &answer.to_string());
    };
    assert!(tokio::join!(control.verify_url(), answer).0.0);
    let check = async {
        let asked = app.take().await;
        assert_eq!(asked.field("ssl_check"), "1");
    };
    let (posted, ()) = tokio::join!(control.ssl_check(), check);
    assert_eq!(posted.status, Some(200));
}

#[tokio::test]
async fn requests_go_nowhere_but_to_this_machine() {
    let refused = local_slack::LocalSlack::start(Options {
        events_url: Some("http://example.com/".to_owned()),
        ..Options::default()
    });
    assert!(matches!(refused.await, Err(StartError::EventsUrl(_))));
    let slack = start().await;
    let refused = slack.control().set_events_url(Some("https://127.0.0.1/"));
    assert!(matches!(refused, Err(ControlError::EventsUrl(_))));
}

#[tokio::test]
async fn a_connection_that_the_app_closed_is_replaced() {
    let slack = start_with(Options {
        ack_timeout: Duration::from_secs(20),
        ..Options::default()
    })
    .await;
    let mut app = App::start(&slack).await;
    for _ in 0..3 {
        let number = slack.control().event(&json!({"type": "team_join"}));
        let asked = app.asked().await;
        asked.answer_with(200, "", &[("connection", "close")]);
        let delivery = soon(slack.control().settled(number)).await;
        assert_eq!(delivery.attempts.len(), 1, "{}: {delivery:?}", app.url);
    }
}
