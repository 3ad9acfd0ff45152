//! Accepted messages for Slack: whatever is killed, cut or full, each is posted once and in order, or reported as failed.

mod dead_letters;
mod disk;
mod emissions;
mod lookups;
mod poison;

use djangobot_tests::{eventually, seen};
use local_slack::{Answer, Call, OAuth};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, host};
use crate::bridge::{Bridge, TOKEN, calls};
use crate::deployment::Deployment;
use crate::faults::roomy;

/// As good as never: the bridge is killed before an answer that is held back for so long.
const NEVER: u64 = 3_600_000;

/// A deployment whose layer holds many messages, but few outcomes.
async fn deployment() -> Deployment {
    let deployment = Deployment::new().await;
    let toml = roomy(&deployment.redis).replace(
        "capacity = 5000",
        "capacity = 5000, channel_capacity = { results = 5 }",
    );
    deployment.configure(&toml);
    deployment
}

impl Deployment {
    /// A bridge on the layer of the config file.
    async fn configured_bridge(&self) -> Bridge {
        self.bridge_with(&[]).await
    }

    /// An app with the settings of that layer.
    fn roomy_app(&self) -> App {
        App::with_config(&json!({"hosts": [host(&self.redis.url())], "capacity": 5000}))
    }

    /// The messages in a conversation or thread, the oldest first: the truth about what was posted.
    async fn posted(&self, channel: &str, thread: Option<&str>) -> Vec<Value> {
        let id = self.control.channel_id(channel).unwrap();
        let (method, thread) = match thread {
            Some(ts) => ("replies", format!("&ts={ts}")),
            None => ("history", String::new()),
        };
        let body =
            format!("token={TOKEN}&channel={id}&limit=999&include_all_metadata=true{thread}");
        let request = format!(
            "POST /api/conversations.{method} HTTP/1.0\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.slack.addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut answer: Value = serde_json::from_str(body).unwrap();
        let messages = answer["messages"].as_array_mut().expect("a history");
        let mut messages = std::mem::take(messages);
        if thread.is_empty() {
            messages.reverse();
        }
        let is_post = |message: &Value| message["subtype"].is_null();
        messages.retain(is_post);
        messages
    }

    async fn texts(&self, channel: &str) -> Vec<String> {
        let posted = self.posted(channel, None).await;
        let text = |message: &Value| message["text"].as_str().unwrap().to_owned();
        let texts = posted.iter().map(text).collect();
        seen(&texts);
        texts
    }

    /// Waits until a conversation holds so many posts.
    async fn has(&self, channel: &str, count: usize) -> Vec<String> {
        eventually(&format!("#{channel} has {count} posts"), async || {
            let texts = self.texts(channel).await;
            (texts.len() >= count).then_some(texts)
        })
        .await
    }

    /// Waits until the layer has nothing more of what was put on `slack.send`.
    async fn layer_is_empty(&self) {
        eventually("the layer is empty", async || {
            (self.redis.cli(&["KEYS", "asgislack.send*"])
                == "asgislack.send{asgislack.send}$djangobot")
                .then_some(())
        })
        .await;
    }

    /// The calls of a method so far, answered or not.
    fn calls(&self, method: &str) -> Vec<Call> {
        let calls = self.control.calls(Some(method));
        seen(&calls);
        calls
    }

    /// Waits until a call of a method has come, answered or not.
    async fn called(&self, method: &str, count: usize) {
        eventually(&format!("{count} calls of {method}"), async || {
            (self.calls(method).len() >= count).then_some(())
        })
        .await;
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// The call has its effect, and nobody hears of it for as long as it matters.
fn silent() -> Answer {
    Answer {
        delay_ms: NEVER,
        ..Answer::default()
    }
}

#[tokio::test]
async fn accepted_messages_are_sent_although_the_bridge_and_redis_are_killed() {
    const MESSAGES: usize = 60;
    let mut deployment = deployment().await;
    deployment.control.answer("chat.postMessage", silent());
    deployment.control.answer("chat.postMessage", silent());
    let mut bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    for n in 0..MESSAGES {
        let channel = ["general", "random"][n % 2];
        let message = json!({"text": (n / 2).to_string(), "channel": channel});
        app.send("slack.send", &message).await;
    }
    deployment.called("chat.postMessage", 2).await;
    bridge.metric_is("djangobot_outbox_messages", 60.0).await;
    deployment.layer_is_empty().await;
    bridge.kill().await;
    deployment.redis.stop();

    // Without the layer it can't know whether another host serves by now.
    let bridge = deployment.configured_bridge().await;
    bridge.metric_is("djangobot_outbox_messages", 60.0).await;
    assert_eq!(deployment.calls("chat.postMessage").len(), 2);
    deployment.redis.restart();
    for channel in ["general", "random"] {
        let texts = deployment.has(channel, MESSAGES / 2).await;
        assert_eq!(texts, numbers(0..MESSAGES / 2), "{channel}");
    }
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    let found = "djangobot_ambiguous_sends_total{outcome=\"found\"}";
    assert_eq!(bridge.metric(found).await, 2.0);
    assert_eq!(deployment.calls("chat.postMessage").len(), MESSAGES);
}

#[tokio::test]
async fn a_message_whose_call_had_no_effect_before_a_kill_is_posted_after_the_next_start() {
    let deployment = deployment().await;
    let undone = Answer {
        error: Some("internal_error".into()),
        ..silent()
    };
    deployment.control.answer("chat.postMessage", undone);
    let mut bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    for n in 0..3 {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    deployment.called("chat.postMessage", 1).await;
    deployment.layer_is_empty().await;
    bridge.kill().await;
    let bridge = deployment.configured_bridge().await;
    assert_eq!(deployment.has("general", 3).await, numbers(0..3));
    let absent = "djangobot_ambiguous_sends_total{outcome=\"absent\"}";
    assert_eq!(bridge.metric(absent).await, 1.0);
}

#[tokio::test]
async fn many_kills_neither_lose_nor_double_nor_reorder_messages() {
    const MESSAGES: usize = 120;
    let deployment = deployment().await;
    let slowly = Answer {
        times: u64::MAX,
        delay_ms: 15,
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", slowly);
    let mut app = deployment.roomy_app();
    for n in 0..MESSAGES {
        let channel = ["general", "random", "ops"][n % 3];
        let message = json!({"text": (n / 3).to_string(), "channel": channel});
        app.send("slack.send", &message).await;
    }
    let all = async || {
        let mut all = 0;
        for channel in ["general", "random", "ops"] {
            all += deployment.texts(channel).await.len();
        }
        all
    };
    while all().await < MESSAGES {
        let mut bridge = deployment.configured_bridge().await;
        let next = deployment.calls("chat.postMessage").len() + 17;
        eventually("more is posted", async || {
            let is_enough = deployment.calls("chat.postMessage").len() >= next;
            (is_enough || all().await >= MESSAGES).then_some(())
        })
        .await;
        bridge.kill().await;
    }
    // The last one sees that all is done.
    let bridge = deployment.configured_bridge().await;
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    for channel in ["general", "random", "ops"] {
        assert_eq!(deployment.texts(channel).await, numbers(0..MESSAGES / 3));
    }
}

#[tokio::test]
async fn an_app_that_waits_for_an_outcome_gets_it_after_the_next_start() {
    let deployment = deployment().await;
    deployment.control.answer("chat.postMessage", silent());
    let mut bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    let reply = app.new_channel().await;
    for n in 0..2 {
        let message = json!({"text": n.to_string(), "reply_channel": reply, "id": [n, "mine"]});
        app.send("slack.send", &message).await;
    }
    deployment.called("chat.postMessage", 1).await;
    deployment.layer_is_empty().await;
    bridge.kill().await;
    let mut bridge = deployment.configured_bridge().await;
    let mut told = app.take(&reply, 2).await;
    told.sort_by_key(|told| told["request"][0].as_u64());
    let posted = deployment.posted("general", None).await;
    for (n, (told, message)) in told.iter().zip(&posted).enumerate() {
        assert_eq!(
            (&told["type"], &told["ts"], &told["request"]),
            (&json!("slack.sent"), &message["ts"], &json!([n, "mine"]))
        );
    }

    // A call is not repeated because its outcome did not fit into a full reply channel.
    for n in 0..5 {
        app.send("results", &json!({"filler": n})).await;
    }
    let message = json!({"text": "2", "reply_channel": "results"});
    app.send("slack.send", &message).await;
    assert_eq!(deployment.has("general", 3).await, numbers(0..3));
    bridge.metric_is("djangobot_sends_in_flight", 1.0).await;
    bridge.kill().await;
    let bridge = deployment.configured_bridge().await;
    app.receive(&["results"]).await;
    app.take("results", 5).await;
    let told = app.next("results").await;
    assert_eq!(
        (&told["type"], &told["message"]["text"]),
        (&json!("slack.sent"), &json!("2"))
    );
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    assert_eq!(deployment.calls("chat.postMessage").len(), 3);
}

#[tokio::test]
async fn a_message_that_the_layer_gives_again_is_not_sent_again() {
    let deployment = deployment().await;
    let mut app = deployment.roomy_app();
    for n in 0..10 {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    eventually("all are there", async || {
        (deployment.redis.cli(&["ZCARD", "asgislack.send"]) == "10").then_some(())
    })
    .await;
    // As a Redis that restarts with what it had on its disk a second ago.
    assert_eq!(
        deployment.redis.cli(&["COPY", "asgislack.send", "before"]),
        "1"
    );
    let again = || {
        assert_eq!(
            deployment.redis.cli(&["COPY", "before", "asgislack.send"]),
            "1"
        )
    };
    let mut bridge = deployment.configured_bridge().await;
    assert_eq!(deployment.has("general", 10).await, numbers(0..10));
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    deployment.layer_is_empty().await;
    again();
    bridge
        .metric_is("djangobot_sends_given_again_total", 10.0)
        .await;
    deployment.layer_is_empty().await;
    bridge.kill().await;
    again();
    let bridge = deployment.configured_bridge().await;
    bridge
        .metric_is("djangobot_sends_given_again_total", 10.0)
        .await;
    app.send("slack.send", &json!({"text": "10"})).await;
    assert_eq!(deployment.has("general", 11).await, numbers(0..11));
}

#[tokio::test]
async fn slacks_429_holds_up_its_own_channel_and_no_other() {
    let deployment = deployment().await;
    let bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    // The pause has to be longer than a busy machine needs for the other channel's posts.
    let limited = Answer {
        retry_after: Some(20),
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", limited);
    app.send("slack.send", &json!({"text": "0"})).await;
    calls(&deployment.control, "chat.postMessage", 1).await;
    for n in 0..5 {
        app.send(
            "slack.send",
            &json!({"text": n.to_string(), "channel": "random"}),
        )
        .await;
    }
    app.send("slack.send", &json!({"text": "1"})).await;
    assert_eq!(deployment.has("general", 2).await, numbers(0..2));
    assert_eq!(deployment.texts("random").await, numbers(0..5));
    let general = deployment.control.channel_id("general").unwrap();
    let to_general: Vec<_> = deployment
        .calls("chat.postMessage")
        .iter()
        .map(|call| call.arguments["channel"] == general.as_str())
        .collect();
    let expect = [true, false, false, false, false, false, true, true];
    assert_eq!(to_general, expect, "the others went while it waited");
    let limits = "djangobot_rate_limited_total{method=\"chat.postMessage\"}";
    assert_eq!(bridge.metric(limits).await, 1.0);
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_the_message_sent() {
    let deployment = deployment().await;
    deployment.configure_rotation(&OAuth::default());
    let bridge = deployment.configured_bridge().await;
    let mut app = deployment.roomy_app();
    app.send("slack.send", &json!({"text": "0"})).await;
    assert_eq!(deployment.has("general", 1).await, numbers(0..1));
    deployment.control.expire_tokens();
    // Looking up is held up no more than posting.
    let cut = Answer {
        hang_up: true,
        ..Answer::default()
    };
    deployment.control.answer("chat.postMessage", cut);
    for n in 1..3 {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    assert_eq!(deployment.has("general", 3).await, numbers(0..3));
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    assert!(deployment.calls("oauth.v2.access").len() >= 2);
}
