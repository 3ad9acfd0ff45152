//! Names on the way out: those of channels and people that an app writes, whatever the list at the start had. No event
//! reports the changes that these tests make in the workspace.

use local_slack::{Answer, Options};
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::sending::BridgedApp;

impl BridgedApp {
    /// Sends a text to `channel`, and gives the app's answer.
    async fn send_to(&mut self, channel: Value) -> Value {
        let reply = self.app.new_channel().await;
        let message = json!({"text": "hi", "channel": channel, "reply_channel": reply});
        self.app.send("slack.send", &message).await;
        self.app.next(&reply).await
    }
}

#[tokio::test]
async fn channels_and_people_that_are_new_since_the_start_are_found_by_name() {
    let mut bridged = BridgedApp::new().await;
    let control = bridged.control.clone();
    let made = control.add_channel("newchan");
    let renamed = control.channel_id("random").unwrap();
    control.rename_channel("random", "renamed").unwrap();
    let zoe = control.add_user("zoe", "Zoe Zimmer");
    for (channel, expect) in [
        ("newchan", &made),
        ("#renamed", &renamed),
        ("newchan", &made),
    ] {
        let told = bridged.send_to(json!(channel)).await;
        assert_eq!(
            (&told["type"], &told["channel"]),
            (&json!("slack.sent"), &json!(expect)),
            "{channel}: {told}"
        );
    }
    for channel in ["@zoe", "@Zoe Zimmer"] {
        let told = bridged.send_to(json!(channel)).await;
        assert_eq!(told["type"], "slack.sent", "{channel}: {told}");
    }
    let opened = control.calls(Some("conversations.open"));
    assert_eq!(opened[0].arguments, json!({"users": zoe}));
    // Where a method takes no name, too.
    let made = control.add_channel("newer");
    let reply = bridged.app.new_channel().await;
    let message = json!({"method": "reactions.add", "channel": "newer", "timestamp": "1.000001", "name": "eyes", "reply_channel": reply});
    bridged.app.send("slack.send", &message).await;
    assert_eq!(bridged.app.next(&reply).await["error"], "message_not_found");
    let calls = control.calls(Some("reactions.add"));
    assert_eq!(calls[0].arguments["channel"], json!(made));
}

#[tokio::test]
async fn mentions_links_and_objects_of_slack_name_a_conversation() {
    let mut bridged = BridgedApp::new().await;
    let general = bridged.control.channel_id("general").unwrap();
    let alice = bridged.control.user_id("alice").unwrap();
    for channel in [
        json!(format!("<#{general}|general>")),
        json!(format!("<#{general}>")),
        json!(format!("https://local-slack.slack.com/archives/{general}")),
        json!(format!(
            " https://local-slack.slack.com/archives/{general}/p1234567890123456 "
        )),
        json!(format!(
            "https://app.slack.com/client/T0LOCAL0001/{general}"
        )),
        json!({"id": general, "name": "general"}),
        json!(" #general\n"),
        json!("General"),
    ] {
        let told = bridged.send_to(channel.clone()).await;
        assert_eq!(
            (&told["type"], &told["channel"]),
            (&json!("slack.sent"), &json!(general)),
            "{channel}: {told}"
        );
    }
    let dm = bridged.send_to(json!("@alice")).await["channel"].clone();
    for channel in [
        format!("<@{alice}>"),
        format!("<@{alice}|alice>"),
        format!("https://local-slack.slack.com/team/{alice}"),
        " @alice ".to_owned(),
    ] {
        let told = bridged.send_to(json!(channel)).await;
        assert_eq!(told["channel"], dm, "{channel}: {told}");
    }
}

#[tokio::test]
async fn a_known_name_wins_over_an_unknown_id_of_the_same_spelling() {
    let mut bridged = BridgedApp::new().await;
    let dev = bridged.control.add_channel("dev");
    let told = bridged.send_to(json!("DEV")).await;
    assert_eq!(told["channel"], json!(dev), "{told}");
    // A known id is never looked up as a name.
    let general = bridged.control.channel_id("general").unwrap();
    bridged.control.add_channel(&general.to_lowercase());
    let told = bridged.send_to(json!(general)).await;
    assert_eq!(told["channel"], json!(general), "{told}");
    assert_eq!(
        bridged.send_to(json!("DOES")).await["error"],
        "channel_not_found"
    );
}

