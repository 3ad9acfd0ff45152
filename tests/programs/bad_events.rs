//! Frames that are not events, and odd events: logged once, counted, and the same connection goes on.

use bytes::Bytes;
use local_slack::{Control, Frame};
use serde_json::json;

use crate::bridge::Bridge;
use crate::deployment::Deployment;

/// The longest frame that the bridge takes, in bytes.
const MAX_FRAME: usize = 16 << 20;

fn emit(control: &Control, payload: impl Into<Bytes>) {
    assert_eq!(control.emit_frame(None, &Frame::Text(payload.into())), 1);
}

/// A message with a text so long that the frame has `length` bytes.
fn long(length: usize) -> String {
    let (head, tail) = (r#"{"type":"long","text":""#, r#""}"#);
    format!(
        "{head}{}{tail}",
        "x".repeat(length - head.len() - tail.len())
    )
}

#[tokio::test]
async fn a_frame_that_is_not_an_event_is_logged_once_and_counted_and_the_connection_stays() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.message"]).await;
    let connection = control.connections()[0].id;

    let deep = format!(
        r#"{{"type":"deep","value":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let cases: [(&str, Vec<Vec<u8>>); 3] = [
        (
            "unreadable",
            [
                &b"no JSON"[..],
                b"",
                b"{",
                b"{\"type\":\"message\"",
                b"{\"type\":\"message\"} {}",
                b"{\"type\":\"message\",}",
                b"[1,2]",
                b"\"text\"",
                b"null",
                b"{\"type\":\"message\",\"text\":\"\xff\xfe\"}",
                b"{\"type\":\"message\",\"text\":\"\xed\xa0\x80\"}",
                b"{\"type\":\"message\",\"n\":01}",
                b"{\"type\":\"message\",\"text\":\"raw \x01 control\"}",
                deep.as_bytes(),
            ]
            .map(<[u8]>::to_vec)
            .to_vec(),
        ),
        (
            "no_type",
            [
                &b"{}"[..],
                b"{\"text\":\"hi\"}",
                b"{\"type\":5}",
                b"{\"type\":null}",
                b"{\"type\":\"\"}",
            ]
            .map(<[u8]>::to_vec)
            .to_vec(),
        ),
        ("too_long", vec![long(MAX_FRAME + 1).into_bytes()]),
    ];
    for (reason, frames) in cases {
        let count = frames.len();
        for (n, frame) in frames.into_iter().enumerate() {
            let shown = String::from_utf8_lossy(&frame[..frame.len().min(60)]).into_owned();
            emit(control, frame);
            let text = format!("after {reason} {n}");
            deployment.say(&text);
            assert_eq!(app.next("slack.message").await["text"], text, "{shown}");
            let counted = bridge
                .metric(&format!(
                    "djangobot_bad_events_total{{reason=\"{reason}\"}}"
                ))
                .await;
            assert_eq!(counted, (n + 1) as f64, "{reason}: {shown}");
        }
        let told = bridge
            .logs("was not forwarded")
            .into_iter()
            .filter(|line| line["reason"] == reason)
            .count();
        assert_eq!(told, 1, "{reason}, {count} times");
    }
    assert_eq!(
        control
            .connections()
            .iter()
            .map(|connection| connection.id)
            .collect::<Vec<_>>(),
        [connection]
    );
    assert_eq!(bridge.metric("djangobot_reconnects_total").await, 0.0);
}

#[tokio::test]
async fn an_odd_event_is_forwarded_as_well_as_the_layer_allows_and_logged_once() {
    let deployment = Deployment::new().await;
    let control = &deployment.control;
    let bridge = deployment.bridge().await;
    let mut app = deployment.sender();
    let connection = control.connections()[0].id;

    let big = "123456789012345678901234567890";
    for (event, channel, expect, oddity) in [
        (
            format!(r#"{{"type":"big","n":{big},"m":-{big}}}"#),
            "slack.big",
            json!({"n": big, "m": format!("-{big}")}),
            "big_integers",
        ),
        (
            r#"{"type":"twice","a":1,"b":2,"a":3}"#.to_owned(),
            "slack.twice",
            json!({"a": 3, "b": 2}),
            "duplicate_keys",
        ),
        (
            r#"{"type":"half","a":"\ud83d."}"#.to_owned(),
            "slack.half",
            json!({"a": "\u{fffd}."}),
            "lone_surrogates",
        ),
        (
            r#"{"type":"we/ird type","a":1}"#.to_owned(),
            "slack.we_ird_type",
            json!({"a": 1}),
            "type",
        ),
        (
            r#"{"type":"étoile","a":1}"#.to_owned(),
            "slack._toile",
            json!({"a": 1}),
            "type",
        ),
        (
            r#"{"type":"specific.a!b","a":1}"#.to_owned(),
            "slack.specific.a_b",
            json!({"a": 1}),
            "type",
        ),
    ] {
        app.receive(&[channel]).await;
        let count = format!("djangobot_odd_events_total{{oddity=\"{oddity}\"}}");
        let before = (bridge.metric(&count).await, warnings(&bridge));
        for _ in 0..2 {
            emit(control, event.clone());
            let mut message = app.next(channel).await;
            let keys = message.as_object_mut().unwrap();
            assert_eq!(keys.remove("type").unwrap(), channel);
            assert!(keys.remove("reply_channel").is_some() && keys.remove("djangobot").is_some());
            assert_eq!(message, expect, "{event}");
        }
        let after = (bridge.metric(&count).await, warnings(&bridge));
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            (2.0, 1),
            "{event}:\n{}",
            bridge.stderr()
        );
    }
    assert_eq!(control.connections()[0].id, connection);
}

/// How many warnings were logged so far.
fn warnings(bridge: &Bridge) -> usize {
    bridge
        .logs("")
        .iter()
        .filter(|line| line["level"] == "WARN")
        .count()
}

#[tokio::test]
async fn a_16_mb_event_is_forwarded() {
    let deployment = Deployment::new().await;
    let _bridge = deployment.bridge().await;
    let mut app = deployment.app(&["slack.long"]).await;
    emit(&deployment.control, long(MAX_FRAME));
    let message = app.next("slack.long").await;
    let text = message["text"].as_str().unwrap();
    assert!(text.len() > MAX_FRAME - 100 && text.bytes().all(|byte| byte == b'x'));
}
