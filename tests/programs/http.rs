//! The HTTP transport as Slack, and whoever else, meets it.

use std::time::{SystemTime, UNIX_EPOCH};

use djangobot_tests::eventually;
use hmac::{Hmac, Mac};
use local_slack::{Answer, LocalSlack, Options};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bridge::Bridge;
use crate::deployment::{Deployment, Transport};

const FORM: &str = "application/x-www-form-urlencoded";
pub(crate) const JSON: &str = "application/json";

/// A deployment over HTTP, whose requests the test itself makes.
pub(crate) async fn deployment() -> Deployment {
    Deployment::over(Transport::Http, Options::default()).await
}

/// A bridge that knows names, and whose address Slack does not.
pub(crate) async fn bridge(deployment: &Deployment) -> Bridge {
    let mut bridge = deployment.start(&[&deployment.redis.url()]).await;
    bridge.line("the roster is loaded").await;
    bridge
}

/// A request that Slack signed, as it goes over the wire.
pub(crate) fn signed(slack: &LocalSlack, path: &str, kind: &str, body: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let mac = Hmac::<Sha256>::new_from_slice(slack.signing_secret().as_bytes()).unwrap();
    let mac = mac.chain_update(format!("v0:{now}:{body}"));
    let signature = format!("{:x}", mac.finalize().into_bytes());
    format!(
        "POST {path} HTTP/1.0\r\nhost: bot.example\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
         x-slack-request-timestamp: {now}\r\nx-slack-signature: v0={signature}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request and gives the answer's status and body.
pub(crate) async fn send(bridge: &Bridge, request: &str) -> (u16, String) {
    let address = bridge.url("").replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The body that Slack posts for an event.
pub(crate) fn event(id: &str, event: &Value) -> String {
    json!({"type": "event_callback", "team_id": "T0LOCAL0001", "event_id": id, "event": event})
        .to_string()
}

#[tokio::test]
async fn a_slash_at_the_end_of_a_path_makes_no_difference_and_a_wrong_path_is_logged() {
    let deployment = deployment().await;
    let mut bridge = bridge(&deployment).await;
    let mut app = deployment.app(&["slack.numbered"]).await;
    let paths = [
        "/slack/events/",
        "/slack/commands/",
        "/slack/interactivity/",
        "//slack/events",
    ];
    for (n, path) in paths.into_iter().enumerate() {
        let body = event(&format!("Ev{n}"), &json!({"type": "numbered", "n": n}));
        let (status, text) = send(&bridge, &signed(&deployment.slack, path, JSON, &body)).await;
        assert_eq!(status, 200, "{path}: {text}");
        assert_eq!(app.next("slack.numbered").await["n"], n);
    }
    assert_eq!(bridge.get("/healthz/").await.0, 200);
    assert_eq!(bridge.get("/readyz/").await.0, 200);
    assert_eq!(bridge.get("/metrics/").await.0, 200);

    let (status, text) = send(
        &bridge,
        &signed(&deployment.slack, "/slack/event", JSON, "{}"),
    )
    .await;
    assert_eq!(status, 404);
    assert!(text.contains("https://bot.example/slack/events"), "{text}");
    let line = bridge
        .line("there is no handler for POST /slack/event")
        .await;
    assert!(line.contains("https://bot.example/slack/events"), "{line}");
}

#[tokio::test]
async fn a_signed_request_is_taken_once_however_often_it_is_sent() {
    let deployment = deployment().await;
    let mut app = deployment
        .app(&[
            "slack.view_closed",
            "slack.slash_commands",
            "slack.numbered",
        ])
        .await;
    let closed =
        "payload=%7B%22type%22%3A%22view_closed%22%2C%22view%22%3A%7B%22id%22%3A%22V1%22%7D%7D";
    let requests = [
        ("slack.view_closed", FORM, closed.to_owned()),
        (
            "slack.slash_commands",
            FORM,
            "command=%2Fdeploy&text=it&team_id=T0LOCAL0001".to_owned(),
        ),
        (
            "slack.numbered",
            JSON,
            event("Ev1", &json!({"type": "numbered"})),
        ),
    ];
    let requests = requests.map(|(channel, kind, body)| {
        (
            channel,
            signed(&deployment.slack, "/slack/events", kind, &body),
        )
    });
    // Also by the next process.
    for _ in 0..2 {
        let mut bridge = bridge(&deployment).await;
        for _ in 0..3 {
            for (_, request) in &requests {
                assert_eq!(send(&bridge, request).await.0, 200);
            }
        }
        bridge.terminate().await;
    }
    for (channel, _) in &requests {
        app.next(channel).await;
        assert!(app.left(channel).is_empty(), "{channel}");
    }
}

#[tokio::test]
async fn each_request_is_counted_by_its_outcome() {
    let deployment = deployment().await;
    let bridge = bridge(&deployment).await;
    let body = event("Ev1", &json!({"type": "numbered"}));
    let good = signed(&deployment.slack, "/slack/events", JSON, &body);
    for (outcome, request, expect) in [
        ("taken", good.clone(), 200),
        (
            "unsigned",
            good.replace("x-slack-signature", "x-other"),
            401,
        ),
        ("refused", good.replace("numbered", "forged__"), 401),
        (
            "unreadable",
            signed(&deployment.slack, "/slack/events", JSON, "rubbish"),
            400,
        ),
        (
            "unknown_path",
            signed(&deployment.slack, "/slack/actions", JSON, &body),
            404,
        ),
    ] {
        let name = format!("djangobot_http_requests_total{{outcome=\"{outcome}\"}}");
        let before = bridge.metric(&name).await;
        assert_eq!(send(&bridge, &request).await.0, expect, "{outcome}");
        bridge.metric_is(&name, before + 1.0).await;
    }
    let (_, page) = bridge.get("/metrics").await;
    for outcome in ["too_large", "unanswered"] {
        assert!(page.contains(&format!("outcome=\"{outcome}\"")), "{page}");
    }
}

#[tokio::test]
async fn while_the_web_api_is_away_at_a_start_the_events_of_a_known_team_are_taken() {
    let deployment = deployment().await;
    let control = &deployment.control;
    let body = |n: u64| event(&format!("Ev{n}"), &json!({"type": "numbered", "n": n}));
    let away = || {
        control.answer(
            "*",
            Answer {
                times: u64::MAX,
                status: 502,
                body: Some(json!("<html>bad gateway</html>")),
                ..Answer::default()
            },
        );
    };

    // Nobody knows yet whose they are.
    away();
    let mut unknown = deployment.start(&[&deployment.redis.url()]).await;
    let early = event("Ev0", &json!({"type": "early"}));
    let request = signed(&deployment.slack, "/slack/events", JSON, &early);
    assert_eq!(send(&unknown, &request).await.0, 503);
    control.clear_answers();
    eventually("it is ready", async || {
        (unknown.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    unknown.terminate().await;

    away();
    let mut bridge = deployment.start(&[&deployment.redis.url()]).await;
    let mut app = deployment
        .app(&["slack.numbered", "slack.view_closed", "slack.hello"])
        .await;
    for n in 1..4 {
        let request = signed(&deployment.slack, "/slack/events", JSON, &body(n));
        assert_eq!(send(&bridge, &request).await.0, 200);
    }
    let closed = "payload=%7B%22type%22%3A%22view_closed%22%7D";
    let request = signed(&deployment.slack, "/slack/interactivity", FORM, closed);
    assert_eq!(send(&bridge, &request).await.0, 200);
    for n in 1..4 {
        assert_eq!(app.next("slack.numbered").await["n"], n);
    }
    let closed = app.next("slack.view_closed").await;
    assert_eq!(closed["djangobot"]["team_id"], "T0LOCAL0001");
    assert_eq!(bridge.get("/readyz").await.0, 503);
    // Nothing is sent before Slack has taken the token.
    app.send("slack.send", &json!({"text": "later"})).await;
    control.clear_answers();
    bridge.line("ready for Slack's requests").await;
    app.next("slack.hello").await;
    eventually("it is posted", async || {
        let calls = control.calls(Some("chat.postMessage"));
        (calls.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn our_keys_win_over_those_of_slacks_wrapper() {
    let deployment = deployment().await;
    let bridge = bridge(&deployment).await;
    let mut app = deployment.app(&["slack.numbered"]).await;
    let body = json!({
        "type": "event_callback", "team_id": "T0LOCAL0001", "event_id": "Ev1", "event": {"type": "numbered"},
        "id": 7, "attempt": "many", "transport": "pigeon", "received_at": null, "retry_reason": "none", "event_time": 5,
    });
    let request = signed(&deployment.slack, "/slack/events", JSON, &body.to_string());
    assert_eq!(send(&bridge, &request).await.0, 200);
    let about = &app.next("slack.numbered").await["djangobot"];
    assert_eq!(
        (&about["id"], &about["attempt"]),
        (&json!("Ev1"), &json!(1))
    );
    assert_eq!(about["transport"], "http");
    assert!(about["received_at"].is_f64(), "{about}");
    assert!(about.get("retry_reason").is_none(), "{about}");
    assert_eq!(about["event_time"], 5);
}

#[tokio::test]
async fn events_of_every_type_are_forwarded_after_a_thousand_odd_types() {
    let deployment = deployment().await;
    let bridge = bridge(&deployment).await;
    for n in 0..1_200 {
        let body = event(&format!("Ev{n}"), &json!({"type": format!("odd_{n}")}));
        let request = signed(&deployment.slack, "/slack/events", JSON, &body);
        assert_eq!(send(&bridge, &request).await.0, 200, "{n}");
    }
    let mut app = deployment.sender();
    let types = ["message", "app_mention", "odd_7", "odd_1199", "odd_late"];
    let channels: Vec<String> = types.iter().map(|kind| format!("slack.{kind}")).collect();
    let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
    app.receive(&channels).await;
    for kind in types {
        let inner = json!({"type": kind, "channel": "C1", "ts": "5.000001", "late": true});
        let request = signed(
            &deployment.slack,
            "/slack/events",
            JSON,
            &event(&format!("Ev-{kind}"), &inner),
        );
        assert_eq!(send(&bridge, &request).await.0, 200, "{kind}");
        while app
            .next(&format!("slack.{kind}"))
            .await
            .get("late")
            .is_none()
        {}
    }
    assert_eq!(
        bridge
            .metric("djangobot_events_total{type=\"message\"}")
            .await,
        1.0
    );
    let (_, page) = bridge.get("/metrics").await;
    let odd = page.matches("djangobot_events_total{type=\"odd_").count();
    assert!(odd <= 1_000, "{odd} labels");
}
