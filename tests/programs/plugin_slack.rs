//! Plugins that work with Slack by themselves: calls of the Web API, outcomes of their messages, answers to commands, the
//! fields of the roster, and timers; each through the whole program.

use local_slack::Options;
use serde_json::{Value, json};

use crate::bridge::check_end;
use crate::deployment::{Deployment, Transport};
use crate::guest::Guest;

const KIND: &str = r#"(import "djangobot:plugin/event@1.0.0" "kind" (func $kind (param i32)))
    (import "djangobot:plugin/event@1.0.0" "json" (func $json (param i32)))
    (import "djangobot:plugin/emitter@1.0.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))"#;

/// Code that emits the current event as one of the kind `told`.
fn tells(guest: &mut Guest) -> String {
    let kind = guest.data.put(b"told");
    format!(
        "(call $json (i32.const 64))
         (call $emit (i32.const {kind}) (i32.const 4) (i32.load (i32.const 64)) (i32.load (i32.const 68)) (i32.const 80))"
    )
}

/// Code that answers with one edit, which sets `pointer` to the value of this case whose text lies at an address that is
/// stored at `from`, with its length after it.
fn sets(guest: &mut Guest, pointer: &str, case: u32, from: u32) -> String {
    let length = pointer.len();
    let pointer = guest.data.put(pointer.as_bytes());
    let at = guest.data.words(&[0, 1, 400, 1]);
    format!(
        "(i32.store (i32.const 400) (i32.const 0))
         (i32.store (i32.const 408) (i32.const {pointer})) (i32.store (i32.const 412) (i32.const {length}))
         (i32.store (i32.const 416) (i32.const {case}))
         (i32.store (i32.const 424) (i32.load (i32.const {from})))
         (i32.store (i32.const 428) (i32.load (i32.const {})))
         (i32.const {at})",
        from + 4
    )
}

/// Adds a plugin of this manifest, without name and version.
async fn add(deployment: &Deployment, name: &str, manifest: &str, guest: &Guest) {
    let text = format!("name = \"{name}\"\nversion = \"1.0.0\"\n{manifest}");
    std::fs::write(deployment.path("module.wasm"), guest.wasm()).unwrap();
    std::fs::write(deployment.path("plugin.toml"), text).unwrap();
    let file = format!("{name}.wasm");
    for arguments in [
        &["plugin", "build", "module.wasm", "-o", &*file][..],
        &["plugin", "add", &*file, "--yes"],
    ] {
        check_end(&deployment.run(arguments).await, 0, &[]);
    }
}

#[tokio::test]
async fn a_plugin_calls_slack_under_its_grant_and_reads_the_answer() {
    let deployment = Deployment::new().await;
    let mut guest = Guest::new().imports(
        r#"(import "djangobot:plugin/slack@1.0.0" "call" (func $call (param i32 i32 i32 i32 i32)))"#,
    );
    let (method, other) = (guest.data.put(b"auth.test"), guest.data.put(b"team.info"));
    let arguments = guest.data.put(b"{}");
    // A result at 64: its tag, and at 72 the text, or at 72 the error's case.
    guest.before_answer = format!(
        "(call $call (i32.const {other}) (i32.const 9) (i32.const {arguments}) (i32.const 2) (i32.const 64))
         (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then unreachable))
         (if (i32.load8_u (i32.const 72)) (then unreachable))
         (call $call (i32.const {method}) (i32.const 9) (i32.const {arguments}) (i32.const 2) (i32.const 64))
         (if (i32.load8_u (i32.const 64)) (then unreachable))"
    );
    let answer = sets(&mut guest, "/whoami", 6, 72);
    let guest = guest.on_event(&answer);
    let manifest = "capabilities = [\"slack:auth.*\"]\n[subscribe]\ninbound = [\"message\"]\n";
    add(&deployment, "asks", manifest, &guest).await;
    let _bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message"]).await;
    deployment.say("hi");
    let message = app.next("slack.message").await;
    let whoami = &message["whoami"];
    assert_eq!(whoami["ok"], true, "{message}");
    assert!(
        whoami["user_id"].is_string() && whoami["team_id"].is_string(),
        "{whoami}"
    );
}

