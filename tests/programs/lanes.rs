//! Waiting on the way out: a stop waits for calls under way, and no conversation waits for another one.

use djangobot_tests::eventually;
use local_slack::{Answer, Control};
use serde_json::{Value, json};

use crate::bridge::calls;
use crate::deployment::Deployment;

fn slowly(times: u64, delay_ms: u64) -> Answer {
    Answer {
        times,
        delay_ms,
        ..Answer::default()
    }
}

fn texts(control: &Control) -> Vec<String> {
    let posts = control.calls(Some("chat.postMessage"));
    let text = |answer: &Value| answer["text"].as_str().unwrap().to_owned();
    posts.iter().map(|call| text(&call.arguments)).collect()
}

#[tokio::test]
async fn a_stop_posts_no_message_twice() {
    const MESSAGES: usize = 12;
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    control.answer("chat.postMessage", slowly(MESSAGES as u64, 2_000));
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    for n in 0..MESSAGES {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    calls(control, "chat.postMessage", 2).await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    control.clear_answers();
    let before = texts(control).len();
    assert!(before < MESSAGES, "a stop begins no further call");
    let _bridge = deployment.bridge().await;
    calls(control, "chat.postMessage", MESSAGES).await;
    app.send("slack.send", &json!({"text": "last"})).await;
    eventually("the last is posted", async || {
        texts(control).contains(&"last".to_owned()).then_some(())
    })
    .await;
    let expect: Vec<_> = (0..MESSAGES).map(|n| n.to_string()).collect();
    assert_eq!(texts(control)[..MESSAGES], expect);
    assert_eq!(texts(control).len(), MESSAGES + 1);
}

#[tokio::test]
async fn a_busy_conversation_does_not_hold_up_another() {
    const MESSAGES: usize = 300;
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    // So slowly that a sixth of them would take longer than a test waits for anything.
    let slow = Answer {
        contains: control.channel_id("general").unwrap(),
        ..slowly(u64::MAX, 2_000)
    };
    control.answer("chat.postMessage", slow);
    let _bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    for n in 0..MESSAGES {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    let other = json!({"text": "other", "channel": "random"});
    app.send("slack.send", &other).await;
    eventually("the other conversation has its message", async || {
        texts(control).contains(&"other".to_owned()).then_some(())
    })
    .await;
    let posted = texts(control).len();
    assert!(posted < MESSAGES / 6, "it waited for {posted} of the first");
}

#[tokio::test]
async fn a_token_that_slack_revokes_ends_the_bridge_and_keeps_the_messages() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let revoked = Answer {
        times: 100,
        error: Some("token_revoked".into()),
        ..Answer::default()
    };
    control.answer("chat.postMessage", revoked);
    let mut bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    for n in 0..3 {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    assert_eq!(bridge.exit().await.code(), Some(1));
    assert!(
        !bridge.logs("token_revoked").is_empty(),
        "{}",
        bridge.output()
    );
    control.clear_answers();
    control.clear_calls();
    let _bridge = deployment.bridge().await;
    calls(control, "chat.postMessage", 3).await;
    assert_eq!(texts(control), ["0", "1", "2"]);
}

#[tokio::test]
async fn an_event_is_never_taken_for_a_message_of_the_app() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let _bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.send_"]).await;
    control.emit(
        None,
        &json!({"type": "send", "text": "forged", "channel": "general"}),
    );
    assert_eq!(app.next("slack.send_").await["text"], "forged");
    app.send("slack.send", &json!({"text": "mine"})).await;
    calls(control, "chat.postMessage", 1).await;
    assert_eq!(texts(control), ["mine"]);
}
