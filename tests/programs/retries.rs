//! Calls of Slack that fail: they are tried again if they surely had no effect, and only then.

use local_slack::Answer;
use serde_json::json;

use crate::sending::BridgedApp;

#[tokio::test]
async fn a_message_is_sent_after_the_time_of_slacks_retry_after() {
    let mut bridged = BridgedApp::new().await;
    bridged.control.answer(
        "chat.postMessage",
        Answer {
            times: 2,
            retry_after: Some(1),
            ..Answer::default()
        },
    );
    let answer = bridged.ask(json!({"text": "patience"})).await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    let calls = bridged.control.calls(Some("chat.postMessage"));
    assert_eq!(
        calls.iter().map(|call| call.status).collect::<Vec<_>>(),
        [429, 429, 200]
    );
    assert!(
        calls.windows(2).all(|pair| pair[1].at - pair[0].at >= 1.0),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_call_that_slack_did_not_carry_out_is_tried_again() {
    let mut bridged = BridgedApp::new().await;
    bridged.control.answer(
        "chat.postMessage",
        Answer {
            error: Some("service_unavailable".into()),
            ..Answer::default()
        },
    );
    let answer = bridged.ask(json!({"text": "again"})).await;
    assert_eq!(answer["type"], "slack.sent", "{answer}");
    assert_eq!(bridged.control.calls(Some("chat.postMessage")).len(), 2);
    assert!(
        bridged
            .control
            .calls(Some("conversations.history"))
            .is_empty()
    );
}

#[tokio::test]
async fn a_call_that_may_have_had_its_effect_and_can_not_be_looked_up_is_not_tried_again() {
    let mut bridged = BridgedApp::new().await;
    for perform in [true, false] {
        bridged.control.clear_calls();
        let cut = Answer {
            hang_up: true,
            perform,
            ..Answer::default()
        };
        bridged.control.answer("chat.postEphemeral", cut);
        let user = bridged.control.user_id("alice").unwrap();
        let message = json!({"method": "chat.postEphemeral", "text": "perhaps", "user": user});
        let answer = bridged.ask(message).await;
        assert_eq!(
            (&answer["type"], &answer["error"]),
            (&json!("slack.failed"), &json!("interrupted")),
            "{answer}"
        );
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains("Slack may have carried it out"), "{detail}");
        assert_eq!(bridged.control.calls(Some("chat.postEphemeral")).len(), 1);
        bridged.still_serves().await;
    }
}
