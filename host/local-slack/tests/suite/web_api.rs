//! The Web API through plain HTTP.

use std::collections::HashSet;

use local_slack::{LocalSlack, Options, StartError};
use serde_json::{Value, json};

use crate::client::{call, channel, http, soon, start, start_with};

/// Calls `method` and compares the keys of `expect` with those of the answer.
async fn check(slack: &LocalSlack, method: &str, arguments: Value, expect: Value) {
    let answer = call(slack, method, arguments.clone()).await;
    for (key, value) in expect.as_object().unwrap() {
        assert_eq!(answer[key], *value, "{method} {arguments}: {answer}");
    }
    if expect.get("error").is_some() {
        assert_eq!(answer["ok"], false);
    }
}

fn error(error: &str) -> Value {
    json!({ "error": error })
}

fn missing(field: &str) -> Value {
    let message = format!("[ERROR] missing required field: {field}");
    json!({"error": "invalid_arguments", "response_metadata": {"messages": [message]}})
}

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
async fn a_token_is_taken_from_the_header_the_body_and_the_query() {
    let slack = start().await;
    let url = format!("{}auth.test", slack.api_url());
    let http = http();
    const FORM: &str = "application/x-www-form-urlencoded";
    let whoami = async |request: reqwest::RequestBuilder| -> (String, Value) {
        let answer: Value = soon(request.send()).await.unwrap().json().await.unwrap();
        let who = answer["user"].as_str().or(answer["error"].as_str());
        (who.unwrap().to_owned(), answer)
    };
    let typed = |content_type: &str| {
        http.post(&url)
            .header("content-type", content_type.to_owned())
    };
    for (request, expect) in [
        (http.get(&url), "not_authed"),
        (http.get(&url).bearer_auth("nonsense"), "invalid_auth"),
        (http.get(&url).bearer_auth("xoxb-1"), "djangobot"),
        (http.post(&url).bearer_auth("xoxp-1"), "alice"),
        (http.get(format!("{url}?token=xoxb-1")), "djangobot"),
        (typed(FORM).body("token=xoxp-1"), "alice"),
        (
            typed("application/json").body(r#"{"token": "xoxp-1"}"#),
            "alice",
        ),
        (
            typed(FORM).body("token=xoxp-1").bearer_auth("xoxb-1"),
            "djangobot",
        ),
        (
            typed("application/json").body("{").bearer_auth("xoxb-1"),
            "invalid_json",
        ),
        (
            typed("text/csv").body("a,b").bearer_auth("xoxb-1"),
            "invalid_post_type",
        ),
    ] {
        assert_eq!(whoami(request).await.0, expect);
    }
    let (_, bot) = whoami(http.get(&url).bearer_auth("xoxb-1")).await;
    assert!(bot["bot_id"].as_str().unwrap().starts_with('B'));
    assert!(bot["user_id"].as_str().unwrap().starts_with('U'));
    assert_eq!(bot["url"], "https://local-slack.slack.com/");
    assert_eq!(
        (&bot["team"], &bot["team_id"]),
        (&json!("Local Slack"), &json!("T0LOCAL0001"))
    );
    let (_, person) = whoami(http.get(&url).bearer_auth("xoxp-1")).await;
    assert!(person["bot_id"].is_null());
}

#[tokio::test]
async fn only_the_configured_token_is_accepted() {
    let with = |token: &str| Options {
        token: Some(token.to_owned()),
        ..Options::default()
    };
    let slack = start_with(with("xoxb-mine")).await;
    assert_eq!(slack.token(), "xoxb-mine");
    assert_eq!(call(&slack, "auth.test", json!({})).await["ok"], true);
    let url = format!("{}auth.test?token=xoxb-other", slack.api_url());
    let answer: Value = soon(http().get(url).send())
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer, json!({"ok": false, "error": "invalid_auth"}));
    let refused = LocalSlack::start(with("password")).await.unwrap_err();
    assert!(matches!(refused, StartError::Token));
}

