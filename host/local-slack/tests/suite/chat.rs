//! The Web API through plain HTTP: messages and reactions.

use local_slack::{LocalSlack, Options};
use serde_json::{Value, json};

use crate::client::{call, channel, check, error, http, missing, soon, start, start_with};

async fn post(slack: &LocalSlack, channel: &str, text: &str) -> Value {
    let posted = call(
        slack,
        "chat.postMessage",
        json!({"channel": channel, "text": text}),
    )
    .await;
    assert_eq!(posted["ok"], true, "{posted}");
    posted["ts"].clone()
}

#[tokio::test]
async fn posts_go_by_id_name_and_user() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    for place in [general.as_str(), "general", "#general"] {
        let arguments = json!({"channel": place, "text": "x"});
        let posted = call(&slack, "chat.postMessage", arguments).await;
        assert_eq!(posted["channel"], general.as_str());
        assert_eq!(posted["message"]["ts"], posted["ts"]);
        assert_eq!(posted["message"]["text"], "x");
        assert_eq!(posted["message"]["bot_profile"]["name"], "djangobot");
    }
    let carol = slack.control().user_id("carol");
    let posted = call(
        &slack,
        "chat.postMessage",
        json!({"channel": carol, "text": "x"}),
    )
    .await;
    assert!(posted["channel"].as_str().unwrap().starts_with('D'));
    let named = json!({"channel": general, "text": "x", "username": "Owl", "icon_emoji": ":owl:"});
    let posted = call(&slack, "chat.postMessage", named).await;
    assert_eq!(posted["message"]["subtype"], "bot_message");
    assert_eq!(posted["message"]["username"], "Owl");
    assert_eq!(posted["message"]["icons"], json!({"emoji": ":owl:"}));
}

#[tokio::test]
async fn messages_that_cannot_be_posted_are_refused() {
    let slack = start().await;
    let block = json!({"type": "divider"});
    let blocks = |count: usize| json!(vec![block.clone(); count]);
    for (arguments, expect) in [
        (json!({"text": "x"}), missing("channel")),
        (
            json!({"channel": "C404", "text": "x"}),
            error("channel_not_found"),
        ),
        (
            json!({"channel": "lounge", "text": "x"}),
            error("not_in_channel"),
        ),
        (
            json!({"channel": "old-projects", "text": "x"}),
            error("is_archived"),
        ),
        (json!({"channel": "general"}), error("no_text")),
        (json!({"channel": "general", "text": ""}), error("no_text")),
        (
            json!({"channel": "general", "blocks": []}),
            error("no_text"),
        ),
        (
            json!({"channel": "general", "text": ["x"]}),
            error("invalid_arguments"),
        ),
        (
            json!({"channel": "general", "blocks": "x"}),
            error("invalid_blocks_format"),
        ),
        (
            json!({"channel": "general", "blocks": [{}]}),
            error("invalid_blocks"),
        ),
        (
            json!({"channel": "general", "blocks": blocks(51)}),
            error("invalid_blocks"),
        ),
        (
            json!({"channel": "general", "attachments": vec![json!({}); 101]}),
            error("too_many_attachments"),
        ),
        (
            json!({"channel": "general", "text": "x", "metadata": {}}),
            error("invalid_metadata_format"),
        ),
        (
            json!({"channel": "general", "text": "x", "markdown_text": "y"}),
            error("markdown_text_conflict"),
        ),
        (
            json!({"channel": "general", "text": "x", "thread_ts": "yesterday"}),
            error("invalid_thread_ts"),
        ),
    ] {
        check(&slack, "chat.postMessage", arguments, expect).await;
    }
    let posted = call(
        &slack,
        "chat.postMessage",
        json!({"channel": "general", "blocks": blocks(50)}),
    )
    .await;
    assert_eq!(posted["message"]["blocks"].as_array().unwrap().len(), 50);
    let long = call(
        &slack,
        "chat.postMessage",
        json!({"channel": "general", "text": "é".repeat(40_001)}),
    )
    .await;
    assert_eq!(long["warning"], "message_truncated");
    assert_eq!(
        long["message"]["text"].as_str().unwrap().chars().count(),
        40_000
    );
}

