//! `conversations.history`, `conversations.replies` and `users.conversations`.

use local_slack::LocalSlack;
use serde_json::{Value, json};

use crate::client::{call, check, error, missing, start};

fn texts(answer: &Value) -> Vec<&str> {
    let messages = answer["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|one| one["text"].as_str().unwrap())
        .collect()
}

async fn post(slack: &LocalSlack, arguments: Value) -> String {
    let posted = call(slack, "chat.postMessage", arguments).await;
    posted["ts"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn history_is_cut_at_both_ends() {
    let slack = start().await;
    let general = slack.control().channel_id("general");
    let mut times = Vec::new();
    for number in 0..5 {
        times.push(
            post(
                &slack,
                json!({"channel": general, "text": number.to_string()}),
            )
            .await,
        );
    }
    let (oldest, latest) = (&times[1], &times[3]);
    for (range, expect) in [
        (json!({}), vec!["4", "3", "2", "1", "0"]),
        (json!({"oldest": oldest}), vec!["4", "3", "2"]),
        (json!({"latest": latest}), vec!["2", "1", "0"]),
        (json!({"oldest": oldest, "latest": latest}), vec!["2"]),
        (
            json!({"oldest": oldest, "latest": latest, "inclusive": true}),
            vec!["3", "2", "1"],
        ),
    ] {
        let mut arguments = range.clone();
        arguments["channel"] = json!(general);
        let whole = call(&slack, "conversations.history", arguments.clone()).await;
        assert_eq!(texts(&whole), expect, "{range}");
        // The same in pages of one.
        arguments["limit"] = json!(1);
        let mut paged = Vec::new();
        loop {
            let page = call(&slack, "conversations.history", arguments.clone()).await;
            paged.extend(texts(&page).iter().map(|text| (*text).to_owned()));
            assert_eq!(page["has_more"], page["response_metadata"].is_object());
            if page["has_more"] == false {
                break;
            }
            arguments["cursor"] = page["response_metadata"]["next_cursor"].clone();
        }
        assert_eq!(paged, expect, "{range}");
    }
}

#[tokio::test]
async fn metadata_comes_back_when_it_is_asked_for() {
    let slack = start().await;
    let metadata = json!({"event_type": "sent", "event_payload": {"id": "m-1"}});
    let arguments = json!({"channel": "general", "text": "x", "metadata": metadata});
    let posted = call(&slack, "chat.postMessage", arguments).await;
    assert_eq!(posted["message"]["metadata"], metadata);
    let general = posted["channel"].clone();
    for (asked, expect) in [(false, Value::Null), (true, metadata)] {
        let arguments = json!({"channel": general, "include_all_metadata": asked});
        let history = call(&slack, "conversations.history", arguments.clone()).await;
        assert_eq!(history["messages"][0]["metadata"], expect);
        let mut arguments = arguments;
        arguments["ts"] = posted["ts"].clone();
        let replies = call(&slack, "conversations.replies", arguments).await;
        assert_eq!(replies["messages"][0]["metadata"], expect);
    }
}

#[tokio::test]
async fn a_thread_is_read_from_its_parent_on() {
    let slack = start().await;
    let general = slack.control().channel_id("general");
    let parent = post(&slack, json!({"channel": general, "text": "parent"})).await;
    post(&slack, json!({"channel": general, "text": "beside"})).await;
    let mut replies = Vec::new();
    for number in 0..4 {
        let arguments =
            json!({"channel": general, "text": number.to_string(), "thread_ts": parent});
        replies.push(post(&slack, arguments).await);
    }
    for (more, expect) in [
        (json!({"ts": parent}), vec!["parent", "0", "1", "2", "3"]),
        // Any message of the thread names it.
        (
            json!({"ts": replies[2]}),
            vec!["parent", "0", "1", "2", "3"],
        ),
        (
            json!({"ts": parent, "oldest": replies[1]}),
            vec!["parent", "2", "3"],
        ),
        (
            json!({"ts": parent, "latest": replies[1], "inclusive": true}),
            vec!["parent", "0", "1"],
        ),
    ] {
        let mut arguments = more.clone();
        arguments["channel"] = json!(general);
        let thread = call(&slack, "conversations.replies", arguments).await;
        assert_eq!(texts(&thread), expect, "{more}");
    }
    let mut arguments = json!({"channel": general, "ts": parent, "limit": 2});
    let first = call(&slack, "conversations.replies", arguments.clone()).await;
    assert_eq!(texts(&first), ["parent", "0"]);
    arguments["cursor"] = first["response_metadata"]["next_cursor"].clone();
    let second = call(&slack, "conversations.replies", arguments).await;
    assert_eq!(texts(&second), ["1", "2"]);
    let replies = "conversations.replies";
    check(&slack, replies, json!({"channel": general}), missing("ts")).await;
    let nothing = json!({"channel": general, "ts": "1.000001"});
    check(&slack, replies, nothing, error("thread_not_found")).await;
}

#[tokio::test]
async fn a_user_gets_its_own_conversations() {
    let slack = start().await;
    let control = slack.control();
    let names = async |arguments: Value| -> Vec<String> {
        let mut arguments = arguments;
        let mut names = Vec::new();
        loop {
            let page = call(&slack, "users.conversations", arguments.clone()).await;
            for channel in page["channels"].as_array().unwrap() {
                names.push(channel["name"].as_str().unwrap_or("im").to_owned());
            }
            let next = page["response_metadata"]["next_cursor"].clone();
            if next == "" {
                return names;
            }
            arguments["cursor"] = next;
        }
    };
    let bots = names(json!({"types": "public_channel,private_channel,im", "limit": 3})).await;
    for (name, is_in) in [
        ("general", true),
        ("core-team", true),
        ("im", true),
        ("lounge", false),
    ] {
        assert_eq!(bots.iter().any(|one| one == name), is_in, "{name}");
    }
    let alices = names(json!({"user": control.user_id("alice"), "limit": 200})).await;
    assert!(alices.iter().any(|name| name == "lounge"));
    let open = names(json!({"exclude_archived": true, "limit": 200})).await;
    assert!(!open.iter().any(|name| name == "old-projects"));
    let nobody = json!({"user": "U404"});
    check(
        &slack,
        "users.conversations",
        nobody,
        error("user_not_found"),
    )
    .await;
    let wrong = json!({"types": "secret"});
    check(&slack, "users.conversations", wrong, error("invalid_types")).await;
}
