//! Dead letters, several at a time.

use local_slack::Answer;
use serde_json::{Value, json};

use crate::app::App;
use crate::bridge::{Bridge, Djangobot, djangobot};
use crate::refusals::traces;

#[tokio::test]
async fn a_message_that_gets_too_old_becomes_a_dead_letter_and_later_ones_are_sent() {
    let deployment = super::deployment().await;
    deployment.configure_more("[slack]\nmax-age = 15\n");
    let mut bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    // The first message gets too old during the pause, and the second one is still young when it ends.
    let later = Answer {
        retry_after: Some(20),
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", later);
    app.send("slack.send", &json!({"text": "old"})).await;
    deployment.called("chat.postMessage", 1).await;
    let line = bridge.line("kept as dead letter 1 ").await;
    assert!(line.contains("max-age"), "{line}");
    app.send("slack.send", &json!({"text": "new"})).await;
    assert_eq!(deployment.has("general", 1).await, ["new"]);
}

#[tokio::test]
async fn dead_letters_are_sent_again_and_dropped_together() {
    let deployment = super::deployment().await;
    let mut bridge = deployment.configured_bridge().await;
    let run = async |arguments: &[&str]| {
        let arguments = [&["dead-letters"], arguments].concat();
        Djangobot::run(djangobot(deployment.folder.path(), &arguments)).await
    };
    let mut app = deployment.roomy_app();
    let fall = async |app: &mut App, bridge: &mut Bridge, numbers: std::ops::Range<u64>| {
        for n in numbers {
            let message = json!({"text": n.to_string(), "channel": "ops"});
            app.send("slack.send", &message).await;
            bridge.line(&format!("kept as dead letter {n} ")).await;
        }
    };
    let archived = Answer {
        times: 5,
        error: Some("is_archived".into()),
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", archived);
    fall(&mut app, &mut bridge, 1..6).await;
    app.put("slack.send", b"\xc1").await;
    bridge.line("kept as dead letter 6 ").await;
    assert_eq!(run(&["drop", "1", "3"]).await.code, Some(0));
    assert_eq!(run(&["retry"]).await.code, Some(2));
    let ended = run(&["retry", "2", "7", &deployment.redis.url()]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("there is no dead letter 7"),
        "{ended:?}"
    );
    assert_eq!(deployment.has("ops", 1).await, ["2"]);

    // Where no bridge runs, too: the next one takes them.
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let ended = run(&["retry", "--all"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("1 of 3 dead letters"), "{ended:?}");
    let listed: Value = serde_json::from_str(&run(&["list", "--json"]).await.stdout).unwrap();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["id"]),
        (1, &json!(6))
    );
    let _bridge = deployment.configured_bridge().await;
    assert_eq!(deployment.has("ops", 3).await, ["2", "4", "5"]);
    assert_eq!(run(&["drop", "--all"]).await.code, Some(0));
    assert_eq!(run(&["list"]).await.stdout, "There are no dead letters.\n");
}

#[tokio::test]
async fn the_state_keeps_no_token_of_a_message_that_became_a_dead_letter() {
    let deployment = super::deployment().await;
    let mut bridge = deployment.configured_bridge().await;
    let archived = Answer {
        error: Some("is_archived".into()),
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", archived);
    let mut app = deployment.roomy_app();
    let long = "x".repeat(10_000);
    let message = json!({"text": "hi", "channel": "ops", "token": "hush-4711", "a": [{"my_secret": "hush-4711"}], "long": long});
    app.send("slack.send", &message).await;
    bridge.line("kept as dead letter 1 ").await;
    // Broken after its token, in msgpack and as cut JSON.
    for (n, bytes) in [
        &b"\x83\xa5token\xa9hush-4711\xa4text\xc1\xa8my_token\xa9hush-4711"[..],
        b"\x82\xa9api-token\xd9\x09hush-4711",
        b"{\"text\": \"hi\", \"token\": \"hush-4711\", \"",
    ]
    .into_iter()
    .enumerate()
    {
        app.put("slack.send", bytes).await;
        bridge
            .line(&format!("kept as dead letter {} ", n + 2))
            .await;
    }
    assert!(!bridge.output().contains("hush-4711"));
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let folder = deployment.folder.path();
    assert_eq!(traces(folder, b"hush-4711"), Vec::<String>::new());
    let list = Djangobot::run(djangobot(folder, &["dead-letters", "list", "--json"])).await;
    let listed: Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 4);
    // `hush` in hexadecimal, too.
    assert!(!list.stdout.contains("hush") && !list.stdout.contains("68757368"));
}
