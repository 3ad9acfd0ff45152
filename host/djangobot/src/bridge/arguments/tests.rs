//! Arguments before and after, as one table for each type.

use djangobot_slack::method;
use serde_json::json;

use super::*;

fn converted(method: &str, name: &str, value: Value) -> Result<Option<Value>, SendFailure> {
    let method = method::get(method).unwrap();
    let arguments = Map::from_iter([(name.to_owned(), value)]);
    convert(method, arguments).map(|mut arguments| arguments.remove(name))
}

fn becomes(method: &str, name: &str, value: Value, expect: impl Into<Option<Value>>) {
    let found = converted(method, name, value.clone());
    assert_eq!(found, Ok(expect.into()), "{method} {name} {value}");
}

fn is_refused(method: &str, name: &str, value: Value) {
    let refusal = converted(method, name, value.clone()).unwrap_err();
    assert!(refusal.detail.contains(&format!("`{name}`")), "{refusal}");
    assert!(refusal.detail.ends_with('.'), "{refusal}");
    let code = ["invalid_arguments", "invalid_text"];
    assert!(code.contains(&&*refusal.error), "{refusal:?}");
}

#[test]
fn a_timestamp_is_a_text_with_all_its_digits() {
    for (method, name) in [
        ("chat.postMessage", "thread_ts"),
        ("chat.update", "ts"),
        ("reactions.add", "timestamp"),
        ("chat.getPermalink", "message_ts"),
    ] {
        becomes(
            method,
            name,
            json!("1602251441.001700"),
            json!("1602251441.001700"),
        );
        // The double has six decimals left, and they are those of the text.
        becomes(
            method,
            name,
            json!(1602251441.0017),
            json!("1602251441.001700"),
        );
        becomes(
            method,
            name,
            json!(1795345843.000199),
            json!("1795345843.000199"),
        );
        is_refused(method, name, json!(1602251441));
        is_refused(method, name, json!(1602251441.0));
        is_refused(method, name, json!(1602251441.0017133_f64));
        is_refused(method, name, json!(1602251441001700_u64));
        is_refused(method, name, json!(-1.5));
        is_refused(method, name, json!(true));
        is_refused(method, name, json!(["1602251441.001700"]));
        becomes(method, name, json!(null), None);
        becomes(method, name, json!(""), None);
    }
}

#[test]
fn each_timestamp_of_slack_comes_back_from_a_float() {
    let micros = (1_380_000_000_000_000_u64..4_290_000_000_000_000).step_by(2_909_090_909_091);
    for micros in micros.filter(|micros| micros % 1_000_000 != 0) {
        let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        assert_eq!(exact(text.parse().unwrap()), Some(text));
    }
}

#[test]
fn a_moment_may_be_a_number() {
    let check = |value, expect: Value| becomes("conversations.history", "oldest", value, expect);
    check(json!(1602251441), json!("1602251441"));
    check(json!(1602251441.5), json!("1602251441.500000"));
    check(json!("0"), json!("0"));
    is_refused("conversations.history", "latest", json!({}));
    becomes(
        "reminders.add",
        "time",
        json!("in 5 minutes"),
        json!("in 5 minutes"),
    );
}

#[test]
fn lists_get_commas_where_slack_takes_one_text() {
    let check = |value, expect: Option<&str>| {
        becomes("files.list", "types", value, expect.map(Value::from));
    };
    check(json!(["images", "pdfs"]), Some("images,pdfs"));
    check(json!("images, pdfs"), Some("images,pdfs"));
    check(json!([" images", null, "", "pdfs"]), Some("images,pdfs"));
    check(json!([]), None);
    // Those of ids get theirs when names have become ids.
    let check = |method, name, value, expect: Option<Value>| becomes(method, name, value, expect);
    let users = json!(["U1", "U2"]);
    check(
        "conversations.open",
        "users",
        users.clone(),
        Some(users.clone()),
    );
    check(
        "conversations.invite",
        "users",
        json!("U1, U2"),
        Some(users),
    );
    check("conversations.open", "users", json!([]), None);
    check("usergroups.update", "channels", json!([]), Some(json!([])));
    is_refused("conversations.open", "users", json!(["U1", ["U2"]]));
    is_refused("conversations.open", "users", json!({"U1": 1}));
    is_refused("conversations.open", "users", json!(true));
    // Here Slack wants JSON.
    let users = json!([{"slack_id": "U1"}]);
    becomes("calls.add", "users", users.clone(), users);
    let messages = json!(["thinking, hard", "reading"]);
    becomes(
        "assistant.threads.setStatus",
        "loading_messages",
        messages.clone(),
        messages,
    );
}

