//! Against a real local Slack, and against servers that no Slack would be.

use local_slack::{Answer, LocalSlack, Options};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::testing::{client, slack, soon};

fn args(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is not an object"),
    }
}

async fn post(api: &WebApi) -> Result<Value, ApiError> {
    soon(api.call(
        "chat.postMessage",
        &args(json!({"channel": "C404", "text": "hi"})),
    ))
    .await
}

/// How `chat.postMessage` fails when it is answered so.
async fn failure(slack: &LocalSlack, answer: Answer) -> ApiError {
    slack.control().answer("chat.postMessage", answer);
    post(&client(slack)).await.unwrap_err()
}

#[tokio::test]
async fn arguments_arrive_as_they_are_in_json_and_in_forms() {
    let (slack, api) = slack(Options::default()).await;
    let control = slack.control();
    let general = control.channel_id("general").unwrap();
    let blocks = json!([{"type": "section", "text": {"type": "mrkdwn", "text": "a&b=ü\n"}}]);

    let message =
        json!({"channel": general, "text": "a&b=ü 😀", "blocks": blocks, "mrkdwn": false});
    let answer = soon(api.call("chat.postMessage", &args(message.clone())))
        .await
        .unwrap();
    assert_eq!(answer["channel"], json!(general));
    assert_eq!(
        control.wait_for_calls("chat.postMessage", 1).await[0].arguments,
        message
    );

    let listing =
        json!({"limit": 3, "types": "public_channel", "exclude_archived": true, "cursor": null});
    soon(api.call("conversations.list", &args(listing)))
        .await
        .unwrap();
    let call = &control.wait_for_calls("conversations.list", 1).await[0];
    assert_eq!(call.status, 200);
    assert!(
        call.arguments.get("cursor").is_none(),
        "null is left out of forms: {}",
        call.arguments
    );
    assert_eq!(call.arguments["types"], "public_channel");
}

#[tokio::test]
async fn auth_test_says_who_we_are_and_what_we_may_do() {
    let (slack, api) = slack(Options::default()).await;
    slack.control().set_scopes(&["rtm:stream", "users:read"]);
    let identity = soon(api.auth_test()).await.unwrap();
    assert_eq!(identity.scopes, ["rtm:stream", "users:read"]);
    assert_eq!(identity.team_id, Options::default().team.id);
    assert_eq!(identity.user, Options::default().bot_name);
    assert!(identity.bot_id.is_some_and(|id| id.starts_with('B')));
}

#[tokio::test]
async fn slacks_refusal_comes_with_its_code_the_method_and_the_channel() {
    let (slack, api) = slack(Options::default()).await;
    let error = post(&api).await.unwrap_err();
    assert_eq!(
        (error.code(), error.class()),
        ("channel_not_found", Class::Permanent)
    );
    assert_eq!(
        (&*error.method, error.channel.as_deref()),
        ("chat.postMessage", Some("C404"))
    );

    slack.control().set_scopes(&["users:read"]);
    let error = post(&api).await.unwrap_err();
    let Failure::Refused(refusal) = &error.failure else {
        panic!("{error}")
    };
    assert_eq!(
        (&*refusal.code, refusal.needed.as_deref()),
        ("missing_scope", Some("chat:write"))
    );
    assert!(error.to_string().contains("users:read"), "{error}");

    slack.control().revoke(slack.token(), "account_inactive");
    assert_eq!(post(&api).await.unwrap_err().class(), Class::Fatal);
}

#[tokio::test]
async fn an_answer_that_is_none_is_classed_by_what_may_have_happened() {
    let (slack, _) = slack(Options::default()).await;
    for (asked, believed) in [(7, 7), (0, 1), (u64::MAX, 3600)] {
        let limited = failure(
            &slack,
            Answer {
                retry_after: Some(asked),
                ..Answer::default()
            },
        )
        .await;
        assert_eq!(
            limited.class(),
            Class::RateLimited {
                retry_after: Duration::from_secs(believed)
            }
        );
    }

    let html = Some(json!("<html>busy</html>"));
    for (status, class) in [
        (0, Class::Ambiguous),
        (502, Class::Ambiguous),
        (504, Class::Ambiguous),
        (503, Class::Retry),
        (401, Class::Retry),
        (403, Class::Retry),
        (404, Class::Retry),
        (408, Class::Retry),
    ] {
        let error = failure(
            &slack,
            Answer {
                status,
                body: html.clone(),
                ..Answer::default()
            },
        )
        .await;
        assert_eq!(error.class(), class, "{status}: {error}");
    }
    let error = failure(
        &slack,
        Answer {
            hang_up: true,
            ..Answer::default()
        },
    )
    .await;
    assert_eq!(error.class(), Class::Ambiguous, "{error}");
    let error = failure(
        &slack,
        Answer {
            error: Some("internal_error".into()),
            ..Answer::default()
        },
    )
    .await;
    assert_eq!(error.class(), Class::Ambiguous);
}

#[tokio::test]
async fn no_answer_in_time_is_ambiguous_and_no_connection_is_not() {
    let (slack, api) = slack(Options::default()).await;
    slack.control().answer(
        "chat.postMessage",
        Answer {
            delay_ms: 60_000,
            ..Answer::default()
        },
    );
    let token = Token::new(slack.token()).unwrap();
    let hasty = WebApi::with_timeout(api.base().clone(), token, Duration::from_millis(50)).unwrap();
    let error = post(&hasty).await.unwrap_err();
    assert_eq!(error.class(), Class::Ambiguous, "{error}");

    slack.shutdown().await;
    let error = post(&api).await.unwrap_err();
    assert_eq!(
        (error.code(), error.class()),
        ("unreachable", Class::Retry),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_lost_in_mid_answer_is_ambiguous() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/api", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let api = WebApi::new(base, Token::new("xoxb-1").unwrap()).unwrap();
    assert!(api.base().as_str().ends_with("/api/"));
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let count = stream.read(&mut request).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"ok\":true")
            .await
            .unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    };
    let (answer, request) = tokio::join!(post(&api), serving);
    assert!(
        request.starts_with("POST /api/chat.postMessage HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("authorization: Bearer xoxb-1\r\n"),
        "{request}"
    );
    assert_eq!(answer.unwrap_err().class(), Class::Ambiguous);
}

#[tokio::test]
async fn a_methods_name_can_not_lead_elsewhere() {
    let (slack, api) = slack(Options::default()).await;
    for name in [
        "",
        "../control/calls",
        "//evil.example/x",
        "a?b",
        "a b",
        "..",
    ] {
        let error = soon(api.call(name, &Map::new())).await.unwrap_err();
        assert_eq!(
            (error.code(), error.class()),
            ("unsendable", Class::Permanent),
            "{name}"
        );
    }
    assert!(slack.control().calls(None).is_empty());
    let error = soon(api.call("no.suchMethod", &Map::new()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "unknown_method");
}

#[test]
fn a_client_needs_a_base_that_can_be_one() {
    for base in ["ftp://slack.com/", "mailto:a@example.com"] {
        let made = WebApi::new(base.parse().unwrap(), Token::new("xoxb-1").unwrap());
        assert!(matches!(made, Err(SetupError::BaseUrl(_))), "{base}");
    }
    let api = WebApi::new(
        "http://127.0.0.1:1/".parse().unwrap(),
        Token::new("xoxb-hush").unwrap(),
    )
    .unwrap();
    assert!(!format!("{api:?}").contains("hush"));
}
