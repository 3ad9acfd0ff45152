//! The control interface, in process and over HTTP.

use std::time::Duration;

use bytes::Bytes;
use local_slack::{Answer, Burst, Frame, LocalSlack};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Rtm, SocketMode, call, channel, hasty, http, soon, start, start_with};

pub(crate) async fn operate(
    slack: &LocalSlack,
    method: Method,
    operation: &str,
    body: Value,
) -> (u16, Value) {
    let url = format!("http://{}/control/{operation}", slack.addr());
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let response = soon(http().request(method, url).body(body).send())
        .await
        .unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A socket whose bytes are seen as they are, after `hello`.
async fn raw(slack: &LocalSlack) -> TcpStream {
    let connected = call(slack, "rtm.connect", json!({})).await;
    let url = connected["url"].as_str().unwrap();
    let path = url.split_once(&slack.addr().to_string()).unwrap().1;
    let mut stream = TcpStream::connect(slack.addr()).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    // The key and its answer are the example of RFC 6455, section 1.3.
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let mut frame = [0; 2];
    soon(stream.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[0], 0x81);
    let mut hello = vec![0; usize::from(frame[1])];
    soon(stream.read_exact(&mut hello)).await.unwrap();
    stream
}

#[tokio::test]
async fn an_event_is_emitted_to_all_or_to_one() {
    let slack = start().await;
    let control = slack.control();
    let mut one = Rtm::connect(&slack).await;
    let first = soon(control.wait_for_connections(1)).await[0].id;
    let mut two = Rtm::connect(&slack).await;
    assert_eq!(control.emit(None, &json!({"type": "team_join"})), 2);
    assert_eq!(
        control.emit(Some(first), &json!({"type": "dnd_updated"})),
        1
    );
    for rtm in [&mut one, &mut two] {
        assert_eq!(rtm.event().await, json!({"type": "team_join"}));
    }
    assert_eq!(one.event().await, json!({"type": "dnd_updated"}));
    two.nothing().await;
    let emitted = operate(
        &slack,
        Method::POST,
        "emit",
        json!({"event": {"type": "x"}, "connection": first}),
    )
    .await;
    assert_eq!(emitted, (200, json!({"connections": 1})));
    assert_eq!(one.event().await, json!({"type": "x"}));
    let emitted = operate(
        &slack,
        Method::POST,
        "emit",
        json!({"text": "{\"type\":  \"y\"}"}),
    )
    .await;
    assert_eq!(emitted, (200, json!({"connections": 2})));
    let Some(Message::Text(text)) = one.message().await else {
        panic!("no text frame came");
    };
    assert_eq!(text.as_str(), "{\"type\":  \"y\"}");
}

#[tokio::test]
async fn frames_that_no_library_would_send_are_sent() {
    let slack = start().await;
    let control = slack.control();
    let mut stream = raw(&slack).await;
    let invalid = Frame::Text(Bytes::from_static(b"\xff\xfe"));
    assert_eq!(control.emit_frame(None, &invalid), 1);
    let mut seen = [0; 4];
    soon(stream.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"\x81\x02\xff\xfe");
    // "//4=" are the same two bytes.
    operate(&slack, Method::POST, "emit", json!({"base64": "//4="})).await;
    soon(stream.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"\x81\x02\xff\xfe");
    control.emit_frame(None, &Frame::Raw(Bytes::from_static(b"\xf7\x00oh")));
    soon(stream.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"\xf7\x00oh");
    let large = vec![b'x'; 16 * 1024 * 1024];
    control.emit_frame(None, &Frame::Binary(Bytes::from(large.clone())));
    let mut seen = vec![0; large.len() + 10];
    soon(stream.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen[..10], b"\x82\x7f\0\0\0\0\x01\0\0\0");
    assert!(seen[10..] == large);
}

#[tokio::test]
async fn a_burst_comes_whole_and_in_order() {
    let slack = start().await;
    let control = slack.control();
    let (mut one, mut two) = (Rtm::connect(&slack).await, Rtm::connect(&slack).await);
    let burst = Burst {
        frames: 5_000,
        bytes: 600,
        channels: 3,
        ..Burst::default()
    };
    let (sent, ..) = tokio::join!(control.burst(burst), read(&mut one), read(&mut two));
    assert_eq!((sent.frames, sent.connections), (5_000, 2));
    assert!(sent.sent_at >= sent.started_at);

    async fn read(rtm: &mut Rtm) {
        let (mut last, mut channels) = (String::new(), std::collections::BTreeSet::new());
        for number in 0..5_000 {
            let Some(Message::Text(text)) = rtm.message().await else {
                panic!("no text frame came");
            };
            assert_eq!(text.len(), 600);
            let event: Value = serde_json::from_str(&text).unwrap();
            assert!(
                event["text"]
                    .as_str()
                    .unwrap()
                    .starts_with(&format!("message {number:010} "))
            );
            let ts = event["ts"].as_str().unwrap().to_owned();
            assert!(ts > last && event["event_ts"] == ts.as_str());
            last = ts;
            channels.insert(event["channel"].as_str().unwrap().to_owned());
        }
        assert_eq!(channels.len(), 3);
    }
}

#[tokio::test]
async fn a_burst_ends_when_its_reader_is_gone() {
    let slack = start().await;
    let control = slack.control();
    let stream = raw(&slack).await;
    let burst = control.burst(Burst {
        frames: 100_000,
        ..Burst::default()
    });
    let leave = async {
        stream.readable().await.unwrap();
        control.drop_connections(None);
    };
    let (sent, ()) = soon(async { tokio::join!(burst, leave) }).await;
    assert_eq!(sent.frames, 100_000);
}

#[tokio::test]
async fn a_frozen_socket_is_silent_until_it_is_thawed() {
    let slack = start().await;
    let control = slack.control();
    let mut rtm = Rtm::connect(&slack).await;
    assert_eq!(control.freeze(None), 1);
    assert!(control.connections()[0].frozen);
    control.emit(None, &json!({"type": "late"}));
    rtm.send(json!({"id": 1, "type": "ping"})).await;
    // Another socket is served all the while, so that silence on the first is not by chance.
    let mut other = Rtm::connect(&slack).await;
    other.nothing().await;
    assert!(
        !control
            .frames()
            .iter()
            .any(|frame| frame.text.contains("\"id\":1,"))
    );
    control.thaw(None);
    assert_eq!(rtm.event().await, json!({"type": "late"}));
    assert_eq!(rtm.event().await, json!({"type": "pong", "reply_to": 1}));
}

#[tokio::test]
async fn sockets_are_dropped_or_said_goodbye_to() {
    let slack = start().await;
    let control = slack.control();
    let (mut one, mut two) = (Rtm::connect(&slack).await, Rtm::connect(&slack).await);
    let ids: Vec<_> = control.connections().iter().map(|open| open.id).collect();
    assert_eq!(control.drop_connections(Some(ids[0])), 1);
    // No close frame: the connection just ends.
    assert!(one.message().await.is_none());
    let left = soon(control.wait_until(|open| open.len() == 1)).await;
    assert_eq!(left[0].id, ids[1]);
    assert_eq!(control.goodbye(None, None).await, 1);
    assert_eq!(two.event().await["type"], "goodbye");
    two.nothing().await;
    let (count, ()) = tokio::join!(control.goodbye(None, Some(Duration::ZERO)), async {
        assert_eq!(two.event().await["type"], "goodbye");
        assert!(matches!(two.message().await, Some(Message::Close(_))));
        // There is no second close frame.
        assert!(two.message().await.is_none());
    });
    assert_eq!(count, 1);
}

#[tokio::test]
async fn calls_are_noted_and_awaited() {
    let slack = start().await;
    let control = slack.control();
    let (calls, posted) = tokio::join!(
        soon(control.wait_for_calls("chat.postMessage", 1)),
        call(
            &slack,
            "chat.postMessage",
            json!({"channel": "general", "text": "x"})
        )
    );
    assert_eq!(
        calls[0].arguments,
        json!({"channel": "general", "text": "x"})
    );
    assert_eq!((calls[0].status, &calls[0].answer), (200, &posted));
    let (_, listed) = operate(
        &slack,
        Method::GET,
        "calls?method=chat.postMessage&wait=1",
        Value::Null,
    )
    .await;
    assert_eq!(listed["calls"][0]["answer"], posted);
    call(&slack, "api.test", json!({"long": "x".repeat(100_000)})).await;
    let long = soon(control.wait_for_calls("api.test", 1)).await.remove(0);
    assert_eq!(long.answer["ok"], true);
    assert!(long.answer["too_long_to_keep"].as_u64() > Some(100_000));
    control.clear_calls();
    assert!(control.calls(None).is_empty());
    let late = operate(&slack, Method::GET, "calls?wait=1&timeout=0", Value::Null).await;
    assert_eq!(late.0, 408);
}

#[tokio::test]
async fn answers_are_prescribed() {
    let slack = start().await;
    let control = slack.control();
    let post = json!({"channel": "general", "text": "x"});
    let limited = json!({"method": "chat.postMessage", "retry_after": 7, "times": 2});
    assert_eq!(
        operate(&slack, Method::POST, "answer", limited).await.0,
        200
    );
    for _ in 0..2 {
        let request = http().post(format!("{}chat.postMessage", slack.api_url()));
        let response = request
            .bearer_auth(slack.token())
            .json(&post)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(
            response.json::<Value>().await.unwrap(),
            json!({"ok": false, "error": "ratelimited"})
        );
    }
    assert_eq!(
        call(&slack, "chat.postMessage", post.clone()).await["ok"],
        true
    );
    let general = channel(&slack, "general").await;
    let history = json!({ "channel": general });
    assert_eq!(
        call(&slack, "conversations.history", history.clone()).await["messages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Carried out, although the answer says otherwise.
    control.answer(
        "chat.postMessage",
        Answer {
            error: Some("fatal_error".to_owned()),
            perform: true,
            delay_ms: 1,
            ..Answer::default()
        },
    );
    assert_eq!(
        call(&slack, "chat.postMessage", post.clone()).await["error"],
        "fatal_error"
    );
    assert_eq!(
        call(&slack, "conversations.history", history).await["messages"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    control.answer(
        "views.open",
        Answer {
            body: Some(json!({"ok": true, "view": {}})),
            ..Answer::default()
        },
    );
    assert_eq!(
        call(&slack, "views.open", json!({})).await,
        json!({"ok": true, "view": {}})
    );
    control.answer(
        "chat.postMessage",
        Answer {
            hang_up: true,
            ..Answer::default()
        },
    );
    let request = http()
        .post(format!("{}chat.postMessage", slack.api_url()))
        .bearer_auth(slack.token());
    assert!(request.json(&post).send().await.is_err());
    control.answer(
        "auth.test",
        Answer {
            status: 503,
            ..Answer::default()
        },
    );
    control.clear_answers();
    assert_eq!(call(&slack, "auth.test", json!({})).await["ok"], true);
}

#[tokio::test]
async fn a_token_is_revoked_and_scopes_are_taken_away() {
    let slack = start().await;
    let scopes = json!({"scopes": ["users:read"]});
    operate(&slack, Method::POST, "scopes", scopes).await;
    let refused = call(
        &slack,
        "chat.postMessage",
        json!({"channel": "general", "text": "x"}),
    )
    .await;
    let expect = json!({"ok": false, "error": "missing_scope", "needed": "chat:write", "provided": "users:read"});
    assert_eq!(refused, expect);
    operate(&slack, Method::POST, "revoke", Value::Null).await;
    assert_eq!(
        call(&slack, "auth.test", json!({})).await["error"],
        "token_revoked"
    );
    slack.control().revoke(slack.token(), "account_inactive");
    assert_eq!(
        call(&slack, "auth.test", json!({})).await["error"],
        "account_inactive"
    );
}

#[tokio::test]
async fn people_speak_and_what_is_wrong_is_said() {
    let slack = start().await;
    let mut rtm = Rtm::connect(&slack).await;
    let say = |user: &str, channel: &str| json!({"user": user, "channel": channel, "text": "x"});
    let (status, said) = operate(&slack, Method::POST, "say", say("@bob", "#general")).await;
    assert_eq!((status, &said["ts"]), (200, &rtm.event().await["ts"]));
    operate(&slack, Method::POST, "say", say("bob", "djangobot")).await;
    assert!(
        rtm.event().await["channel"]
            .as_str()
            .unwrap()
            .starts_with('D')
    );
    for (operation, body, status, expect) in [
        ("say", say("nobody", "general"), 404, "no user \"nobody\""),
        (
            "say",
            say("bob", "nowhere"),
            404,
            "no conversation \"nowhere\"",
        ),
        ("say", json!({"user": "bob"}), 400, "missing field"),
        ("emit", json!({"event": {}, "text": ""}), 400, "give one of"),
        ("emit", json!({"base64": "?"}), 400, "base64"),
        ("answer", json!({"method": "x", "tiems": 1}), 400, "tiems"),
        ("dance", json!({}), 404, "POST /control/dance"),
    ] {
        let (code, answer) = operate(&slack, Method::POST, operation, body).await;
        assert_eq!(code, status, "{answer}");
        assert!(
            answer["error"].as_str().unwrap().contains(expect),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn the_app_is_given_things_over_http_as_well() {
    let slack = start_with(hasty()).await;
    let mut app = SocketMode::connect(&slack).await;
    let post =
        async |operation: &str, body: Value| operate(&slack, Method::POST, operation, body).await;
    for (operation, body, kind) in [
        (
            "event",
            json!({"event": {"type": "team_join"}}),
            "events_api",
        ),
        (
            "envelope",
            json!({"type": "novelty", "payload": {}}),
            "novelty",
        ),
        ("app_rate_limited", json!({}), "events_api"),
        (
            "slash",
            json!({"user": "alice", "channel": "general", "command": "/x", "text": "y"}),
            "slash_commands",
        ),
        (
            "interact",
            json!({"user": "alice", "payload": {"type": "shortcut"}}),
            "interactive",
        ),
    ] {
        let (status, begun) = post(operation, body).await;
        assert_eq!(status, 200, "{begun}");
        assert_eq!(app.take().await["type"], kind);
        assert!(begun["delivery"].is_u64());
    }
    let look = "deliveries?wait=5&contains=acknowledged";
    let (_, listed) = operate(&slack, Method::GET, look, Value::Null).await;
    assert_eq!(listed["deliveries"][3]["payload"]["command"], "/x");
    let fault = json!({"happening": {"what": "lose_ack"}, "probability": 0.5, "seed": 9});
    assert_eq!(post("fault", fault.clone()).await.0, 200);
    let (_, faults) = operate(&slack, Method::GET, "faults", Value::Null).await;
    assert_eq!(faults["faults"][0]["happening"], fault["happening"]);
    operate(&slack, Method::DELETE, "faults", Value::Null).await;
    assert!(slack.control().faults().is_empty());
    operate(&slack, Method::DELETE, "deliveries", Value::Null).await;
    assert!(slack.control().deliveries().is_empty());
    assert_eq!(
        post("slow", json!({"bytes_per_second": 10_000})).await.1["connections"],
        1
    );
    assert_eq!(post("slow", json!({})).await.1["connections"], 1);
    assert_eq!(post("storm", json!({"blows": 0})).await.1["connections"], 0);
    let (_, struck) = post("disconnect", json!({"reason": "link_disabled"})).await;
    assert_eq!(struck["connections"], 1);
    assert_eq!(app.envelope().await["reason"], "link_disabled");

    for (operation, body, status) in [
        ("events_url", json!({"url": "http://example.com/"}), 404),
        ("interact", json!({"user": "alice", "payload": 1}), 404),
        (
            "slash",
            json!({"user": "x", "channel": "general", "command": "/x"}),
            404,
        ),
        ("disconnect", json!({"reason": "boredom"}), 400),
        ("fault", json!({"happening": {"what": "nothing"}}), 400),
    ] {
        assert_eq!(post(operation, body).await.0, status, "{operation}");
    }
    let nobody = format!("http://127.0.0.1:{}/", djangobot_tests::free_port());
    assert_eq!(post("events_url", json!({"url": nobody})).await.0, 200);
    let (_, verified) = post("verify_url", json!({})).await;
    assert_eq!(
        (&verified["verified"], &verified["answer"]["failed"]),
        (&json!(false), &json!("connection_failed"))
    );
    let (_, checked) = post("ssl_check", json!({})).await;
    assert_eq!(checked["answer"]["status"], Value::Null);
}
