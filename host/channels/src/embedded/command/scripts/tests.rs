//! Our scripts on a real Redis, which runs the Lua, and on the embedded server. Both must have the same effects.

use djangobot_tests::Redis;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use redis::Value;
use redis::aio::MultiplexedConnection;

use crate::embedded::EmbeddedServer;
use crate::redis::dialect::{asgi, core};

/// Calls: a script or command, and words of which some stand for others; see [`choices`].
const CORE: &[&str] = &[
    "APPEND 1 q OLDEST CAPACITY EXPIRY SCORE MEMBER",
    "APPEND 1 q OLDEST CAPACITY EXPIRY SCORE MEMBER SCORE MEMBER SCORE MEMBER",
    "APPEND 1 q OLDEST CAPACITY EXPIRY",
    "TAKE READER UNTIL COUNT NOW",
    "TAKE READER UNTIL COUNT NOW",
    "KEEP READER UNTIL FLAG LEASED",
    "KEEP HEIR UNTIL FLAG LEASED b",
    "KEEP LAST UNTIL FLAG LEASED a b",
    "GIVE_BACK READER EXPIRY NOW",
    "GIVE_BACK READER EXPIRY NOW MEMBER MEMBER",
    "ZREM OWN MEMBER",
    "DEL KEY",
    "SET KEY text",
];
const LISTS: &[&str] = &[
    "LIST_APPEND 5 q sent all-sent full all-full EXPIRY CAPACITY",
    "LIST_APPEND 5 q sent all-sent full all-full EXPIRY CAPACITY PAYLOAD MEMBER",
    "LIST_APPEND 5 q sent all-sent full all-full EXPIRY CAPACITY PAYLOAD MEMBER PAYLOAD MEMBER PAYLOAD MEMBER",
    "LIST_TAKE READER UNTIL COUNT CLOCK",
    "LIST_TAKE READER UNTIL COUNT CLOCK",
    "LIST_KEEP READER UNTIL FLAG LEASED",
    "LIST_KEEP HEIR UNTIL FLAG LEASED b",
    "LIST_KEEP LAST UNTIL FLAG LEASED a b",
    "LIST_GIVE_BACK READER EXPIRY NOW",
    "LIST_GIVE_BACK READER EXPIRY NOW PAYLOAD PAYLOAD",
    "LIST_FINISH 1 OWN PAYLOAD PAYLOAD",
    "LIST_WITHDRAW 1 q PAYLOAD PAYLOAD",
    "DEL KEY",
    "DEL PAYLOAD",
    "SET KEY text",
];

/// The values that a word of a call may stand for; most words stand for themselves.
fn choices(word: &str) -> &[&str] {
    match word {
        "MEMBER" => &["m1", "m2", "m3", "m4"],
        "PAYLOAD" => &["p1", "p2", "p3", "p4"],
        // The last one is in the future, so that it is never too old to be given back.
        "SCORE" => &["1", "1.5", "2", "3.25", "9e15"],
        "OLDEST" => &["0", "2"],
        "CAPACITY" => &["1", "2", "100"],
        // Seconds; the second is longer than the time since 1970.
        "EXPIRY" => &["100", "9000000000"],
        // The ends of leases, and the time at which they are checked, in milliseconds.
        "UNTIL" => &["1", "1000000"],
        "LEASED" => &["0", "2"],
        // Seconds. The second is later than the scores and the longer expiry.
        "NOW" => &["3.5", "9000000002.25"],
        "CLOCK" => &["1700000000.5"],
        "COUNT" => &["1", "3"],
        "FLAG" => &["0", "1"],
        "READER" => &[
            "4 q q$djangobot.a q$djangobot q$djangobot!again a",
            "4 q q$djangobot.b q$djangobot q$djangobot!again b",
        ],
        // With the processing keys of others, whose ids are the last arguments.
        "HEIR" => &["5 q q$djangobot.a q$djangobot q$djangobot!again q$djangobot.b a"],
        "LAST" => {
            &["6 q q$djangobot.c q$djangobot q$djangobot!again q$djangobot.a q$djangobot.b c"]
        }
        "OWN" => &["q$djangobot.a", "q$djangobot.b"],
        "KEY" => &["q", "q$djangobot.a", "q$djangobot", "q$djangobot!again"],
        "APPEND" => &[core::APPEND],
        "TAKE" => &[core::TAKE],
        "KEEP" => &[core::KEEP],
        "GIVE_BACK" => &[core::GIVE_BACK],
        "LIST_APPEND" => &[asgi::APPEND],
        "LIST_TAKE" => &[asgi::TAKE],
        "LIST_KEEP" => &[asgi::KEEP],
        "LIST_GIVE_BACK" => &[asgi::GIVE_BACK],
        "LIST_FINISH" => &[asgi::FINISH],
        "LIST_WITHDRAW" => &[asgi::WITHDRAW],
        _ => &[],
    }
}

