//! Tests of the plugin with the SDK's test host.

use djangobot_plugin::roster::User;
use djangobot_plugin::testing::{Host, TestPlugin};
use serde_json::{Value, json};

use super::ResolveNames;

fn load(config: Value) -> TestPlugin<ResolveNames> {
    Host::new()
        .manifest(include_str!("../plugin.toml"))
        .me("U0", "B0", "djangobot")
        .user("U1", "alice")
        .add_user(User {
            id: "W2".into(),
            name: "bob".into(),
            display_name: "Bob <3".into(),
            real_name: "Bob B. Baker".into(),
            is_bot: false,
            deleted: false,
        })
        .channel("C1", "general")
        .channel("G1", "secret")
        .channel("D1", "")
        .usergroup("S1", "ops")
        .bot("B1", "ci")
        .load(config)
}

#[test]
fn names_are_added_to_the_ids_of_every_kind_of_event() {
    let mut plugin = load(json!({}));
    let mut check = |kind: &str, event: Value, expect: Value| {
        let mut whole = event.clone();
        merge(&mut whole, &expect);
        assert_eq!(plugin.inbound(kind, event).event, whole, "{kind}");
    };
    check(
        "message",
        json!({"user": "U1", "channel": "C1", "text": "hi", "ts": "1.2"}),
        json!({"user_name": "alice", "channel_name": "general"}),
    );
    check(
        "message",
        json!({"subtype": "bot_message", "bot_id": "B1", "channel": "D1", "text": ""}),
        json!({"bot_name": "ci"}),
    );
    check(
        "message",
        json!({"subtype": "message_changed", "channel": "C1",
            "message": {"user": "U1", "text": "x", "edited": {"user": "W2"}},
            "previous_message": {"user": "U1", "text": "y"}}),
        json!({"channel_name": "general",
            "message": {"user_name": "alice", "edited": {"user_name": "bob"}},
            "previous_message": {"user_name": "alice"}}),
    );
    check(
        "message",
        json!({"subtype": "channel_join", "user": "U1", "inviter": "W2", "channel": "G1"}),
        json!({"user_name": "alice", "inviter_name": "bob", "channel_name": "secret"}),
    );
    check(
        "reaction_added",
        json!({"user": "U1", "item_user": "W2", "item": {"type": "message", "channel": "C1"}}),
        json!({"user_name": "alice", "item_user_name": "bob", "item": {"channel_name": "general"}}),
    );
    check(
        "pin_added",
        json!({"user": "U1", "channel_id": "C1",
            "item": {"created_by": "W2", "message": {"user": "U1", "bot_id": "B1"}}}),
        json!({"user_name": "alice", "channel_name": "general",
            "item": {"created_by_name": "bob", "message": {"user_name": "alice", "bot_name": "ci"}}}),
    );
    check(
        "channel_created",
        json!({"channel": {"id": "C1", "name": "general", "creator": "U1"}}),
        json!({"channel_name": "general", "channel": {"creator_name": "alice"}}),
    );
    check(
        "team_join",
        json!({"user": {"id": "U1", "name": "alice"}}),
        json!({"user_name": "alice"}),
    );
    check(
        "channel_left",
        json!({"channel": "C1", "actor_id": "W2"}),
        json!({"channel_name": "general", "actor_name": "bob"}),
    );
    check(
        "file_shared",
        json!({"file_id": "F1", "user_id": "U1"}),
        json!({"user_name": "alice"}),
    );
    check(
        "presence_change",
        json!({"users": ["U1", "U404", "W2"], "presence": "away"}),
        json!({"users_name": ["alice", "U404", "bob"]}),
    );
    check(
        "subteam_updated",
        json!({"subteam": {"id": "S1", "users": ["U1"], "created_by": "W2"}}),
        json!({"subteam_name": "ops", "subteam": {"users_name": ["alice"], "created_by_name": "bob"}}),
    );
    check(
        "subteam_self_added",
        json!({"subteam_id": "S1"}),
        json!({"subteam_name": "ops"}),
    );
    check(
        "channel_id_changed",
        json!({"old_channel_id": "G1", "new_channel_id": "C1"}),
        json!({"old_channel_name": "secret", "new_channel_name": "general"}),
    );
    check(
        "bot_added",
        json!({"bot": {"id": "B1"}}),
        json!({"bot_name": "ci"}),
    );
    check("hello", json!({}), json!({}));
    check(
        "custom",
        json!({"user": 5, "channel": null, "users": [1, null], "item": "C1"}),
        json!({}),
    );
    check(
        "message",
        json!({"user": "U404", "channel": "C404"}),
        json!({}),
    );
}

