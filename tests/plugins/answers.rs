//! Answers of plugins: edits are made all or none, fields of routing can't be edited, and every size has a bound.

use serde_json::{Value, json};

use crate::guest::{Guest, Put};
use crate::stage::{Role, Stage, only, value};

/// A name, edits, and a part of the error about them.
type Case<'a> = (&'a str, Vec<(&'a str, Put<'a>)>, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn edits_are_made_all_or_none_and_never_to_routing_fields() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let refused: Vec<Case<'_>> = vec![
        ("type", vec![("/type", Put::Text("slack.send"))], "/type"),
        (
            "djangobot",
            vec![("/djangobot/id", Put::Text("x"))],
            "/djangobot",
        ),
        (
            "reply",
            vec![("/reply_channel", Put::Remove)],
            "/reply_channel",
        ),
        ("whole", vec![("", Put::Json("{}"))], "whole event"),
        ("tilde", vec![("/~2", Put::Text("x"))], "not a JSON pointer"),
        ("nowhere", vec![("/a/b", Put::Text("x"))], "no \"a\""),
        (
            "dash",
            vec![("/text/-", Put::Text("x"))],
            "neither an object nor an array",
        ),
        ("json", vec![("/x", Put::Json("{oops"))], "not JSON"),
        ("deep", vec![("/x", Put::Json(&deep))], "not JSON"),
        (
            "nan",
            vec![("/x", Put::Number(f64::NAN))],
            "not a JSON number",
        ),
        (
            "infinite",
            vec![("/x", Put::Number(f64::INFINITY))],
            "not a JSON number",
        ),
        (
            "absent",
            vec![("/absent", Put::Remove)],
            "nothing to remove",
        ),
        (
            "second",
            vec![("/good", Put::Text("x")), ("/absent", Put::Remove)],
            "nothing to remove",
        ),
    ];
    for (name, edits, expect) in refused {
        let guest = Guest::new().answers(|data| data.edits(&edits));
        let stage = Stage::with(&[Role::new(name, &guest)]).await;
        let out = only(&stage.message("hi").await);
        assert_eq!(
            out,
            json!({"type": "message", "text": "hi", "channel": "C1", "n": 1}),
            "{name}"
        );
        for _ in 0..2 {
            stage.message("hi").await;
        }
        let why = stage.status(name).why.unwrap_or_default();
        assert!(why.contains(expect), "{name}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_edits_are_made() {
    let edits = [
        ("/__proto__", Put::Text("just a key")),
        ("/text", Put::Text("\u{1F600} \"quoted\"")),
        ("/list", Put::Json("[1,{\"a\":1,\"a\":2}]")),
        ("/list/-", Put::Number(0.5)),
        ("/n", Put::Remove),
    ];
    let guest = Guest::new().answers(|data| data.edits(&edits));
    let stage = Stage::with(&[Role::new("edits", &guest)]).await;
    let out = only(&stage.message("hi").await);
    let expect = json!({"type": "message", "text": "\u{1F600} \"quoted\"", "channel": "C1",
        "__proto__": "just a key", "list": [1, {"a": 2}, 0.5]});
    assert_eq!(out, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_refused() {
    let million = Guest::new().answers(|data| {
        // All of them lie at one place that holds zeros: each sets "" to null, a million times.
        data.edits_at(1 << 16, 1_000_000)
    });
    let million = million.fields("(data (i32.const 8) \"\\00\")").init("(if (i32.eq (memory.grow (i32.const 520)) (i32.const -1)) (then unreachable)) (i32.const 16)");
    let large = "x".repeat(2 << 20);
    let text = Guest::new().answers(|data| data.edits(&[("/x", Put::Text(&large))]));
    for (name, guest) in [("million", million), ("text", text)] {
        let mut role = Role::new(name, &guest);
        role.limits.memory_mib = Some(64);
        let stage = Stage::with(&[role]).await;
        let out = only(&stage.message("hi").await);
        assert_eq!(out["x"], Value::Null, "{name}");
        let status = stage.status(name);
        assert_eq!(status.modified, 0, "{name}: {status:?}");
        assert_eq!(status.failures(), 1, "{name}: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_makes_events_only_of_kinds_that_its_manifest_lists() {
    let long = "k".repeat(1 << 20);
    for kind in [
        "../x",
        "slack.send",
        "",
        &long,
        "st\u{0430}ndup",
        "standup ",
        "message",
    ] {
        let guest = Guest::new().answers(|data| data.replaces(&[(kind, "{}")]));
        let mut role = Role::new("forges", &guest).manifest("emits = [\"standup\"]\n");
        role.limits.output_kib = Some(4096);
        let stage = Stage::with(&[role]).await;
        let out = only(&stage.message("hi").await);
        assert_eq!(out["text"], "hi", "{kind:.20}");
        assert_eq!(stage.status("forges").bad_answers, 1, "{kind:.20}");
    }
    let guest = Guest::new()
        .answers(|data| data.replaces(&[("standup", r#"{"a":1}"#), ("standup", r#"{"a":2}"#)]));
    let stage =
        Stage::with(&[Role::new("emits", &guest).manifest("emits = [\"standup\"]\n")]).await;
    let passed = stage.message("hi").await;
    let out: Vec<_> = passed
        .events
        .iter()
        .map(|event| (&*event.id, &*event.kind, value(&event.body)))
        .collect();
    assert_eq!(
        out,
        [
            ("Ev1", "standup", json!({"a": 1})),
            ("Ev1.emits.1", "standup", json!({"a": 2}))
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn emissions_go_through_the_plugins_after_and_are_bounded() {
    // Each of ten plugins replaces a message by two, and all subscribe to messages: 2^10 events would be too many.
    let guest = Guest::new().answers(|data| data.replaces(&[("message", "{}"), ("message", "{}")]));
    let roles: Vec<Role> = (0..10)
        .map(|n| Role::new(&format!("doubles-{n}"), &guest).manifest("emits = [\"message\"]\n"))
        .collect();
    let stage = Stage::with(&roles).await;
    let passed = stage.message("hi").await;
    assert!(
        (2..=256).contains(&passed.events.len()),
        "{}",
        passed.events.len()
    );
    assert!(passed.events.iter().all(|event| event.hops <= 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_drop_can_not_steer_a_terminal() {
    let guest = Guest::new().answers(|data| data.drops(b"not wanted"));
    let stage = Stage::with(&[Role::new("drops", &guest)]).await;
    let passed = stage.message("hi").await;
    assert!(passed.events.is_empty());
    let dropped = passed.dropped.unwrap();
    assert_eq!(
        (
            dropped.plugin.as_str(),
            dropped.reason.as_str(),
            dropped.failed
        ),
        ("drops", "not wanted", false)
    );
}
