//! The messages that an app puts on `slack.send`, and the channel that an event type of Slack's gets.
//!
//! An input is the name that the app sends through, a line break, and a message in JSON.

use djangobot::fuzzing::{Refusal, RequestedCall, answer, channel_of, destination, request};
use djangobot_channels::ChannelName;
use djangobot_event::Event;
use djangobot_slack::argument;
use serde_json::Value;

use crate::{Target, json, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "requests",
    check,
    seeds,
    words: &[
        "\"text\":",
        "\"channel\":",
        "\"<#C024BE91L|",
        "\"<@U023BECGF>",
        "\"https://a.slack.com/archives/",
        "\"slack://channel?id=",
        "\"method\":\"",
        "chat.update",
        "conversations.open",
        "reactions.add",
        "\"reply_channel\":\"",
        "\"id\":",
        "\"blocks\":[",
        "\"file\":{\"name\":\"",
        "\"content\":",
        "\"type\":\"",
        "\"djangobot\":",
        "slack.send",
        "null",
    ],
    longest: 512,
};

fn seeds() -> Vec<Vec<u8>> {
    let messages = [
        r#"{"type":"x","text":"hi","thread_ts":"1.2","id":7}"#,
        r##"{"text":"hi","channel":"#general","reply_channel":"specific.a!b","djangobot":{"hops":1}}"##,
        r#"{"method":"chat.update","channel":"C1","ts":"1.2","blocks":[],"attachments":[{}]}"#,
        r#"{"method":"conversations.open","users":"U1,U2","reply_channel":"a b"}"#,
        r#"{"method":"admin.users.list","text":5,"channel":null}"#,
        r#"{"text":"hi","channel":"<#C024BE91L|general>"}"#,
        r#"{"text":"hi","channel":"https://team.slack.com/archives/C024BE91L/p1234567890123456"}"#,
        r#"{"text":"hi","channel":"slack://user?team=T1&id=U023BECGF"}"#,
        r#"{"text":"hi","channel":{"id":"C024BE91L","name":"general"}}"#,
        r#"{"type":"send","blocks":[{"type":"divider"}],"channel":"  "}"#,
        r#"{"type":"a b!c/d","text":"   "}"#,
        r#"{"file":{"name":"a.txt","content":{"$bytes":"AP8="}},"text":"look","thread_ts":1.5}"#,
        r#"{"method":"chat.update","channel_id":" C1 ","unfurl_links":"True","blocks":"[null]","username":null}"#,
        r#"{"text":"x","replace_original":true,"thread_ts":1.5,"block_id":"b","action_id":""}"#,
    ];
    let with_channel = messages.map(|message| format!("slack.send\n{message}"));
    // The longest name that there may be, and a type that would be made that name.
    let x = "x".repeat(92);
    let longest = format!("slack.{x}_\n{{\"type\":\"{x}!\"}}");
    let all = with_channel.iter().chain([&longest]);
    pieces::texts(all.map(String::as_str))
}

fn check(input: &[u8]) {
    let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
        return;
    };
    let (name, text) = (&input[..end], &input[end + 1..]);
    let Ok(message) = Event::parse(text.to_vec()) else {
        return;
    };
    // It is a channel, and never the one that the app sends through: what it sends would come back to it.
    let kind = message.text("/type").unwrap_or_default();
    if let Some(send_channel) = str::from_utf8(name)
        .ok()
        .and_then(|name| ChannelName::new(name).ok())
        && let Some(channel) = channel_of(&kind, &send_channel)
    {
        assert!(channel.as_str().starts_with("slack.") && !channel.is_process_local());
        assert_ne!(channel, send_channel, "{kind:?}");
    }

    // The tables of methods and arguments are made once, and do not count for an input.
    let _ = request(&Event::parse(r#"{"text":"x"}"#).expect("it is an object"));
    // An answer to a click, say: what Slack gets has nothing of the layer's or of ours.
    match proportion::bounded(input, 512, || answer(&message)) {
        Ok(body) => {
            let body: Value = serde_json::from_slice(&body).expect("it is JSON");
            for ours in [
                "type",
                "djangobot",
                "id",
                "reply_channel",
                "channel",
                "token",
            ] {
                assert!(body.get(ours).is_none(), "{body}");
            }
        }
        Err(Refusal { detail, .. }) => assert!(detail.ends_with('.'), "{detail}"),
    }

    match proportion::bounded(input, 512, || request(&message)) {
        Ok(RequestedCall {
            method,
            arguments,
            channel,
        }) => {
            let allowed = ["chat.", "files.", "conversations.open"];
            assert!(allowed.iter().any(|start| method.starts_with(start)));
            let mut expect: Value = serde_json::from_slice(text).expect("it was read");
            let keys = expect.as_object_mut().expect("it is an object");
            for ours in ["type", "djangobot", "method", "id", "reply_channel"] {
                keys.remove(ours);
            }
            match keys.remove("channel") {
                Some(Value::String(named)) if !named.trim().is_empty() => {
                    assert_eq!(channel.as_deref(), Some(named.trim()));
                    let key = proportion::bounded(named.as_bytes(), 512, || destination(&named));
                    assert_eq!(key, destination(&format!(" {named}\n")), "{named:?}");
                }
                Some(Value::Object(place)) => {
                    assert_eq!(channel.as_deref(), place["id"].as_str().map(str::trim));
                }
                _ => {
                    let other = keys.get("channel_id").and_then(Value::as_str);
                    let is_meant = |channel: &str| {
                        channel == "general" || other.map(str::trim) == Some(channel)
                    };
                    assert!(channel.as_deref().is_none_or(is_meant), "{channel:?}");
                }
            }
            for (key, value) in arguments.as_object().expect("it is an object") {
                assert!(!value.is_null() && key != "token", "{key}");
                match keys.get(key) {
                    // Those whose types are known are made into them.
                    Some(given) if argument::get(method, key).is_none() => {
                        json::assert_same(value, given);
                    }
                    Some(_) => {}
                    None => assert!(method.starts_with("files.") && key == "initial_comment"),
                }
            }
        }
        Err(Refusal { error, detail }) => {
            assert!(
                error
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
            assert!(detail.ends_with(['.', '?']), "{detail}");
        }
    }
}
