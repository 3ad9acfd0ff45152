//! What an app puts on `slack.send`, and the channel that a type of Slack's gets.
//!
//! An input is the name that the app sends through, a line break, and a message in JSON.

use djangobot::fuzzing::{answer, channel_of, request};
use djangobot_channels::ChannelName;
use djangobot_event::Event;
use serde_json::Value;

use crate::{Target, json, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "requests",
    check,
    seeds,
    words: &[
        "\"text\":",
        "\"channel\":",
        "\"method\":\"",
        "chat.update",
        "conversations.open",
        "reactions.add",
        "\"reply_channel\":\"",
        "\"id\":",
        "\"blocks\":[",
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
        r#"{"type":"send","blocks":[{"type":"divider"}],"channel":"  "}"#,
        r#"{"type":"a b!c/d","text":"   "}"#,
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
        Err((_, detail)) => assert!(detail.ends_with('.'), "{detail}"),
    }

    // The table of methods is made once, and is no input's doing.
    let _ = request(&Event::default());
    let (_, asked) = proportion::bounded(input, 512, || request(&message));
    match asked {
        Ok((method, arguments, channel)) => {
            assert!(method.starts_with("chat.") || method == "conversations.open");
            let mut expect: Value = serde_json::from_slice(text).expect("it was read");
            let keys = expect.as_object_mut().expect("it is an object");
            for ours in ["type", "djangobot", "method", "id", "reply_channel"] {
                keys.remove(ours);
            }
            match keys.remove("channel") {
                Some(Value::String(named)) if !named.trim().is_empty() => {
                    assert_eq!(channel.as_deref(), Some(named.trim()));
                }
                _ => assert!(channel.is_none_or(|channel| channel == "general")),
            }
            json::assert_same(&arguments, &expect);
        }
        Err((error, detail)) => {
            assert!(
                error
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
            assert!(detail.ends_with('.'), "{detail}");
        }
    }
}