#[tokio::test]
async fn a_form_carries_blocks_as_json() {
    let slack = start().await;
    let blocks = json!([{"type": "divider", "block_id": "d"}]).to_string();
    let body: String =
        reqwest::Url::parse_with_params("http://x", [("channel", "general"), ("blocks", &blocks)])
            .unwrap()
            .query()
            .unwrap()
            .to_owned();
    let request = http()
        .post(format!("{}chat.postMessage", slack.api_url()))
        .bearer_auth(slack.token());
    let request = request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let answer: Value = soon(request.send()).await.unwrap().json().await.unwrap();
    assert_eq!(
        answer["message"]["blocks"],
        json!([{"type": "divider", "block_id": "d"}]),
        "{answer}"
    );
}

#[tokio::test]
async fn messages_are_changed_and_deleted_by_their_author_only() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    let ts = post(&slack, &general, "one").await;
    let theirs = slack.control().say("alice", "general", "mine").unwrap();
    let with = |ts: &Value, text: &str| json!({"channel": general, "ts": ts, "text": text});
    let updated = call(&slack, "chat.update", with(&ts, "two")).await;
    assert_eq!(
        (
            &updated["text"],
            &updated["message"]["text"],
            &updated["ts"]
        ),
        (&json!("two"), &json!("two"), &ts)
    );
    for (method, arguments, expect) in [
        (
            "chat.update",
            with(&json!(theirs), "x"),
            error("cant_update_message"),
        ),
        (
            "chat.delete",
            with(&json!(theirs), "x"),
            error("cant_delete_message"),
        ),
        (
            "chat.update",
            with(&json!("1.000001"), "x"),
            error("message_not_found"),
        ),
        (
            "chat.delete",
            with(&json!("nonsense"), "x"),
            error("message_not_found"),
        ),
        ("chat.update", with(&ts, ""), error("no_text")),
        (
            "chat.update",
            with(&ts, &"x".repeat(4001)),
            error("msg_too_long"),
        ),
        (
            "chat.update",
            json!({"channel": general, "text": "x"}),
            missing("ts"),
        ),
        ("chat.delete", json!({ "ts": ts }), missing("channel")),
    ] {
        check(&slack, method, arguments, expect).await;
    }
    check(
        &slack,
        "chat.delete",
        with(&ts, ""),
        json!({"ok": true, "ts": ts}),
    )
    .await;
    check(
        &slack,
        "chat.delete",
        with(&ts, ""),
        error("message_not_found"),
    )
    .await;
}

#[tokio::test]
async fn reactions_are_kept_with_their_message() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    let ts = post(&slack, &general, "x").await;
    let with = |name: &str| json!({"channel": general, "timestamp": ts, "name": name});
    check(&slack, "reactions.add", with(":tada:"), json!({"ok": true})).await;
    let history = call(
        &slack,
        "conversations.history",
        json!({ "channel": general }),
    )
    .await;
    let bot = slack.control().user_id("djangobot");
    assert_eq!(
        history["messages"][0]["reactions"],
        json!([{"name": "tada", "users": [bot], "count": 1}])
    );
    for (method, arguments, expect) in [
        ("reactions.add", with("tada"), error("already_reacted")),
        ("reactions.remove", with("wave"), error("no_reaction")),
        ("reactions.add", with("not a name"), error("invalid_name")),
        (
            "reactions.add",
            json!({"name": "x", "channel": general}),
            error("no_item_specified"),
        ),
        (
            "reactions.add",
            json!({"name": "x", "channel": general, "timestamp": "x"}),
            error("bad_timestamp"),
        ),
        (
            "reactions.add",
            json!({"name": "x", "channel": general, "timestamp": "1.000001"}),
            error("message_not_found"),
        ),
        (
            "reactions.add",
            json!({"channel": general, "timestamp": ts}),
            missing("name"),
        ),
        ("reactions.remove", with("tada"), json!({"ok": true})),
        ("reactions.remove", with("tada"), error("no_reaction")),
    ] {
        check(&slack, method, arguments, expect).await;
    }
}