#[test]
fn booleans_and_integers_come_in_several_spellings() {
    let check =
        |value, expect: bool| becomes("chat.postMessage", "unfurl_links", value, json!(expect));
    for yes in [
        json!(true),
        json!("True"),
        json!("true"),
        json!(1),
        json!("1"),
    ] {
        check(yes, true);
    }
    for no in [json!(false), json!("False"), json!(0), json!("0")] {
        check(no, false);
    }
    becomes("chat.postMessage", "mrkdwn", json!(""), None);
    is_refused("chat.postMessage", "unfurl_links", json!("perhaps"));
    is_refused("chat.postMessage", "unfurl_links", json!(2));
    is_refused("chat.postMessage", "unfurl_links", json!([]));

    becomes("users.list", "limit", json!(5), json!(5));
    becomes("users.list", "limit", json!(5.0), json!(5));
    becomes("users.list", "limit", json!("5"), json!(5));
    is_refused("users.list", "limit", json!(5.5));
    is_refused("users.list", "limit", json!("five"));
    is_refused("users.list", "limit", json!(true));
}

#[test]
fn layouts_stay_objects_and_lose_values_that_are_none() {
    let blocks = json!([{"type": "section", "text": {"type": "plain_text", "text": "hi", "emoji": null}, "accessory": null}, null]);
    let expect = json!([{"type": "section", "text": {"type": "plain_text", "text": "hi"}}]);
    becomes("chat.postMessage", "blocks", blocks.clone(), expect.clone());
    becomes(
        "chat.postMessage",
        "blocks",
        blocks.to_string().into(),
        expect,
    );
    let view = json!({"type": "modal", "blocks": []});
    becomes("views.open", "view", view.clone(), view);
    // Data may have nulls that say something.
    let outputs = json!({"result": null});
    becomes(
        "functions.completeSuccess",
        "outputs",
        outputs.clone(),
        outputs,
    );
    becomes("chat.postMessage", "metadata", json!(null), None);
    is_refused("chat.postMessage", "blocks", json!("not JSON"));
    is_refused("chat.postMessage", "attachments", json!(5));
    is_refused("views.open", "view", json!("\"a text\""));
}

#[test]
fn an_empty_text_is_left_out_where_slack_has_no_use_for_it() {
    becomes("chat.postMessage", "icon_emoji", json!(""), None);
    becomes("conversations.list", "cursor", json!(""), None);
    becomes("conversations.setTopic", "topic", json!(""), json!(""));
    becomes("chat.update", "text", json!(""), json!(""));
    becomes("chat.postMessage", "username", json!(7), json!("7"));
    is_refused("chat.postMessage", "username", json!(true));
    is_refused("chat.postMessage", "text", json!(["hi"]));
    // An argument that the reference does not have goes as it is.
    becomes(
        "chat.postMessage",
        "brand_new",
        json!([1, null]),
        json!([1, null]),
    );
    becomes("chat.postMessage", "brand_new", json!(null), None);
}

#[test]
fn bytes_are_refused_wherever_they_stand() {
    let bytes = json!({"$bytes": "/w=="});
    is_refused("chat.postMessage", "username", bytes.clone());
    is_refused(
        "chat.postMessage",
        "blocks",
        json!([{"type": "section", "text": bytes}]),
    );
    is_refused("chat.postMessage", "brand_new", bytes);
}

#[test]
fn a_token_is_refused_and_not_repeated() {
    let refusal = converted("chat.postMessage", "token", json!("xoxb-hush")).unwrap_err();
    assert_eq!(refusal.error, "invalid_arguments");
    assert!(!refusal.detail.contains("hush"), "{refusal}");
    becomes("chat.postMessage", "token", json!(null), None);
}