#[tokio::test]
async fn it_does_not_start_where_it_should_not_or_cannot() {
    let on = |listen: &str| Options {
        listen: listen.parse().unwrap(),
        ..Options::default()
    };
    let refused = LocalSlack::start(on("0.0.0.0:0")).await.unwrap_err();
    assert!(matches!(refused, StartError::NotLoopback(_)));
    let slack = start().await;
    let refused = LocalSlack::start(on(&slack.addr().to_string()))
        .await
        .unwrap_err();
    assert!(matches!(refused, StartError::Listen { .. }));
}

#[tokio::test]
async fn answers_have_slacks_headers_and_remarks() {
    let slack = start().await;
    let request = http()
        .post(format!("{}chat.postMessage", slack.api_url()))
        .bearer_auth(slack.token());
    let request = request.header(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    );
    let response = soon(request.body("channel=general&text=x").send())
        .await
        .unwrap();
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert!(
        headers["x-oauth-scopes"]
            .to_str()
            .unwrap()
            .contains("chat:write")
    );
    assert_eq!(headers["x-accepted-oauth-scopes"], "chat:write");
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["warning"], "superfluous_charset");
    assert_eq!(
        answer["response_metadata"]["warnings"],
        json!(["superfluous_charset"])
    );
    check(
        &slack,
        "no.such",
        json!({}),
        json!({"error": "unknown_method", "req_method": "no.such"}),
    )
    .await;
    check(
        &slack,
        "api.test",
        json!({"a": 1}),
        json!({"ok": true, "args": {"a": 1}}),
    )
    .await;
    check(
        &slack,
        "api.test",
        json!({"error": "my_error"}),
        error("my_error"),
    )
    .await;
}

