//! Tests of the plugin with the SDK's test host.

use djangobot_plugin::testing::{Host, TestPlugin};
use serde_json::{Value, json};

use super::Mentions;

fn load(config: Value) -> TestPlugin<Mentions> {
    Host::new()
        .manifest(include_str!("../plugin.toml"))
        .me("U0", "B0", "djangobot")
        .user("U1", "alice")
        .load(config)
}

#[test]
fn a_message_to_the_bot_comes_again_as_a_mention() {
    let event = json!({"type": "message", "user": "U1", "text": "<@U0> deploy <#C2>", "channel": "C1",
        "ts": "1700000000.000100", "thread_ts": "1700000000.000000", "files": [{"id": "F1"}]});
    let mut expect = event.clone();
    expect["type"] = "mention".into();
    expect["text"] = "deploy <#C2>".into();
    let outcome = load(json!({})).inbound("message", event);
    assert!(outcome.kept());
    assert_eq!(outcome.emitted.len(), 1);
    assert_eq!(
        (outcome.emitted[0].kind.as_str(), &outcome.emitted[0].body),
        ("mention", &expect)
    );
}

#[test]
fn only_what_addresses_the_bot_is_a_mention() {
    let check = |config: Value, event: Value, expect: Option<&str>| {
        let outcome = load(config.clone()).inbound("message", event.clone());
        let found = outcome
            .emitted
            .first()
            .map(|one| one.body["text"].as_str().unwrap());
        assert_eq!(found, expect, "{config} {event}");
    };
    let none = json!({});
    let said = |text: &str, channel: &str| json!({"user": "U1", "text": text, "channel": channel});
    check(none.clone(), said("hello", "C1"), None);
    check(none.clone(), said("<@U1> hello", "C1"), None);
    check(none.clone(), said("hello <@U0>", "C1"), Some("hello"));
    check(none.clone(), said(" hello ", "D1"), Some("hello"));
    check(none.clone(), said("<@U0> hello", "D1"), Some("hello"));
    check(json!({"direct-messages": false}), said("hello", "D1"), None);
    check(
        json!({"direct-messages": false}),
        said("<@U0> hello", "D1"),
        Some("hello"),
    );
    check(
        json!({"position": "start"}),
        said("hello <@U0>", "C1"),
        None,
    );
    check(
        json!({"aliases": ["bot"]}),
        said("bot: hello", "C1"),
        Some("hello"),
    );
    check(json!({"aliases": ["bot"]}), said("hello", "C1"), None);

    let own = json!({"user": "U0", "text": "<@U0> me", "channel": "D1"});
    check(none.clone(), own, None);
    let own =
        json!({"subtype": "bot_message", "bot_id": "B0", "text": "<@U0> me", "channel": "C1"});
    check(json!({"bots": true}), own, None);
    let other =
        json!({"subtype": "bot_message", "bot_id": "B7", "text": "<@U0> hi", "channel": "C1"});
    check(none.clone(), other.clone(), None);
    check(json!({"bots": true}), other, Some("hi"));
    let topic = json!({"subtype": "channel_topic", "user": "U1", "channel": "C1",
        "text": "<@U1> set the topic: ask <@U0>", "topic": "ask <@U0>"});
    check(none.clone(), topic, None);
    let edit = json!({"subtype": "message_changed", "channel": "D1",
        "message": {"user": "U1", "text": "<@U0> hi"}});
    check(none, edit, None);
}

#[test]
fn the_mention_may_take_the_message_s_place_and_have_some_fields_only() {
    let mut plugin = load(json!({"only": true, "fields": ["user", "channel"]}));
    let event =
        json!({"type": "message", "user": "U1", "channel": "C1", "ts": "1.2", "text": "<@U0> hi"});
    let outcome = plugin.inbound("message", event);
    assert!(!outcome.kept());
    let expect = json!({"type": "mention", "user": "U1", "channel": "C1", "text": "hi"});
    assert_eq!(outcome.emitted[0].body, expect);
}

#[test]
fn a_message_to_nobody_costs_one_call() {
    let outcome = load(json!({})).inbound(
        "message",
        json!({"user": "U1", "text": "hi", "channel": "C1"}),
    );
    assert_eq!(outcome.calls, ["event.select"]);
}

#[test]
fn before_the_first_connection_nobody_is_addressed() {
    let mut plugin = Host::new().load::<Mentions>(json!({}));
    let outcome = plugin.inbound("message", json!({"user": "U1", "text": "<@U0> hi"}));
    assert!(outcome.kept() && outcome.emitted.is_empty());
}