/// A call as it is sent, with its words chosen.
fn request(calls: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let choice = prop::collection::vec(any::<Index>(), 16);
    (prop::sample::select(calls), choice).prop_map(|(call, choice)| {
        let mut request = Vec::new();
        for (nth, (word, choice)) in call.split(' ').zip(choice).enumerate() {
            match (nth, choices(word)) {
                (_, []) => request.push(word.to_owned()),
                (0, script) => request.extend(["EVAL".to_owned(), script[0].to_owned()]),
                (_, words) => request.extend(choice.get(words).split(' ').map(str::to_owned)),
            }
        }
        request
    })
}

async fn call<W: AsRef<str>>(connection: &mut MultiplexedConnection, request: &[W]) -> Value {
    let mut cmd = redis::Cmd::new();
    request.iter().for_each(|word| {
        cmd.arg(word.as_ref());
    });
    let answer = connection.send_packed_command(&cmd).await;
    match answer.and_then(Value::extract_error) {
        Ok(answer) => answer,
        // Redis adds the script's name to the text of an error.
        Err(error) => Value::SimpleString(format!("{:?} {:?}", error.kind(), error.code())),
    }
}

/// A reply without the times in it, messages and members in the order of their bytes: where their order is that of the
/// scores, these show it, and where it is that of the time, two of the same millisecond have none.
fn shown(value: &Value) -> String {
    let number = match value {
        Value::Array(items) => {
            let each = if items.len() % 4 == 0 { 4 } else { 2 };
            let mut groups: Vec<String> = items
                .chunks(each)
                .map(|group| group.iter().map(shown).collect::<Vec<_>>().join(" "))
                .collect();
            groups.sort();
            return format!("[{}]", groups.join(", "));
        }
        Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Double(number) => number.to_string(),
        other => return format!("{other:?}"),
    };
    match number.parse() {
        Ok(1e9..1e14) => "a time".to_owned(),
        _ => number,
    }
}

/// All keys with their kinds, values and times to live.
async fn contents(connection: &mut MultiplexedConnection) -> Vec<String> {
    let keys = call(connection, &["KEYS", "*"]).await;
    let mut keys: Vec<String> = redis::from_redis_value(keys).unwrap();
    keys.sort();
    let mut contents = Vec::new();
    for key in &keys {
        let kind = call(connection, &["TYPE", key]).await;
        let kind: String = redis::from_redis_value(kind).unwrap();
        let value = match &*kind {
            "zset" => shown(&call(connection, &["ZRANGE", key, "0", "-1", "WITHSCORES"]).await),
            // A list has an order, which must be the same.
            "list" => format!("{:?}", call(connection, &["LRANGE", key, "0", "-1"]).await),
            "string" => shown(&call(connection, &["GET", key]).await),
            // The content of the set of returned members shows when they are taken.
            _ => String::new(),
        };
        let Value::Int(left) = call(connection, &["TTL", key]).await else {
            panic!("a time to live is an integer")
        };
        contents.push(format!("{key}: {kind} {value} for {} s", (left + 50) / 100));
    }
    contents
}

/// The replies to `requests`, each with the stored keys afterwards.
async fn outcome(url: String, requests: &[Vec<String>]) -> Vec<(String, Vec<String>)> {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    call(&mut connection, &["FLUSHALL"]).await;
    let mut outcome = Vec::new();
    for request in requests {
        let reply = call(&mut connection, request).await;
        outcome.push((shown(&reply), contents(&mut connection).await));
    }
    outcome
}

fn check(calls: &'static [&'static str]) {
    let redis = Redis::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime
        .block_on(EmbeddedServer::bind(([127, 0, 0, 1], 0).into()))
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 100,
        failure_persistence: None,
        ..Config::default()
    });
    let sequence = (
        prop::sample::select(&["", "?protocol=resp3"]),
        prop::collection::vec(request(calls), 1..25),
    );
    let result = runner.run(&sequence, |(protocol, requests)| {
        let url = |server: String| format!("{server}/{protocol}");
        let (theirs, ours) = runtime.block_on(async {
            tokio::join!(
                outcome(url(redis.url()), &requests),
                outcome(url(format!("redis://{}", server.addr())), &requests)
            )
        });
        for ((request, theirs), ours) in requests.iter().zip(theirs).zip(ours) {
            prop_assert_eq!(theirs, ours, "Redis and ours differ on {:?}", request);
        }
        Ok(())
    });
    runtime.block_on(server.shutdown());
    result.unwrap();
}

#[test]
fn the_scripts_on_core_queues_do_the_same_as_in_redis() {
    check(CORE);
}

#[test]
fn the_scripts_on_asgi_redis_queues_do_the_same_as_in_redis() {
    check(LISTS);
}
