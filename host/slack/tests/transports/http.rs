//! Events, commands and interactions over HTTP, from Slack's side.

use std::sync::Arc;

use djangobot_slack::http_events::{self, Config, Counts};
use local_slack::{Control, Outcome, Traffic};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// The handler at work, and a Slack that knows its address.
struct Serving {
    _slack: LocalSlack,
    control: Control,
    counts: Arc<Counts>,
    _task: AbortOnDropHandle<()>,
}

impl Serving {
    async fn start(options: Options, path: &str) -> (Serving, mpsc::Receiver<Incoming>) {
        let slack = start(options).await;
        let config = Config {
            signing_secrets: vec!["another".into(), slack.signing_secret().into()].into(),
            ..Config::default()
        };
        let counts = Arc::clone(&config.counts);
        let (out, incoming) = mpsc::channel(256);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let router = http_events::router(config, out);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let control = slack.control();
        control.set_events_url(Some(&url)).unwrap();
        let serving = Serving {
            _slack: slack,
            control,
            counts,
            _task: AbortOnDropHandle::new(task),
        };
        (serving, incoming)
    }
}

async fn frame(incoming: &mut mpsc::Receiver<Incoming>) -> Frame {
    match soon(incoming.recv()).await {
        Some(Incoming::Frame(frame)) => frame,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn numbered_events_come_once_each() {
    let (serving, incoming) = Serving::start(Options::default(), "/slack/events").await;
    let taking = tokio::spawn(take_all(incoming));
    let traffic = Traffic {
        events: 2_000,
        open: 100,
        ..Traffic::default()
    };
    let report = soon(serving.control.traffic(traffic)).await;
    assert_eq!((report.acknowledged, report.retries), (2_000, 0));
    assert_eq!(
        (
            serving.counts.of(http_events::Outcome::Unanswered),
            serving.counts.of(http_events::Outcome::Refused)
        ),
        (0, 0)
    );
    drop(serving);
    let taken = soon(taking).await.unwrap();
    assert!(taken.is_all(2_000) && taken.again == 0, "{taken:?}");
}

#[tokio::test]
async fn an_event_that_is_not_taken_comes_again_as_the_same() {
    let (serving, mut incoming) = Serving::start(retrying(), "/slack/events").await;
    let number = serving.control.event(&json!({"type": "team_join"}));
    let first = frame(&mut incoming).await;
    assert_eq!((first.origin.attempt, first.origin.retry_reason), (1, None));
    drop(first.ack);
    let second = frame(&mut incoming).await;
    assert_eq!(second.origin.attempt, 2);
    assert_eq!(second.origin.retry_reason.as_deref(), Some("http_error"));
    assert_eq!(second.origin.event_id, first.origin.event_id);
    assert!(second.origin.event_id.is_some());
    // Neither given nor dropped in time.
    let third = frame(&mut incoming).await;
    assert_eq!(third.origin.attempt, 3);
    assert_eq!(third.origin.retry_reason.as_deref(), Some("http_timeout"));
    third.ack.unwrap().confirm();
    let delivery = soon(serving.control.settled(number)).await;
    assert_eq!(
        (delivery.outcome, delivery.attempts.len()),
        (Outcome::Acknowledged, 3)
    );
    drop(second);
}

#[tokio::test]
async fn slack_finds_the_url_good() {
    let (serving, mut incoming) = Serving::start(Options::default(), "/slack/events").await;
    assert!(soon(serving.control.verify_url()).await.0);
    let posted = soon(serving.control.ssl_check()).await;
    assert_eq!((posted.status, posted.body.as_str()), (Some(200), ""));
    assert!(incoming.try_recv().is_err());
}

#[tokio::test]
async fn commands_and_interactions_are_answered_in_the_response() {
    for path in ["/slack/commands", "/slack/interactivity"] {
        let (serving, mut incoming) = Serving::start(Options::default(), path).await;
        let control = &serving.control;
        let answer = json!({"text": "done é"});
        let number = control.slash("alice", "general", "/do", "a=b & ü").unwrap();
        let command = frame(&mut incoming).await;
        assert_eq!(
            command.event.unwrap().text("/text").as_deref(),
            Some("a=b & ü")
        );
        assert!(command.origin.answerable);
        command
            .ack
            .unwrap()
            .answer(answer.to_string().into())
            .unwrap();
        let delivery = soon(control.settled(number)).await;
        assert_eq!(delivery.attempts[0].response, Some(answer));

        let number = control
            .interact(
                "alice",
                None,
                &json!({"type": "view_submission", "view": {"id": "V1"}}),
            )
            .unwrap();
        let submission = frame(&mut incoming).await;
        assert_eq!(
            submission.event.unwrap().text("/view/id").as_deref(),
            Some("V1")
        );
        assert!(submission.origin.answerable);
        assert_eq!(submission.origin.kind, None);
        submission.ack.unwrap().confirm();
        let delivery = soon(control.settled(number)).await;
        assert_eq!(delivery.outcome, Outcome::Acknowledged);

        control.app_rate_limited();
        let limited = frame(&mut incoming).await;
        assert_eq!(
            limited.event.unwrap().text("/type").as_deref(),
            Some("app_rate_limited")
        );
        limited.ack.unwrap().confirm();
    }
}