#[tokio::test]
async fn a_new_name_that_looks_like_an_id_is_found_and_an_id_costs_no_list() {
    let mut bridged = BridgedApp::new().await;
    let control = bridged.control.clone();
    let lists = || {
        let of = |method| control.calls(Some(method)).len();
        (of("conversations.list"), of("users.list"))
    };
    let before = lists();
    // Slack has these, and the roster does not.
    let unknown = control.add_channel("unknown");
    let user = control.add_user("unknown", "Unknown");
    for channel in [unknown.clone(), user, format!("<#{unknown}>")] {
        let told = bridged.send_to(json!(channel)).await;
        assert_eq!(told["type"], "slack.sent", "{channel}: {told}");
    }
    assert_eq!(lists(), before);

    for (name, written) in [
        ("campaign2026", "CAMPAIGN2026"),
        ("general2024", "#GENERAL2024"),
        ("usergroup1", "USERGROUP1"),
        ("dev", "DEV"),
    ] {
        let made = control.add_channel(name);
        let told = bridged.send_to(json!(written)).await;
        assert_eq!(told["channel"], json!(made), "{written}: {told}");
    }
    let made = control.add_channel("campaign2027");
    let reply = bridged.app.new_channel().await;
    let message = json!({"method": "reactions.add", "channel": "CAMPAIGN2027", "timestamp": "1.000001", "name": "eyes", "reply_channel": reply});
    bridged.app.send("slack.send", &message).await;
    assert_eq!(bridged.app.next(&reply).await["error"], "message_not_found");
    let reacted = control.calls(Some("reactions.add"));
    assert_eq!(reacted.last().unwrap().arguments["channel"], json!(made));

    let wolfgang = control.add_user("wolfgang2", "Wolfgang");
    let told = bridged.send_to(json!("@WOLFGANG2")).await;
    assert_eq!(told["type"], "slack.sent", "{told}");
    let opened = control.calls(Some("conversations.open"));
    assert_eq!(opened.last().unwrap().arguments["users"], json!(wolfgang));

    for channel in ["CAMPAIGN1999", "USERGROUP9", "@USERGROUP9"] {
        let told = bridged.send_to(json!(channel)).await;
        let error = told["error"].as_str().unwrap_or_default();
        assert!(error.ends_with("_not_found"), "{channel}: {told}");
    }
}

#[tokio::test]
async fn an_ambiguous_name_fails_with_all_candidates_and_people_who_left_do_not_count() {
    let mut bridged = BridgedApp::new().await;
    let control = bridged.control.clone();
    control.add_user("boss", "The Boss");
    control.deactivate_user("boss").unwrap();
    let heir = control.add_user("heir", "boss");
    let told = bridged.send_to(json!("@boss")).await;
    assert_eq!(told["type"], "slack.sent", "{told}");
    let opened = control.calls(Some("conversations.open"));
    assert_eq!(opened[0].arguments, json!({"users": heir}));

    control.add_user("twin.one", "Twin");
    control.add_user("twin.two", "Twin");
    let told = bridged.send_to(json!("@twin")).await;
    assert_eq!(told["error"], "ambiguous_name", "{told}");
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.contains("@twin.one") && detail.contains("@twin.two"),
        "{detail}"
    );
}

#[tokio::test]
async fn an_org_wide_token_resolves_names() {
    let mut bridged = BridgedApp::with_slack(Options {
        org_wide: true,
        ..Options::default()
    })
    .await;
    for channel in ["general", "@alice"] {
        let told = bridged.send_to(json!(channel)).await;
        assert_eq!(told["type"], "slack.sent", "{channel}: {told}");
    }
}

#[tokio::test]
async fn no_name_is_refused_because_slack_did_not_give_its_list() {
    let deployment = Deployment::new().await;
    let refused = Answer {
        error: Some("team_access_not_granted".into()),
        times: 1_000,
        ..Answer::default()
    };
    deployment.control.answer("conversations.list", refused);
    let mut app = deployment.sender();
    let bridge = deployment.bridge().await;
    let reply = app.new_channel().await;
    for channel in ["general", "@alice"] {
        let message = json!({"text": "hi", "channel": channel, "reply_channel": reply});
        app.send("slack.send", &message).await;
        let told = app.next(&reply).await;
        assert_eq!(told["type"], "slack.sent", "{channel}: {told}");
    }
    assert!(
        !bridge.logs("conversations can't be listed").is_empty(),
        "{}",
        bridge.output()
    );
    let posts = deployment.control.calls(Some("chat.postMessage"));
    assert_eq!(posts[0].arguments["channel"], json!("#general"));
}
