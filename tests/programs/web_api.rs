//! Temporary failures of Slack's Web API: it refuses calls, or a proxy answers in its place, and the bridge waits.

use local_slack::{Answer, Options};
use serde_json::json;

use djangobot_tests::eventually;

use crate::bridge::{Bridge, calls};
use crate::deployment::{Deployment, Transport};

fn refusal(code: &str) -> Answer {
    Answer {
        times: u64::MAX,
        error: Some(code.into()),
        ..Answer::default()
    }
}

/// The page that a proxy gives in Slack's place.
fn page(status: u16) -> Answer {
    Answer {
        times: u64::MAX,
        status,
        body: Some(json!("<html>Who are you?</html>")),
        ..Answer::default()
    }
}

async fn readyz_says(bridge: &Bridge, status: u16) {
    eventually(&format!("/readyz answers {status}"), async || {
        (bridge.get("/readyz").await.0 == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_call_that_slack_refuses_for_now_is_made_later_and_does_not_end_the_bridge() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    readyz_says(&bridge, 200).await;
    let passing = [
        refusal("org_login_required"),
        refusal("accesslimited"),
        page(401),
        page(403),
    ];
    for (round, answer) in passing.into_iter().enumerate() {
        control.answer("*", answer);
        let text = format!("said in round {round}");
        app.send("slack.send", &json!({"text": text})).await;
        readyz_says(&bridge, 503).await;
        bridge.line("Slack's Web API serves no calls").await;
        control.clear_answers();
        let posts = async || {
            let calls = control.calls(Some("chat.postMessage"));
            let said =
                |it: &&local_slack::Call| it.arguments["text"] == *text && it.answer["ok"] == true;
            (calls.iter().filter(said).count() == 1).then_some(())
        };
        eventually("it is posted", posts).await;
        readyz_says(&bridge, 200).await;
    }
}

#[tokio::test]
async fn a_call_that_fails_by_itself_leaves_the_bridge_ready() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    readyz_says(&bridge, 200).await;
    control.answer("chat.update", page(500));
    app.send(
        "slack.send",
        &json!({"method": "chat.update", "channel": "general", "ts": "1.2", "text": "x"}),
    )
    .await;
    calls(control, "chat.update", 2).await;
    assert_eq!(bridge.metric("djangobot_slack_web_api_up").await, 1.0);
    assert_eq!(bridge.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_workspace_that_is_being_moved_is_waited_for_at_the_start() {
    for transport in [Transport::Rtm, Transport::SocketMode] {
        let deployment = Deployment::over(transport, Options::default()).await;
        let control = &deployment.control;
        control.answer("*", refusal("org_login_required"));
        let mut bridge = deployment.start(&[&deployment.redis.url()]).await;
        bridge
            .line("being moved into an Enterprise organization")
            .await;
        assert_eq!(bridge.get("/readyz").await.0, 503);
        control.clear_answers();
        readyz_says(&bridge, 200).await;
    }
}