#[tokio::test]
async fn history_is_paged_from_the_newest_and_bounded() {
    let slack = start_with(Options {
        keep: 25,
        ..Options::default()
    })
    .await;
    let general = channel(&slack, "general").await;
    let control = slack.control();
    let posted: Vec<String> = (0..30)
        .map(|n| control.say("alice", "general", &n.to_string()).unwrap())
        .collect();
    let (mut cursor, mut seen) = (json!(null), Vec::new());
    loop {
        let page = call(
            &slack,
            "conversations.history",
            json!({"channel": general, "limit": 10, "cursor": cursor}),
        )
        .await;
        let messages = page["messages"].as_array().unwrap();
        seen.extend(
            messages
                .iter()
                .map(|message| message["ts"].as_str().unwrap().to_owned()),
        );
        cursor = page["response_metadata"]["next_cursor"].clone();
        assert_eq!(page["has_more"], !cursor.is_null());
        if cursor.is_null() {
            break;
        }
    }
    let expect: Vec<String> = posted[5..].iter().rev().cloned().collect();
    assert_eq!(seen, expect);
    let between = async |inclusive: bool| {
        let arguments = json!({"channel": general, "oldest": posted[10], "latest": posted[13], "inclusive": inclusive});
        call(&slack, "conversations.history", arguments).await["messages"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((between(false).await, between(true).await), (2, 4));
    for (arguments, code) in [
        (
            json!({"channel": general, "oldest": "x"}),
            "invalid_ts_oldest",
        ),
        (
            json!({"channel": general, "latest": "x"}),
            "invalid_ts_latest",
        ),
        (
            json!({"channel": control.channel_id("lounge")}),
            "not_in_channel",
        ),
        (json!({"channel": "C404"}), "channel_not_found"),
    ] {
        check(&slack, "conversations.history", arguments, error(code)).await;
    }
}

#[tokio::test]
async fn replies_stay_in_their_thread_unless_broadcast() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    let parent = post(&slack, &general, "parent").await;
    let reply = |broadcast: bool| json!({"channel": general, "text": "r", "thread_ts": parent, "reply_broadcast": broadcast});
    let posted = call(&slack, "chat.postMessage", reply(false)).await;
    assert_eq!(posted["message"]["thread_ts"], parent);
    assert_eq!(
        posted["message"]["parent_user_id"],
        posted["message"]["user"]
    );
    call(&slack, "chat.postMessage", reply(true)).await;
    let history = call(
        &slack,
        "conversations.history",
        json!({ "channel": general }),
    )
    .await;
    let messages = history["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["subtype"], "thread_broadcast");
    assert_eq!(messages[1]["reply_count"], 2);
}

#[tokio::test]
async fn an_ephemeral_message_is_kept_nowhere() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    let alice = slack.control().user_id("alice");
    let arguments = json!({"channel": general, "user": alice, "text": "psst"});
    let posted = call(&slack, "chat.postEphemeral", arguments).await;
    assert!(posted["message_ts"].is_string());
    let history = call(
        &slack,
        "conversations.history",
        json!({ "channel": general }),
    )
    .await;
    assert_eq!(history["messages"], json!([]));
    check(
        &slack,
        "chat.postEphemeral",
        json!({"channel": general, "text": "x"}),
        missing("user"),
    )
    .await;
    check(
        &slack,
        "chat.postEphemeral",
        json!({"channel": "ops", "user": "U404", "text": "x"}),
        error("user_not_in_channel"),
    )
    .await;
}

#[tokio::test]
async fn rates_are_kept_where_they_are_switched_on() {
    let slack = start_with(Options {
        rate_limits: true,
        ..Options::default()
    })
    .await;
    let mut refused = None;
    // Ten may come at once, and one more for each second that this takes.
    for _ in 0..100 {
        let request = http()
            .post(format!("{}chat.postMessage", slack.api_url()))
            .bearer_auth(slack.token());
        let response = soon(
            request
                .json(&json!({"channel": "general", "text": "x"}))
                .send(),
        )
        .await
        .unwrap();
        if response.status() == 429 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("a hundred posts at once are too many");
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(
        refused.json::<Value>().await.unwrap()["error"],
        "ratelimited"
    );
    check(
        &slack,
        "chat.postMessage",
        json!({"channel": "random", "text": "x"}),
        json!({"ok": true}),
    )
    .await;
}
