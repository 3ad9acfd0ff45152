//! Tests of the test host, by a plugin that does what each event asks for.

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::http::{HttpError, Request, Response};
use crate::log::Level;
use crate::{Edits, Emission, NoConfig, clock, emit, http, roster, secrets, slack, store};

/// A plugin that does what the event's `do` names.
struct Puppet;

impl Plugin for Puppet {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, Error> {
        Ok(Puppet)
    }

    fn on_event(&mut self, event: &Event) -> Result<Verdict, Error> {
        let what = event.text("/do").ok_or("there is nothing to do")?;
        Ok(match what.as_str() {
            "keep" => Verdict::Keep,
            "drop" => Verdict::drop("told so"),
            "edit" => {
                let [count, absent] = event.select(["/n", "/absent"]);
                assert!(absent.is_none());
                let count = count.and_then(|n| n.as_i64()).unwrap_or(0);
                Edits::new()
                    .set("/n", count + 1)
                    .set("/list/-", json!({"id": event.id()}))
                    .remove("/do")
                    .into()
            }
            "bad edit" => Edits::new().set("/n", 1).remove("/nowhere").into(),
            "type" => Edits::new().set("/type", "other").into(),
            "replace" => Verdict::replace("other", &json!({"type": "x", "n": 1}))?,
            "emit" => {
                emit(
                    "standup",
                    &json!({"kind": event.kind(), "inbound": event.is_inbound()}),
                )?;
                Verdict::Keep
            }
            "emit nonsense" => Verdict::Replace(vec![Emission::new("standup", &5)?]),
            "send" => {
                slack::send(&json!({"text": clock::now_ms().to_string()}))?;
                Verdict::Keep
            }
            "count" => Edits::new().set("/n", store::increment("n", 1)?).into(),
            "remember" => {
                store::set_for("k", "v", std::time::Duration::from_millis(10))?;
                Verdict::Keep
            }
            "recall" => Edits::new().set("/v", store::text("k")?).into(),
            "fetch" => {
                let key = secrets::get("KEY")?.unwrap_or_default();
                let answer = Request::get("https://a.org/").header("key", key).fetch()?;
                Edits::new().set("/v", answer.text()).into()
            }
            "log" => {
                crate::warn!("{what} {}", 5);
                Verdict::Keep
            }
            "ask" => {
                let found = roster::find_user("@ALICE").map(|user| user.id);
                let channel = roster::find_conversation("#general").map(|one| one.id);
                Edits::new()
                    .set("/user", found)
                    .set("/channel", channel)
                    .into()
            }
            other => return Err(format!("what is {other}?").into()),
        })
    }
}

fn puppet() -> TestPlugin<Puppet> {
    load(json!({}))
}

#[test]
fn a_verdict_shows_in_the_event_that_goes_on() {
    let mut puppet = puppet();
    assert!(puppet.inbound("message", json!({"do": "keep"})).kept());
    let outcome = puppet.inbound("message", json!({"do": "edit", "n": 4, "list": []}));
    assert_eq!(outcome.event, json!({"n": 5, "list": [{"id": "test-2"}]}));
    assert_eq!(outcome.calls, ["event.get", "event.select", "event.id"]);
    let outcome = puppet.outbound("chat.postMessage", json!({"do": "drop"}));
    assert_eq!(
        (outcome.dropped(), &outcome.event),
        (Some("told so"), &json!(null))
    );
    let outcome = puppet.inbound("message", json!({"do": "replace"}));
    let expect = EmittedEvent {
        kind: "other".into(),
        body: json!({"type": "other", "n": 1}),
    };
    assert_eq!(outcome.emitted, [expect]);
}

#[test]
fn a_verdict_that_the_host_would_refuse_is_an_error() {
    let mut puppet = puppet();
    let mut check = |what: &str, expect: &str| {
        let event = json!({"type": "message", "do": what});
        let error = puppet
            .try_call(Direction::Inbound, "message", event)
            .unwrap_err();
        assert!(error.contains(expect), "{error} / {expect}");
    };
    check("bad edit", "/nowhere: there is nothing to remove");
    check("type", "/type can't be edited");
    check("emit nonsense", "not an object");
    check("fetch", "Denied");
    check("dance", "what is dance?");
}

#[test]
fn effects_are_seen_and_belong_to_their_call() {
    let mut puppet = Host::new().at_ms(7).load::<Puppet>(json!({}));
    let outcome = puppet.inbound("message", json!({"do": "emit"}));
    assert_eq!(
        outcome.emitted[0].body,
        json!({"kind": "message", "inbound": true})
    );
    let outcome = puppet.inbound("message", json!({"do": "send"}));
    assert_eq!(outcome.sent, [json!({"text": "7"})]);
    assert!(outcome.emitted.is_empty());
    let outcome = puppet.inbound("message", json!({"do": "log"}));
    let expect = LogLine {
        level: Level::Warn,
        message: "log 5".into(),
    };
    assert_eq!(outcome.logs, [expect]);
}

