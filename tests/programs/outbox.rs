//! Messages for Slack that were taken: whatever is killed, cut or full, each is posted once and in order, or its failure told.

use std::process::Command;

use djangobot_tests::{Redis, eventually};
use local_slack::{Answer, Call, Control, LocalSlack};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, host};
use crate::bridge::{Bridge, Djangobot, TOKEN, calls, djangobot, slack};
use crate::command_line::with_slack;
use crate::faults::roomy;

/// As good as never: who holds an answer back for so long is killed first.
const NEVER: u64 = 3_600_000;

/// A local Slack, a Redis, and a folder in which bridges come and go.
struct World {
    slack: LocalSlack,
    control: Control,
    redis: Redis,
    folder: TempDir,
}

impl World {
    async fn new() -> World {
        let (slack, redis, folder) = (slack().await, Redis::start(), tempfile::tempdir().unwrap());
        let toml = roomy(&redis).replace(
            "capacity = 5000",
            "capacity = 5000, channel_capacity = { results = 5 }",
        );
        std::fs::write(folder.path().join("djangobot.toml"), toml).unwrap();
        World {
            control: slack.control(),
            slack,
            redis,
            folder,
        }
    }

    async fn bridge(&self) -> Bridge {
        Bridge::connected(self.folder.path(), &self.slack, &[]).await
    }

    fn app(&self) -> App {
        App::with_config(&json!({"hosts": [host(&self.redis.url())], "capacity": 5000}))
    }