/// Lays the members of one object over another, at every depth.
fn merge(whole: &mut Value, with: &Value) {
    match (whole, with) {
        (Value::Object(whole), Value::Object(with)) => {
            for (key, value) in with {
                merge(whole.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (whole, with) => *whole = with.clone(),
    }
}

#[test]
fn mentions_in_texts_become_names() {
    let check = |config: Value, text: &str, expect: &str| {
        let outcome = load(config).inbound("message", json!({"text": text}));
        assert_eq!(outcome.event["text"], expect);
    };
    let none = || json!({});
    check(
        none(),
        "<@U1> and <@W2|robert>: <#C1|old-name>",
        "@alice and @bob: #general",
    );
    check(
        none(),
        "<!subteam^S1> <!here> <https://a.org|<@>",
        "@ops <!here> <https://a.org|<@>",
    );
    check(
        none(),
        "<@U404> <@U1> <#C404|lost>",
        "<@U404> @alice <#C404|lost>",
    );
    check(none(), "a &lt;@U1&gt; b", "a &lt;@U1&gt; b");
    check(
        json!({"style": "display-name"}),
        "<@W2> <@U1>",
        "@Bob &lt;3 @alice",
    );
    check(json!({"style": "real-name"}), "<@W2>", "@Bob B. Baker");
    check(json!({"texts": []}), "<@U1>", "<@U1>");

    let event = json!({"subtype": "message_changed", "message": {"text": "<@U1>"}, "previous_message": {"text": "<@W2>"}});
    let outcome = load(json!({})).inbound("message", event);
    assert_eq!(outcome.event["message"]["text"], "@alice");
    assert_eq!(outcome.event["previous_message"]["text"], "@bob");
}

#[test]
fn fields_of_choice_may_be_replaced() {
    let event = json!({"user": "U1", "files": [{"user": "W2"}], "reply_users": ["U1", "U404"]});
    let config = json!({"fields": ["/user", "/files/0/user", "/reply_users/0"], "mode": "replace"});
    let outcome = load(config).inbound("message", event.clone());
    let expect =
        json!({"user": "alice", "files": [{"user": "bob"}], "reply_users": ["alice", "U404"]});
    assert_eq!(outcome.event, expect);

    let config = json!({"fields": ["/files/0/user"], "suffix": "_resolved"});
    let outcome = load(config).inbound("message", event);
    assert_eq!(
        outcome.event["files"],
        json!([{"user": "W2", "user_resolved": "bob"}])
    );
    assert_eq!(outcome.event.get("user_name"), None);
}

#[test]
fn blocks_are_named_if_the_operator_sets_it() {
    let blocks = json!([
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
            {"type": "text", "text": "<@U1> "},
            {"type": "user", "user_id": "U1", "style": {"bold": true}},
            {"type": "channel", "channel_id": "C1"},
            {"type": "usergroup", "usergroup_id": "S1"},
            {"type": "user", "user_id": "U404"},
            {"type": "emoji", "name": "wave"}]}]},
        {"type": "section", "text": {"type": "mrkdwn", "text": "for <@W2>"}},
    ]);
    let expect = json!([
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
            {"type": "text", "text": "<@U1> "},
            {"type": "text", "text": "@alice", "style": {"bold": true}},
            {"type": "text", "text": "#general"},
            {"type": "text", "text": "@ops"},
            {"type": "user", "user_id": "U404"},
            {"type": "emoji", "name": "wave"}]}]},
        {"type": "section", "text": {"type": "mrkdwn", "text": "for @bob"}},
    ]);
    let event = json!({"text": "hi", "blocks": blocks});
    let outcome = load(json!({"blocks": true})).inbound("message", event.clone());
    assert_eq!(outcome.event["blocks"], expect);
    assert!(load(json!({})).inbound("message", event).kept());
}

#[test]
fn an_event_costs_few_calls_of_the_host() {
    let event = json!({"user": "U1", "channel": "C1", "parent_user_id": "W2", "text": "<@U1> <@W2> <@U404>"});
    let outcome = load(json!({})).inbound("message", event);
    let expect = [
        "event.kind",
        "event.select",
        "roster.get-users",
        "roster.get-conversation",
    ];
    assert_eq!(outcome.calls, expect);
    assert_eq!(
        load(json!({})).inbound("hello", json!({})).calls,
        ["event.kind", "event.select"]
    );
}

#[test]
fn a_config_that_can_not_work_is_refused() {
    let check = |config: Value, expect: &str| {
        let host = Host::new().manifest(include_str!("../plugin.toml"));
        let error = host.try_load::<ResolveNames>(config).unwrap_err();
        assert!(error.contains(expect), "{error} / {expect}");
    };
    check(json!({"style": "nick"}), "/style");
    check(json!({"fields": ["user"]}), "/fields/0");
    check(json!({"fields": ["/users/0"]}), "element of an array");
    check(json!({"sufix": "_x"}), "sufix");
    check(json!({"suffix": "/x"}), "/suffix");
    let error = Host::new()
        .try_load::<ResolveNames>(json!({"style": "nick"}))
        .unwrap_err();
    assert!(error.starts_with("style: unknown variant"), "{error}");
}
