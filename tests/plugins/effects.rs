//! Effects of a call besides its answer: messages, emissions and requests are counted and bounded, and only a call that
//! ended well has them.

use std::time::Duration;

use djangobot_plugins::State;
use serde_json::json;
use tokio::net::TcpListener;

use crate::guest::{Guest, Put};
use crate::stage::{Role, Stage, only, value};

const SEND: &str =
    r#"(import "djangobot:plugin/slack@1.0.0" "send" (func $send (param i32 i32 i32)))"#;
const EMIT: &str =
    r#"(import "djangobot:plugin/emitter@1.0.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))"#;
const FETCH: &str = r#"(import "djangobot:plugin/http@1.0.0" "fetch"
    (func $fetch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;

/// A guest that sends `message` before it does `then`.
fn sends(message: &str, then: &str) -> Guest {
    let mut guest = Guest::new().imports(SEND);
    let at = guest.data.put(message.as_bytes());
    let length = message.len();
    guest.on_event(&format!(
        "(call $send (i32.const {at}) (i32.const {length}) (i32.const 64)) {then}"
    ))
}

fn with_slack(guest: &Guest) -> Role {
    let role = Role::new("sends", guest).manifest("capabilities = [\"slack\"]\n");
    Role {
        grants: vec!["slack"],
        ..role
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_sent_when_the_call_ended_well_and_no_more_than_allowed() {
    let text = r#"{"text":"hi","channel":"general"}"#;
    let mut role = with_slack(&sends(text, "(i32.const 16)"));
    role.limits.sends = Some(3);
    let stage = Stage::with(&[role]).await;
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.extend(stage.message("hi").await.messages);
    }
    assert_eq!(sent.len(), 3, "of ten, as many as a minute allows");
    assert_eq!(
        (value(&sent[0].message), sent[0].hops),
        (json!({"text": "hi", "channel": "general"}), 1)
    );

    let stage = Stage::with(&[with_slack(&sends(text, "unreachable"))]).await;
    assert!(
        stage.message("hi").await.messages.is_empty(),
        "a call that failed has sent nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_on_the_channel_of_the_current_event_or_nowhere() {
    let check = async |named: &str, own: &str, is_sent| {
        let text = format!(r#"{{"text":"hi","reply_channel":{named}}}"#);
        let stage = Stage::with(&[with_slack(&sends(&text, "(i32.const 16)"))]).await;
        let mut message = json!({"text": "go"});
        if !own.is_empty() {
            message["reply_channel"] = json!(own);
        }
        let sent = stage.outbound(message, 0).await.messages;
        assert_eq!(sent.len(), usize::from(is_sent), "{named} {own}");
    };
    check("\"specific.a!b\"", "specific.a!b", true).await;
    check("\"specific.a!b\"", "specific.a!c", false).await;
    check("\"slack.message\"", "", false).await;
    check("[1]", "", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_messages_between_plugins_ends() {
    let stage = Stage::with(&[with_slack(&sends(r#"{"text":"again"}"#, "(i32.const 16)"))]).await;
    let mut hops = 0;
    loop {
        let passed = stage.outbound(json!({"text": "again"}), hops).await;
        match passed.messages.first() {
            Some(message) => {
                assert!(message.hops > hops);
                hops = message.hops;
            }
            None => break,
        }
    }
    assert!((1..=8).contains(&hops), "{hops}");
}

#[tokio::test(flavor = "multi_thread")]
async fn emissions_go_after_the_event_and_too_many_are_refused() {
    let mut guest = Guest::new().imports(EMIT);
    let kind = guest.data.put(b"standup");
    let body = guest.data.put(b"{\"a\":1}");
    let answer = guest.data.edits(&[("/seen", Put::Text("yes"))]);
    let guest = guest.on_event(&format!(
        "(local.set $n (i32.const 1000))
         (loop $again
           (call $emit (i32.const {kind}) (i32.const 7) (i32.const {body}) (i32.const 7) (i32.const 64))
           (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
         (i32.const {answer})"
    ));
    let emits = Role::new("emits", &guest).manifest("emits = [\"standup\"]\n");
    let stage = Stage::with(std::slice::from_ref(&emits)).await;
    let passed = stage.message("hi").await;
    assert_eq!(value(&passed.events[0].body)["seen"], "yes");
    assert_eq!(
        passed.events.len(),
        65,
        "the event, and as many as one call may emit"
    );
    let second = &passed.events[1];
    assert_eq!(
        (&*second.kind, &*second.id, second.emitted),
        ("standup", "Ev1.emits.1000", true)
    );

    let unlisted = Role {
        manifest: String::new(),
        ..emits
    };
    let stage = Stage::with(&[unlisted]).await;
    assert_eq!(stage.message("hi").await.events.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_costs_a_plugin_its_time_and_delays_no_other_conversation() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let mut guest = Guest::new().imports(FETCH);
    let url = format!("http://{address}/");
    let (method, url_at) = (guest.data.put(b"GET"), guest.data.put(url.as_bytes()));
    let answer = guest.data.edits(&[("/asked", Put::Text("yes"))]);
    let guest = guest.on_event(&format!(
        "(call $fetch (i32.const {method}) (i32.const 3) (i32.const {url_at}) (i32.const {}) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 200))
         ;; Its result is an error.
         (if (i32.eqz (i32.load8_u (i32.const 200))) (then unreachable))
         (i32.const {answer})",
        url.len()
    ));
    let grant: &'static str = format!("http:http://{address}").leak();
    let mut role = Role::new("asks", &guest).manifest(&format!("capabilities = [\"{grant}\"]\n"));
    role.grants = vec![grant];
    role.limits.wait_ms = Some(2_000);
    let stage = Stage::private();
    stage.plays(&[role]).await;
    assert_eq!(
        stage.status("asks").state,
        State::Running,
        "{:?}",
        stage.status("asks").why
    );
    assert_eq!(stage.status("asks").instances, 8);
    // Each lane has its own instance, and all wait at the same time, so that two take no longer than one.
    let (one, two) = tokio::join!(stage.in_lane(1), stage.in_lane(2));
    assert_eq!(
        (&only(&one)["asked"], &only(&two)["asked"]),
        (&json!("yes"), &json!("yes"))
    );

    // Without the operator's setting, no address of this machine can be reached.
    let public = Stage::with(&[]).await;
    let role = {
        let mut role =
            Role::new("asks", &guest).manifest(&format!("capabilities = [\"{grant}\"]\n"));
        role.grants = vec![grant];
        role
    };
    public.plays(&[role]).await;
    let asked = tokio::time::timeout(Duration::from_secs(60), public.message("hi"))
        .await
        .unwrap();
    assert_eq!(
        only(&asked)["asked"],
        "yes",
        "an error at once, which the guest takes"
    );
}
