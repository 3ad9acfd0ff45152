//! The Web API through plain HTTP: tokens, users and conversations.

use std::collections::HashSet;

use local_slack::{LocalSlack, Options, StartError};
use serde_json::{Value, json};

use crate::client::{call, channel, check, error, http, missing, soon, start, start_with};

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