#[tokio::test]
async fn fifty_thousand_users_are_paged() {
    let slack = start_with(Options {
        users: 50_000,
        ..Options::default()
    })
    .await;
    check(&slack, "users.list", json!({}), error("limit_required")).await;
    let (mut cursor, mut ids, mut pages) = (String::new(), HashSet::new(), 0);
    loop {
        let page = call(
            &slack,
            "users.list",
            json!({"limit": 1000, "cursor": cursor}),
        )
        .await;
        for user in page["members"].as_array().unwrap() {
            assert!(ids.insert(user["id"].as_str().unwrap().to_owned()));
        }
        pages += 1;
        cursor = page["response_metadata"]["next_cursor"]
            .as_str()
            .unwrap()
            .to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    // The named ones are seven.
    assert_eq!((ids.len(), pages), (50_007, 51));
    check(
        &slack,
        "users.list",
        json!({"cursor": "?"}),
        error("limit_required"),
    )
    .await;
    check(
        &slack,
        "users.list",
        json!({"cursor": "?", "limit": 2}),
        error("invalid_cursor"),
    )
    .await;
}

#[tokio::test]
async fn users_have_slacks_shape() {
    let slack = start().await;
    let list = call(&slack, "users.list", json!({})).await;
    let users = list["members"].as_array().unwrap();
    let named = |name: &str| users.iter().find(|user| user["name"] == name).unwrap();
    assert_eq!(named("dave")["deleted"], true);
    assert_eq!(named("djangobot")["is_bot"], true);
    assert_eq!(named("slackbot")["id"], "USLACKBOT");
    let alice = named("alice");
    assert_eq!(alice["profile"]["real_name"], "Alice Novak");
    assert_eq!(alice["profile"]["display_name"], "alice");
    assert_eq!(alice["team_id"], "T0LOCAL0001");
    check(
        &slack,
        "users.info",
        json!({"user": alice["id"]}),
        json!({"ok": true, "user": alice}),
    )
    .await;
    check(
        &slack,
        "users.info",
        json!({"user": "U404"}),
        error("user_not_found"),
    )
    .await;
    check(&slack, "users.info", json!({}), missing("user")).await;
}

#[tokio::test]
async fn conversations_are_listed_by_kind_in_pages() {
    let slack = start_with(Options {
        channels: 250,
        ..Options::default()
    })
    .await;
    let mut seen = HashSet::new();
    let (mut cursor, mut archived) = (String::new(), 0);
    loop {
        let page = call(
            &slack,
            "conversations.list",
            json!({"limit": 40, "cursor": cursor, "types": "public_channel, im"}),
        )
        .await;
        for channel in page["channels"].as_array().unwrap() {
            assert!(seen.insert(channel["id"].as_str().unwrap().to_owned()));
            archived += i32::from(channel["is_archived"] == true);
            assert_ne!(channel["is_private"], true);
        }
        cursor = page["response_metadata"]["next_cursor"]
            .as_str()
            .unwrap()
            .to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert!(archived > 1 && seen.len() > 200 && seen.iter().any(|id| id.starts_with('D')));
    let arguments = json!({"limit": 999, "exclude_archived": true, "types": "public_channel"});
    let list = call(&slack, "conversations.list", arguments).await;
    assert!(
        list["channels"]
            .as_array()
            .unwrap()
            .iter()
            .all(|channel| channel["is_archived"] == false)
    );
    let default = call(&slack, "conversations.list", json!({})).await;
    assert_eq!(default["channels"].as_array().unwrap().len(), 100);
    for (arguments, code) in [
        (json!({"limit": 1000}), "invalid_limit"),
        (json!({"limit": "many"}), "invalid_limit"),
        (json!({"types": "public_channel,nonsense"}), "invalid_types"),
        // A cursor of another list.
        (json!({"cursor": "dXNlcjpVMQ=="}), "invalid_cursor"),
    ] {
        check(&slack, "conversations.list", arguments, error(code)).await;
    }
}

#[tokio::test]
async fn a_conversation_shows_itself_and_its_members() {
    let slack = start().await;
    let general = channel(&slack, "general").await;
    let info = call(
        &slack,
        "conversations.info",
        json!({"channel": general, "include_num_members": true}),
    )
    .await;
    let info = &info["channel"];
    assert_eq!(
        (&info["name"], &info["is_general"], &info["is_member"]),
        (&json!("general"), &json!(true), &json!(true))
    );
    let lounge = channel(&slack, "lounge").await;
    let other = call(&slack, "conversations.info", json!({ "channel": lounge })).await;
    assert_eq!(other["channel"]["is_member"], false);
    assert!(other["channel"]["num_members"].is_null());
    let (mut cursor, mut count) = (json!(""), 0);
    loop {
        let page = call(
            &slack,
            "conversations.members",
            json!({"channel": general, "limit": 10, "cursor": cursor}),
        )
        .await;
        count += page["members"].as_array().unwrap().len();
        cursor = page["response_metadata"]["next_cursor"].clone();
        if cursor == "" {
            break;
        }
    }
    assert_eq!(info["num_members"], count);
    check(
        &slack,
        "conversations.info",
        json!({"channel": "C404"}),
        error("channel_not_found"),
    )
    .await;
    check(
        &slack,
        "conversations.members",
        json!({}),
        missing("channel"),
    )
    .await;
}

#[tokio::test]
async fn direct_messages_are_opened_once() {
    let slack = start().await;
    let control = slack.control();
    let id = |name: &str| control.user_id(name).unwrap();
    let (bob, carol, dave) = (id("bob"), id("carol"), id("dave"));
    let opened = call(
        &slack,
        "conversations.open",
        json!({"users": carol, "return_im": true}),
    )
    .await;
    assert_eq!(
        (&opened["channel"]["is_im"], &opened["channel"]["user"]),
        (&json!(true), &json!(carol))
    );
    let again = call(&slack, "conversations.open", json!({ "users": [carol] })).await;
    assert_eq!(
        (&again["channel"]["id"], &again["already_open"]),
        (&opened["channel"]["id"], &json!(true))
    );
    let channel = &opened["channel"]["id"];
    check(
        &slack,
        "conversations.open",
        json!({ "channel": channel }),
        json!({"ok": true, "channel": {"id": channel}}),
    )
    .await;
    let users = format!("{bob},{carol}");
    let group = call(
        &slack,
        "conversations.open",
        json!({"users": users, "return_im": true}),
    )
    .await;
    assert_eq!(group["channel"]["is_mpim"], true);
    for (users, code) in [
        (json!("U404"), "user_not_found"),
        (json!(dave), "user_disabled"),
        (json!(id("djangobot")), "not_enough_users"),
        (json!(null), "users_list_not_supplied"),
    ] {
        check(
            &slack,
            "conversations.open",
            json!({ "users": users }),
            error(code),
        )
        .await;
    }
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
async fn what_cannot_be_posted_is_refused() {
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