#[test]
fn the_host_answers_as_it_was_set_up() {
    let mut puppet = Host::new()
        .user("U1", "alice")
        .channel("C1", "general")
        .secret("KEY", "s3")
        .stored("n", "41")
        .at_ms(100)
        .answer(|request| {
            assert_eq!(request.headers[0].1, "s3");
            Ok(Response {
                status: 200,
                headers: Vec::new(),
                body: b"pong".to_vec(),
            })
        })
        .load::<Puppet>(json!({}));
    let mut check = |what: &str, expect: Value| {
        let outcome = puppet.inbound("message", json!({"do": what}));
        assert_eq!(outcome.event, expect);
    };
    check("ask", json!({"do": "ask", "user": "U1", "channel": "C1"}));
    check("fetch", json!({"do": "fetch", "v": "pong"}));
    check("count", json!({"do": "count", "n": 42}));
    check("remember", json!({"do": "remember"}));
    check("recall", json!({"do": "recall", "v": "v"}));
    puppet.change_host(|host| host.at_ms(110).answer(|_| Err(HttpError::Timeout)));
    let outcome = puppet.inbound("message", json!({"do": "recall"}));
    assert_eq!(outcome.event, json!({"do": "recall", "v": null}));
    let error = puppet.with_host(|_| http::Request::get("https://a.org/").fetch());
    assert_eq!(error, Err(HttpError::Timeout));
}

#[test]
fn a_wrong_config_is_refused() {
    let error = Host::new()
        .try_load::<Puppet>(json!({"stlye": 1}))
        .unwrap_err();
    assert!(error.starts_with("stlye: unknown field"), "{error}");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CounterConfig {
    start: u8,
}

struct Counter(u8);

impl Plugin for Counter {
    type Config = CounterConfig;

    fn new(config: CounterConfig) -> Result<Self, Error> {
        Ok(Counter(config.start))
    }

    fn on_event(&mut self, _: &Event) -> Result<Verdict, Error> {
        self.0 += 1;
        Ok(Verdict::Keep)
    }
}

impl Lifecycle for Counter {
    fn health(&mut self) -> Result<(), Error> {
        match self.0 {
            99 => Err("it is full".into()),
            _ => Ok(()),
        }
    }

    fn snapshot(&mut self) -> Vec<u8> {
        vec![self.0]
    }

    fn restore(&mut self, state: Vec<u8>) -> Result<(), Error> {
        self.0 = *state.first().ok_or("the state is empty")?;
        Ok(())
    }
}

crate::export!(Counter, lifecycle);

#[test]
fn state_passes_from_one_version_to_the_next() {
    let mut old = load::<Counter>(json!({"start": 5}));
    old.inbound("message", json!({}));
    let mut new = load::<Counter>(json!({"start": 0}));
    new.restore(old.snapshot()).unwrap();
    assert_eq!(new.plugin().0, 6);
    assert_eq!(new.restore(Vec::new()), Err("the state is empty".into()));
    assert_eq!(new.restore(vec![99]), Err("it is full".into()));
}

#[cfg(feature = "manifest")]
#[test]
fn a_manifest_is_kept_to() {
    const MANIFEST: &str = r#"
name = "counter"
version = "1.0.0"
emits = ["tick"]

[subscribe]
inbound = ["reaction_*", { kind = "message", has = ["/do"], lacks = ["/bot_id"] }]

[config-schema]
type = "object"
additionalProperties = false
properties.start = { type = "integer", maximum = 200 }
"#;
    let host = || Host::new().manifest(MANIFEST);
    let error = host()
        .try_load::<Counter>(json!({"start": 201}))
        .unwrap_err();
    assert!(error.starts_with("/start: 201"), "{error}");

    let mut counter = host().load::<Counter>(json!({"start": 1}));
    let mut check = |kind: &str, event: Value, expect: bool| {
        assert_eq!(counter.inbound(kind, event).called, expect, "{kind}");
    };
    check("reaction_added", json!({}), true);
    check("message", json!({"do": "keep"}), true);
    check("message", json!({"do": "keep", "bot_id": "B1"}), false);
    check("message", json!({}), false);
    check("hello", json!({}), false);
    assert!(!counter.outbound("message", json!({"do": "keep"})).called);

    let mut puppet = Host::new()
        .manifest("name = \"p\"\nemits = [\"standup\"]\n[subscribe]\ninbound = [\"*\"]")
        .load::<Puppet>(json!({}));
    assert_eq!(
        puppet
            .inbound("message", json!({"do": "emit"}))
            .emitted
            .len(),
        1
    );
    let replaced = puppet.try_call(Direction::Inbound, "message", json!({"do": "replace"}));
    assert!(
        replaced
            .unwrap_err()
            .contains("does not list \"other\" under `emits`")
    );
}
