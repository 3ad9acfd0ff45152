//! Tokens that change while the bridge runs, and the token that comes with an event.

use djangobot_tests::eventually;
use local_slack::Options;
use rustix::process::Signal;
use serde_json::json;

use crate::bridge::{Bridge, TOKEN};
use crate::deployment::{Deployment, Transport, soon_redelivered};

#[tokio::test]
async fn tokens_that_expire_are_renewed_kept_and_used_after_a_restart() {
    let deployment = Deployment::with_any_token().await;
    let control = &deployment.control;
    let oauth = Options::default().oauth;
    deployment.configure_rotation(&oauth);
    let mut bridge = deployment.bridge().await;
    eventually("the token is refreshed", async || {
        (!bridge.logs("token was refreshed").is_empty()).then_some(())
    })
    .await;
    control.expire_tokens();
    let mut app = deployment.sender();
    app.send("slack.send", &json!({"text": "with a new token"}))
        .await;
    let posted = async |text: &str| {
        eventually("it is posted", async || {
            let calls = control.calls(Some("chat.postMessage"));
            let done = |call: &local_slack::Call| {
                call.arguments["text"] == *text && call.answer["ok"] == true
            };
            calls.iter().any(done).then_some(())
        })
        .await;
    };
    posted("with a new token").await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    for secret in [&oauth.client_secret, &oauth.refresh_token] {
        assert!(!bridge.output().contains(secret.as_str()));
    }
    // The config's tokens are spent; the state has those that are good.
    control.revoke(TOKEN, "invalid_auth");
    let _bridge = deployment.bridge().await;
    let ended = deployment.run(&["check", &deployment.redis.url()]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    control.expire_tokens();
    app.send("slack.send", &json!({"text": "after a restart"}))
        .await;
    posted("after a restart").await;
}

#[tokio::test]
async fn a_token_in_a_file_is_read_again_on_a_hang_up() {
    let deployment = Deployment::with_any_token().await;
    let control = &deployment.control;
    let file = deployment.path("token");
    std::fs::write(&file, "xoxb-first\n").unwrap();
    let mut command = deployment.command(&[&deployment.redis.url(), "--listen", "127.0.0.1:0"]);
    command
        .env_remove("DJANGOBOT_TOKEN")
        .env("DJANGOBOT_TOKEN_FILE", &file);
    let mut bridge = Bridge::of(command).await;
    bridge.line("the roster is loaded").await;
    std::fs::write(&file, "xoxb-second\n").unwrap();
    bridge.signal(Signal::HUP);
    bridge.line("read again on SIGHUP").await;
    control.revoke("xoxb-first", "token_revoked");
    deployment
        .sender()
        .send_and_finish("slack.send", &json!({"text": "hi"}))
        .await;
    let calls = crate::bridge::calls(control, "chat.postMessage", 1).await;
    assert_eq!(calls[0].answer["ok"], true, "{calls:#?}");
    // A file that can't be read changes nothing.
    std::fs::remove_file(&file).unwrap();
    bridge.signal(Signal::HUP);
    bridge.line("can't be read again").await;
    assert_eq!(bridge.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn the_token_of_a_function_reaches_the_app_and_is_shown_nowhere_else() {
    for transport in Transport::OF_APPS {
        let deployment = Deployment::over(transport, soon_redelivered()).await;
        let control = &deployment.control;
        let arguments = ["--log", "debug", &deployment.redis.url()];
        let bridge = deployment.bridge_with(&arguments).await;
        let executed = json!({"type": "function_executed", "function": {"callback_id": "greet"}, "event_ts": "1.000001",
            "function_execution_id": "Fx1", "bot_access_token": "xwfp-hush"});
        deployment.settled(control.event(&executed)).await;
        let mut app = deployment.app(&["slack.function_executed"]).await;
        let event = app.next("slack.function_executed").await;
        assert_eq!(event["bot_access_token"], "xwfp-hush");
        assert_eq!(event["function"], executed["function"]);

        let reply = app.new_channel().await;
        let mut done = json!({"method": "functions.completeSuccess", "function_execution_id": "Fx1", "outputs": {"n": null},
            "reply_channel": reply});
        app.send("slack.send", &done).await;
        assert_eq!(app.next(&reply).await["type"], "slack.sent");
        done["token"] = event["bot_access_token"].clone();
        app.send("slack.send", &done).await;
        assert_eq!(app.next(&reply).await["error"], "invalid_arguments");
        assert!(
            bridge
                .logs("")
                .iter()
                .all(|line| !line.to_string().contains("hush"))
        );
    }
}
