//! Answers of `conversations.history`, `conversations.replies` and `users.conversations`, and what is made of them.
//!
//! An input is two answers with a zero byte between them: a page of a history, and what came live of it meanwhile; or a
//! list of conversations.

use djangobot::fuzzing::{events_of_history, merged_with_history};
use djangobot_event::Event;
use djangobot_slack::Ts;
use djangobot_slack::fuzzing::{conversations_of_list, messages_of_history};
use djangobot_slack::history::Gap;

use crate::{Target, json, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "history",
    check,
    seeds,
    words: &[
        "\"messages\":[",
        "\"channels\":[",
        "\"response_metadata\":{\"next_cursor\":\"",
        "\"type\":\"message\"",
        "\"subtype\":\"",
        "\"ts\":\"1355517523.000005\"",
        "\"ts\":\"1355517523.000010\"",
        "\"thread_ts\":\"1355517523.000005\"",
        "\"reply_count\":1",
        "\"latest_reply\":\"",
        "\"channel\":",
        "\"user\":\"U1\"",
        "<@U1>",
        "<@U1|djangobot>",
        "\"is_im\":true",
        "\"is_private\":true",
        "null",
    ],
    longest: 1024,
};

/// The bot, and the gap of which the page is to be.
const ME: &str = "U1";
const GAP: Gap<'_> = Gap {
    channel: "C024BE91L",
    after: Ts::from_micros(1_355_517_500_000_000),
    until: Some(Ts::from_micros(1_355_517_600_000_000)),
    threads_since: None,
    at_most: 8,
};

fn seeds() -> Vec<Vec<u8>> {
    pieces::texts([
        r#"{"ok":true,"messages":[{"type":"message","user":"U2","text":"hi <@U1>","ts":"1355517523.000005"}],"has_more":false}"#,
        r#"{"ok":true,"messages":[{"user":"U1","text":"<@U1>","ts":"1355517524.000005"},{"type":"message","ts":"1355517523.000005","thread_ts":"1355517523.000005","reply_count":2,"latest_reply":"1355517599.000001"}],"response_metadata":{"next_cursor":"bmV4dA=="}}"#,
        "{\"messages\":[{\"type\":\"message\",\"text\":\"<@U1|djangobot> a\",\"ts\":\"1355517523.000005\"},{\"type\":\"message\",\"text\":\"b\",\"ts\":\"1355517525.000000\"}]}\0{\"messages\":[{\"type\":\"message\",\"text\":\"a\",\"ts\":\"1355517523.000005\"}]}",
        r#"{"messages":[{"type":"message","channel":"C9","channel":7,"ts":"1355517523.000005","subtype":"channel_join","blocks":[]},7,null,{"ts":null},{"type":"hello","ts":"1355517523.000006"}]}"#,
        r#"{"ok":true,"channels":[{"id":"C1","is_private":false},{"id":"G1","is_private":true},{"id":"D1","is_im":true},{"id":"G2","is_mpim":true},{"id":null},7]}"#,
        r#"{"ok":true,"messages":null}"#,
    ])
}

fn check(input: &[u8]) {
    let list = proportion::bounded(input, 256, || conversations_of_list(input));
    for (id, _) in list.into_iter().flatten() {
        assert!(!id.is_empty());
    }
    let mut pages = pieces::parts(input);
    let Some(history) = pages.next().and_then(messages) else {
        return;
    };
    let live = pages.next().and_then(messages).unwrap_or_default();
    // Each is a message of ours, or what names us, with all that the history said of it.
    let events = proportion::bounded(input, 512, || events_of_history(history.clone(), ME));
    let mut of = history.iter();
    let mut last = None;
    for event in &events {
        let kind = event.text("/type").expect("it has a type");
        if kind == "app_mention" {
            assert!(
                event
                    .text("/text")
                    .is_some_and(|text| text.contains("<@U1"))
            );
            assert!(event.text("/user").is_none_or(|user| user != ME));
            last = event.text("/ts");
            continue;
        }
        assert_eq!(kind, "message");
        assert_eq!(event.text("/channel_type").as_deref(), Some("channel"));
        let message = of.next().expect("no message comes twice");
        assert_eq!(event.text("/ts"), message.text("/ts"));
        assert!(last.take().is_none_or(|ts| Some(ts) == message.text("/ts")));
    }
    assert!(of.next().is_none(), "a message is missing");

    // All that came live is there, in its order, and each message of the history that did not.
    let merged = merged_with_history(history.clone(), live.clone());
    let came = merged.iter().filter(|(_, is_old)| !is_old);
    assert!(
        came.map(|(event, _)| json::text(event))
            .eq(live.iter().map(json::text))
    );
    let old = merged.iter().filter(|(_, is_old)| *is_old);
    let is_live = |event: &&Event| live.iter().any(|it| it.text("/ts") == event.text("/ts"));
    assert!(
        old.map(|(event, _)| json::text(event))
            .eq(history.iter().filter(|it| !is_live(it)).map(json::text))
    );
    assert!(merged.is_sorted_by_key(|(event, _)| ts_of(event)));
}

/// The messages of a page: of this conversation and this gap, each once, the oldest first.
fn messages(page: &[u8]) -> Option<Vec<Event>> {
    let read = || messages_of_history(page, &GAP);
    let (messages, threads) = proportion::bounded(page, 512, read)?;
    assert!(messages.len() <= GAP.at_most && threads.len() <= GAP.at_most);
    for message in &messages {
        assert_eq!(message.text("/type").as_deref(), Some("message"));
        assert_eq!(message.text("/channel").as_deref(), Some(GAP.channel));
        assert_eq!(message.text("/event_ts"), message.text("/ts"));
        assert!(ts_of(message) > Some(GAP.after) && ts_of(message) < GAP.until);
    }
    assert!(messages.is_sorted_by(|a, b| ts_of(a) < ts_of(b)));
    Some(messages)
}

fn ts_of(event: &Event) -> Option<Ts> {
    event.text("/ts").and_then(|ts| Ts::parse(&ts))
}