#[tokio::test]
async fn a_plugin_hears_whether_its_message_was_sent() {
    let deployment = Deployment::new().await;
    let mut guest = Guest::new().imports(KIND).imports(
        r#"(import "djangobot:plugin/slack@1.0.0" "send" (func $send (param i32 i32 i32)))"#,
    );
    let good = r#"{"text":"pong","channel":"general"}"#;
    let bad = r#"{"text":"pong","channel":"no-such-channel-at-all"}"#;
    let send = |guest: &mut Guest, message: &str| {
        let at = guest.data.put(message.as_bytes());
        format!(
            "(call $send (i32.const {at}) (i32.const {}) (i32.const 64))",
            message.len()
        )
    };
    let sends = [send(&mut guest, good), send(&mut guest, bad)].concat();
    let tells = tells(&mut guest);
    // `message` has seven letters, and the kinds of outcomes have more.
    let guest = guest.on_event(&format!(
        "(call $kind (i32.const 64))
         (if (i32.eq (i32.load (i32.const 68)) (i32.const 7)) (then {sends}) (else {tells}))
         (i32.const 16)"
    ));
    let manifest = "capabilities = [\"slack\"]\nemits = [\"told\"]\n[subscribe]\n\
        inbound = [{ kind = \"message\", lacks = [\"/bot_id\"] }, \"djangobot.*\"]\n";
    add(&deployment, "sends", manifest, &guest).await;
    let _bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.told"]).await;
    deployment.say("ping");
    let mut told = [app.next("slack.told").await, app.next("slack.told").await];
    told.sort_by_key(|it| it["ok"] == false);
    let [sent, failed] = told;
    let posted = deployment.slack.control().calls(Some("chat.postMessage"));
    assert_eq!(
        (&sent["ok"], &sent["method"]),
        (&json!(true), &json!("chat.postMessage")),
        "{sent}"
    );
    assert!(sent["ts"].is_string() && posted.len() == 1, "{sent}");
    let id = |it: &Value| it["id"].as_str().unwrap().to_owned();
    assert!(
        id(&sent).ends_with(".sends.send.1") && id(&failed).ends_with(".sends.send.2"),
        "{sent} {failed}"
    );
    assert!(
        failed["error"].is_string() && failed["detail"].is_string(),
        "{failed}"
    );
    // The plugin heard of it, so that it is no dead letter.
    let letters = deployment.run(&["dead-letters", "list", "--json"]).await;
    assert_eq!(letters.stdout.trim(), "[]", "{letters:?}");
}

#[tokio::test]
async fn a_plugin_answers_a_command_in_the_apps_place() {
    let deployment = Deployment::over(Transport::SocketMode, Options::default()).await;
    let guest = Guest::new().answers(|data| data.answers_with(r#"{"text":"pong"}"#));
    let manifest = "[subscribe]\ninbound = [\"slash_commands\"]\n";
    add(&deployment, "pongs", manifest, &guest).await;
    let control = &deployment.control;
    let _bridge = deployment.bridge().await;
    let number = control.slash("alice", "general", "/ping", "").unwrap();
    let delivery = deployment.settled(number).await;
    let text = format!("{delivery:?}");
    let posted = control.calls(Some("response_url"));
    assert!(
        text.contains("pong")
            || posted
                .iter()
                .any(|it| it.arguments["body"]["text"] == "pong"),
        "{text} {posted:?}"
    );
}

#[tokio::test]
async fn a_plugin_reads_the_email_of_a_user() {
    let deployment = Deployment::new().await;
    let alice = deployment.slack.control().user_id("alice").unwrap();
    let mut guest = Guest::new().imports(
        r#"(import "djangobot:plugin/roster@1.0.0" "select" (func $select (param i32 i32 i32 i32 i32 i32)))"#,
    );
    let id = guest.data.put(alice.as_bytes());
    let pointer = guest.data.put(b"/profile/email");
    let pointers = guest.data.words(&[pointer, 14]);
    // At 64 an option of a list: its tag, the list's address and length. Each element is an option of a value: its tag, the
    // value's case at 8, and its text at 16.
    guest.before_answer = format!(
        "(call $select (i32.const 0) (i32.const {id}) (i32.const {}) (i32.const {pointers}) (i32.const 1) (i32.const 64))
         (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))
         (i32.store (i32.const 80) (i32.load (i32.add (i32.load (i32.const 68)) (i32.const 16))))
         (i32.store (i32.const 84) (i32.load (i32.add (i32.load (i32.const 68)) (i32.const 20))))",
        alice.len()
    );
    let answer = sets(&mut guest, "/email", 5, 80);
    let guest = guest.on_event(&answer);
    add(
        &deployment,
        "mails",
        "[subscribe]\ninbound = [\"message\"]\n",
        &guest,
    )
    .await;
    let _bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message"]).await;
    deployment.say("hi");
    let message = app.next("slack.message").await;
    let email = message["email"].as_str().unwrap_or_default();
    assert!(email.starts_with("alice@"), "{message}");
}

#[tokio::test]
async fn a_timer_of_a_plugin_tells_the_app() {
    let deployment = Deployment::new().await;
    let mut guest = Guest::new().imports(KIND);
    let tells = tells(&mut guest);
    let guest = guest.on_event(&format!("{tells} (i32.const 16)"));
    let manifest = "emits = [\"told\"]\ntimer = [{ name = \"tick\", every = \"1s\" }]\n\
        [subscribe]\ninbound = [\"djangobot.timer\"]\n";
    add(&deployment, "ticks", manifest, &guest).await;
    let _bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.told"]).await;
    let (one, two) = (app.next("slack.told").await, app.next("slack.told").await);
    assert_eq!(
        (&one["name"], &two["name"]),
        (&json!("tick"), &json!("tick"))
    );
    assert!(
        one["due_ms"].as_u64() < two["due_ms"].as_u64(),
        "{one} {two}"
    );
}