    /// What stands in a conversation or thread, the oldest first; the truth about what was posted.
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
        posted.iter().map(text).collect()
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
            (self.redis.cli(&["KEYS", "asgislack.send*"]) == "asgislack.send$djangobot")
                .then_some(())
        })
        .await;
    }

    fn calls(&self, method: &str) -> Vec<Call> {
        self.control.calls(Some(method))
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
async fn what_was_taken_is_sent_though_both_the_bridge_and_redis_die() {
    const MESSAGES: usize = 60;
    let mut world = World::new().await;
    world.control.answer("chat.postMessage", silent());
    world.control.answer("chat.postMessage", silent());
    let mut bridge = world.bridge().await;
    let mut app = world.app();
    for n in 0..MESSAGES {
        let channel = ["general", "random"][n % 2];
        let message = json!({"text": (n / 2).to_string(), "channel": channel});
        app.send("slack.send", &message).await;
    }
    world.called("chat.postMessage", 2).await;
    bridge.metric_is("djangobot_outbox_messages", 60.0).await;
    world.layer_is_empty().await;
    bridge.kill().await;
    world.redis.stop();

    let bridge = world.bridge().await;
    for channel in ["general", "random"] {
        let texts = world.has(channel, MESSAGES / 2).await;
        assert_eq!(texts, numbers(0..MESSAGES / 2), "{channel}");
    }
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    let found = "djangobot_ambiguous_sends_total{outcome=\"found\"}";
    assert_eq!(bridge.metric(found).await, 2.0);
    assert_eq!(world.calls("chat.postMessage").len(), MESSAGES);
}

#[tokio::test]
async fn what_was_killed_before_slack_did_it_is_posted_by_the_next_start() {
    let world = World::new().await;
    let undone = Answer {
        error: Some("internal_error".into()),
        ..silent()
    };
    world.control.answer("chat.postMessage", undone);
    let mut bridge = world.bridge().await;
    let mut app = world.app();
    for n in 0..3 {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    world.called("chat.postMessage", 1).await;
    world.layer_is_empty().await;
    bridge.kill().await;
    let bridge = world.bridge().await;
    assert_eq!(world.has("general", 3).await, numbers(0..3));
    let absent = "djangobot_ambiguous_sends_total{outcome=\"absent\"}";
    assert_eq!(bridge.metric(absent).await, 1.0);
}

#[tokio::test]
async fn kills_without_end_neither_lose_nor_double_nor_reorder() {
    const MESSAGES: usize = 120;
    let world = World::new().await;
    let slowly = Answer {
        times: u64::MAX,
        delay_ms: 15,
        ..Answer::default()
    };
    world.control.answer("chat.postMessage", slowly);
    let mut app = world.app();
    for n in 0..MESSAGES {
        let channel = ["general", "random", "ops"][n % 3];
        let message = json!({"text": (n / 3).to_string(), "channel": channel});
        app.send("slack.send", &message).await;
    }
    let all = async || {
        let mut all = 0;
        for channel in ["general", "random", "ops"] {
            all += world.texts(channel).await.len();
        }
        all
    };
    while all().await < MESSAGES {
        let mut bridge = world.bridge().await;
        let next = world.calls("chat.postMessage").len() + 17;
        eventually("more is posted", async || {
            let is_enough = world.calls("chat.postMessage").len() >= next;
            (is_enough || all().await >= MESSAGES).then_some(())
        })
        .await;
        bridge.kill().await;
    }
    // The last one sees that all is done.
    let bridge = world.bridge().await;
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    for channel in ["general", "random", "ops"] {
        assert_eq!(world.texts(channel).await, numbers(0..MESSAGES / 3));
    }
}

#[tokio::test]
async fn a_post_whose_answer_is_lost_is_looked_up_and_posted_once() {
    let world = World::new().await;
    let _bridge = world.bridge().await;
    let mut app = world.app();
    let reply = app.new_channel().await;
    let mut n = 0;
    for perform in [true, false] {
        for answer in [
            Answer {
                status: 500,
                body: Some("no JSON".into()),
                ..Answer::default()
            },
            Answer {
                status: 502,
                ..Answer::default()
            },
            Answer {
                error: Some("fatal_error".into()),
                ..Answer::default()
            },
            Answer {
                hang_up: true,
                ..Answer::default()
            },
            Answer {
                body: Some("{\"ok\": tr".into()),
                ..Answer::default()
            },
            // What stands before Slack may not know what it says.
            Answer {
                status: 503,
                body: Some("try later".into()),
                ..Answer::default()
            },
        ] {
            let answer = Answer { perform, ..answer };
            world.control.answer("chat.postMessage", answer.clone());
            let message = json!({"text": n.to_string(), "reply_channel": reply, "id": n});
            app.send("slack.send", &message).await;
            n += 1;
            let told = app.next(&reply).await;
            let texts = world.texts("general").await;
            assert_eq!(texts, numbers(0..n), "{answer:?}");
            let last = world.posted("general", None).await.pop().unwrap();
            assert_eq!(
                (&told["type"], &told["ts"], &told["request"]),
                (&json!("slack.sent"), &last["ts"], &json!(n - 1)),
                "{answer:?}: {told}"
            );
        }
    }
}

#[tokio::test]
async fn a_reply_is_looked_up_in_its_thread() {
    let world = World::new().await;
    let _bridge = world.bridge().await;
    let mut app = world.app();
    let thread = world.control.say("alice", "general", "well?").unwrap();
    for (text, perform) in [("lost", true), ("undone", false)] {
        let cut = Answer {
            hang_up: true,
            perform,
            ..Answer::default()
        };
        world.control.answer("chat.postMessage", cut);
        let message = json!({"text": text, "thread_ts": thread});
        app.send("slack.send", &message).await;
        calls(&world.control, "conversations.replies", 1).await;
    }
    eventually("both are there", async || {
        let thread = world.posted("general", Some(&thread)).await;
        let texts: Vec<_> = thread.iter().map(|it| it["text"].clone()).collect();
        (texts == ["well?", "lost", "undone"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_post_with_metadata_of_the_apps_is_told_from_its_like() {
    let world = World::new().await;
    let bridge = world.bridge().await;
    let mut app = world.app();
    let reply = app.new_channel().await;
    let message = json!({"text": "done & dusted", "reply_channel": reply,
        "metadata": {"event_type": "task_done", "event_payload": {"n": 1}}});
    let mut seen = Vec::new();
    for perform in [None, Some(true), Some(false)] {
        if let Some(perform) = perform {
            let cut = Answer {
                hang_up: true,
                perform,
                ..Answer::default()
            };
            world.control.answer("chat.postMessage", cut);
        }
        app.send("slack.send", &message).await;
        let told = app.next(&reply).await;
        assert_eq!(told["type"], "slack.sent", "{told}");
        seen.push(told["ts"].clone());
    }
    let posted = world.posted("general", None).await;
    let ts: Vec<_> = posted.iter().map(|it| it["ts"].clone()).collect();
    assert_eq!(ts, seen, "each is its own");
    assert!(
        posted
            .iter()
            .all(|it| it["metadata"] == message["metadata"])
    );
    for (outcome, count) in [("found", 1.0), ("absent", 1.0)] {
        let metric = format!("djangobot_ambiguous_sends_total{{outcome=\"{outcome}\"}}");
        assert_eq!(bridge.metric(&metric).await, count, "{outcome}");
    }
}

#[tokio::test]
async fn a_token_that_may_give_no_metadata_posts_without_and_is_looked_up_by_what_it_says() {
    let world = World::new().await;
    let not_an_app = Answer {
        error: Some("metadata_must_be_sent_from_app".into()),
        ..Answer::default()
    };
    world.control.answer("chat.postMessage", not_an_app);
    let mut bridge = world.bridge().await;
    let mut app = world.app();
    app.send("slack.send", &json!({"text": "0"})).await;
    assert_eq!(world.has("general", 1).await, numbers(0..1));
    bridge.line("posts carry no metadata").await;
    // Also after a restart.
    world.control.answer("chat.postMessage", silent());
    app.send("slack.send", &json!({"text": "1"})).await;
    app.send("slack.send", &json!({"text": "2"})).await;
    world.called("chat.postMessage", 3).await;
    world.layer_is_empty().await;
    bridge.kill().await;
    let _bridge = world.bridge().await;
    assert_eq!(world.has("general", 3).await, numbers(0..3));
    let posted = world.posted("general", None).await;
    assert!(posted.iter().all(|it| it["metadata"].is_null()));
}

#[tokio::test]
async fn where_history_may_not_be_read_the_failure_names_the_scope() {
    let world = World::new().await;
    let mut bridge = world.bridge().await;
    world
        .control
        .set_scopes(&["chat:write", "channels:read", "rtm:stream", "users:read"]);
    let mut app = world.app();
    let reply = app.new_channel().await;
    for (n, reply) in [(0, Some(&reply)), (1, None)] {
        let cut = Answer {
            hang_up: true,
            perform: true,
            ..Answer::default()
        };
        world.control.answer("chat.postMessage", cut);
        let mut message = json!({"text": n.to_string()});
        if let Some(reply) = reply {
            message["reply_channel"] = reply.as_str().into();
        }
        app.send("slack.send", &message).await;
    }
    let told = app.next(&reply).await;
    assert_eq!(
        (&told["type"], &told["error"]),
        (&json!("slack.failed"), &json!("interrupted")),
        "{told}"
    );
    let line = bridge.line("Kept as dead letter 1 ").await;
    for words in [told["detail"].as_str().unwrap(), &line] {
        assert!(
            words.contains("Slack may have carried it out")
                && words.contains("lacks the scope")
                && words.contains("channels:history"),
            "{words}"
        );
    }
    // Killed in the middle of a call, it says the same.
    world.control.answer("chat.postMessage", silent());
    app.send("slack.send", &json!({"text": "2"})).await;
    world.called("chat.postMessage", 3).await;
    world.layer_is_empty().await;
    bridge.kill().await;
    let mut bridge = world.bridge().await;
    let line = bridge.line("Kept as dead letter 2 ").await;
    assert!(
        line.contains("was ended while it called") && line.contains("channels:history"),
        "{line}"
    );
    app.send("slack.send", &json!({"text": "3"})).await;
    calls(&world.control, "chat.postMessage", 1).await;
    let refused = "djangobot_ambiguous_sends_total{outcome=\"refused\"}";
    assert_eq!(bridge.metric(refused).await, 1.0);
}

#[tokio::test]
async fn what_may_be_done_twice_is_and_what_was_done_is_a_success() {
    let world = World::new().await;
    let _bridge = world.bridge().await;
    let mut app = world.app();
    let reply = app.new_channel().await;
    app.send(
        "slack.send",
        &json!({"text": "first", "reply_channel": reply}),
    )
    .await;
    let first = app.next(&reply).await;
    let (channel, ts) = (&first["channel"], &first["ts"]);
    for (method, arguments) in [
        ("chat.update", json!({"ts": ts, "text": "second"})),
        ("reactions.add", json!({"timestamp": ts, "name": "eyes"})),
        ("reactions.remove", json!({"timestamp": ts, "name": "eyes"})),
        ("chat.delete", json!({"ts": ts})),
    ] {
        let cut = Answer {
            hang_up: true,
            perform: true,
            ..Answer::default()
        };
        world.control.answer(method, cut);
        let mut message = arguments;
        message["method"] = method.into();
        message["channel"] = channel.clone();
        message["reply_channel"] = reply.as_str().into();
        app.send("slack.send", &message).await;
        let told = app.next(&reply).await;
        assert_eq!(told["type"], "slack.sent", "{method}: {told}");
        assert_eq!(world.calls(method).len(), 2, "{method}");
    }
    // What was not there in the first place is a failure.
    let gone =
        json!({"method": "chat.delete", "channel": channel, "ts": ts, "reply_channel": reply});
    app.send("slack.send", &gone).await;
    assert_eq!(app.next(&reply).await["error"], "message_not_found");
}

#[tokio::test]
async fn an_app_that_waits_is_told_by_the_next_start() {
    let world = World::new().await;
    world.control.answer("chat.postMessage", silent());
    let mut bridge = world.bridge().await;
    let mut app = world.app();
    let reply = app.new_channel().await;
    for n in 0..2 {
        let message = json!({"text": n.to_string(), "reply_channel": reply, "id": [n, "mine"]});
        app.send("slack.send", &message).await;
    }
    world.called("chat.postMessage", 1).await;
    world.layer_is_empty().await;
    bridge.kill().await;
    let mut bridge = world.bridge().await;
    let mut told = app.take(&reply, 2).await;
    told.sort_by_key(|told| told["request"][0].as_u64());
    let posted = world.posted("general", None).await;
    for (n, (told, message)) in told.iter().zip(&posted).enumerate() {
        assert_eq!(
            (&told["type"], &told["ts"], &told["request"]),
            (&json!("slack.sent"), &message["ts"], &json!([n, "mine"]))
        );
    }

    // What Slack has done and the app could not be told for a full channel is not done again.
    for n in 0..5 {
        app.send("results", &json!({"filler": n})).await;
    }
    let message = json!({"text": "2", "reply_channel": "results"});
    app.send("slack.send", &message).await;
    assert_eq!(world.has("general", 3).await, numbers(0..3));
    bridge.metric_is("djangobot_sends_in_flight", 1.0).await;
    bridge.kill().await;
    let bridge = world.bridge().await;
    app.receive(&["results"]).await;
    app.take("results", 5).await;
    let told = app.next("results").await;
    assert_eq!(
        (&told["type"], &told["message"]["text"]),
        (&json!("slack.sent"), &json!("2"))
    );
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    assert_eq!(world.calls("chat.postMessage").len(), 3);
}

#[tokio::test]
async fn what_the_layer_gives_again_is_not_sent_again() {
    let world = World::new().await;
    let mut app = world.app();
    for n in 0..10 {
        app.send("slack.send", &json!({"text": n.to_string()}))
            .await;
    }
    eventually("all are there", async || {
        (world.redis.cli(&["ZCARD", "asgislack.send"]) == "10").then_some(())
    })
    .await;
    // As a Redis that restarts with what it had on its disk a second ago.
    assert_eq!(world.redis.cli(&["COPY", "asgislack.send", "before"]), "1");
    let again = || assert_eq!(world.redis.cli(&["COPY", "before", "asgislack.send"]), "1");
    let mut bridge = world.bridge().await;
    assert_eq!(world.has("general", 10).await, numbers(0..10));
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    world.layer_is_empty().await;
    again();
    bridge
        .metric_is("djangobot_sends_given_again_total", 10.0)
        .await;
    world.layer_is_empty().await;
    bridge.kill().await;
    again();
    let bridge = world.bridge().await;
    bridge
        .metric_is("djangobot_sends_given_again_total", 10.0)
        .await;
    app.send("slack.send", &json!({"text": "10"})).await;
    assert_eq!(world.has("general", 11).await, numbers(0..11));
}

#[tokio::test]
async fn slacks_429_holds_up_its_own_channel_and_no_other() {
    let world = World::new().await;
    let bridge = world.bridge().await;
    let mut app = world.app();
    let limited = Answer {
        retry_after: Some(3),
        ..Answer::default()
    };
    world.control.answer("chat.postMessage", limited);
    app.send("slack.send", &json!({"text": "0"})).await;
    calls(&world.control, "chat.postMessage", 1).await;
    for n in 0..5 {
        app.send(
            "slack.send",
            &json!({"text": n.to_string(), "channel": "random"}),
        )
        .await;
    }
    app.send("slack.send", &json!({"text": "1"})).await;
    assert_eq!(world.has("general", 2).await, numbers(0..2));
    assert_eq!(world.texts("random").await, numbers(0..5));
    let general = world.control.channel_id("general").unwrap();
    let to_general: Vec<_> = world
        .calls("chat.postMessage")
        .iter()
        .map(|call| call.arguments["channel"] == general.as_str())
        .collect();
    let expect = [true, false, false, false, false, false, true, true];
    assert_eq!(to_general, expect, "the others went while it waited");
    let limits = "djangobot_rate_limited_total{method=\"chat.postMessage\"}";
    assert_eq!(bridge.metric(limits).await, 1.0);
}

/// A bridge whose files may have half a megabyte each, as if the disk were full beyond it: what exceeds it fails.
async fn cramped(world: &World) -> Bridge {
    let plain = with_slack(
        djangobot(world.folder.path(), &["--listen", "127.0.0.1:0"]),
        &world.slack,
    );
    let mut cramped = Command::new("sh");
    cramped
        .args(["-c", "trap '' XFSZ; ulimit -S -f 1024; exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(world.folder.path());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => cramped.env(name, value),
            None => cramped.env_remove(name),
        };
    }
    let mut bridge = Bridge::of(cramped).await;
    bridge.line("the roster is loaded").await;
    bridge
}

/// Sends more than fits on that disk, to two channels in turn, slowly.
async fn flood(world: &World, app: &mut App, messages: usize) {
    let slowly = Answer {
        times: u64::MAX,
        delay_ms: 50,
        ..Answer::default()
    };
    world.control.answer("chat.postMessage", slowly);
    for n in 0..messages {
        let text = format!("{} {}", n / 2, "x".repeat(8_000));
        let channel = ["general", "random"][n % 2];
        let message = json!({"text": text, "channel": channel});
        app.send("slack.send", &message).await;
    }
}

async fn numbers_of(world: &World, channel: &str, count: usize) -> Vec<String> {
    let texts = world.has(channel, count).await;
    let number = |text: &String| text.split_once(' ').unwrap().0.to_owned();
    texts.iter().map(number).collect()
}

#[tokio::test]
async fn what_a_full_disk_can_not_take_is_sent_from_the_layer_in_order() {
    const MESSAGES: usize = 100;
    let world = World::new().await;
    let mut bridge = cramped(&world).await;
    let mut app = world.app();
    flood(&world, &mut app, MESSAGES).await;
    bridge.line("stays in the channel layer").await;
    calls(&world.control, "chat.postMessage", MESSAGES).await;
    for channel in ["general", "random"] {
        let posted = numbers_of(&world, channel, MESSAGES / 2).await;
        assert_eq!(posted, numbers(0..MESSAGES / 2), "{channel}");
    }
    assert!(bridge.metric("djangobot_outbox_errors_total").await > 1.0);
    // Somebody makes room.
    let room = Rlimit {
        current: None,
        maximum: None,
    };
    let process = Pid::from_raw(i32::try_from(bridge.pid()).unwrap());
    prlimit(process, Resource::Fsize, room).unwrap();
    let more = json!({"text": "more", "channel": "ops"});
    app.send("slack.send", &more).await;
    world.has("ops", 1).await;
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    world.layer_is_empty().await;
    let (told, over) = (
        bridge.logs("stays in the channel layer"),
        bridge.logs("are written to the disk again"),
    );
    assert!(
        !over.is_empty() && over.len() == told.len(),
        "{told:?} {over:?}"
    );
    assert_eq!(bridge.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_kill_at_a_full_disk_neither_loses_nor_doubles() {
    const MESSAGES: usize = 100;
    let world = World::new().await;
    let mut bridge = cramped(&world).await;
    let mut app = world.app();
    flood(&world, &mut app, MESSAGES).await;
    bridge.line("stays in the channel layer").await;
    world.called("chat.postMessage", 20).await;
    bridge.kill().await;
    let left = world.redis.cli(&["KEYS", "asgislack.send$djangobot.*"]);
    assert!(
        !left.is_empty(),
        "some are in the outbox and some in the layer"
    );
    let bridge = world.bridge().await;
    world.layer_is_empty().await;
    bridge.metric_is("djangobot_outbox_messages", 0.0).await;
    for channel in ["general", "random"] {
        let posted = numbers_of(&world, channel, MESSAGES / 2).await;
        let mut posted: Vec<usize> = posted.iter().map(|it| it.parse().unwrap()).collect();
        // Only those of one place keep their order.
        posted.sort_unstable();
        assert_eq!(posted, (0..MESSAGES / 2).collect::<Vec<_>>(), "{channel}");
    }
}

#[tokio::test]
async fn dead_letters_are_sent_again_and_dropped_together() {
    let world = World::new().await;
    let mut bridge = world.bridge().await;
    let run = async |arguments: &[&str]| {
        let arguments = [&["dead-letters"], arguments].concat();
        Djangobot::run(djangobot(world.folder.path(), &arguments)).await
    };
    let mut app = world.app();
    let fall = async |app: &mut App, bridge: &mut Bridge, numbers: std::ops::Range<u64>| {
        for n in numbers {
            let message = json!({"text": n.to_string(), "channel": "ops"});
            app.send("slack.send", &message).await;
            bridge.line(&format!("Kept as dead letter {n} ")).await;
        }
    };
    let archived = Answer {
        times: 5,
        error: Some("is_archived".into()),
        ..Answer::default()
    };
    world.control.answer("chat.postMessage", archived);
    fall(&mut app, &mut bridge, 1..6).await;
    app.put("slack.send", b"\xc1").await;
    bridge.line("Kept as dead letter 6 ").await;
    assert_eq!(run(&["drop", "1", "3"]).await.code, Some(0));
    assert_eq!(run(&["retry"]).await.code, Some(2));
    let ended = run(&["retry", "2", "7", &world.redis.url()]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("there is no dead letter 7"),
        "{ended:?}"
    );
    assert_eq!(world.has("ops", 1).await, ["2"]);

    // Where no bridge runs, too: the next one takes them.
    assert_eq!(bridge.terminate().await.code(), Some(0));
    let ended = run(&["retry", "--all"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("1 of 3 dead letters"), "{ended:?}");
    let listed: Value = serde_json::from_str(&run(&["list", "--json"]).await.stdout).unwrap();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["id"]),
        (1, &json!(6))
    );
    let _bridge = world.bridge().await;
    assert_eq!(world.has("ops", 3).await, ["2", "4", "5"]);
    assert_eq!(run(&["drop", "--all"]).await.code, Some(0));
    assert_eq!(run(&["list"]).await.stdout, "There are none.\n");
}
