//! The same random commands to a real Redis and to the embedded server: the replies must be the same.

use std::net::SocketAddr;

use djangobot_channels::EmbeddedServer;
use djangobot_tests::Redis;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::client::Client;

fn one_of(words: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(words).prop_map(str::to_owned).boxed()
}

fn key() -> BoxedStrategy<String> {
    one_of(&["a", "b", "c"])
}

fn member() -> BoxedStrategy<String> {
    one_of(&["", "m", "n", "mm", "\u{e9}\0\r\n", "5"])
}

fn score() -> BoxedStrategy<String> {
    one_of(&[
        "0",
        "1",
        "1.5",
        "-3",
        "1e300",
        "inf",
        "-inf",
        "0.1",
        "1795345843.8345845",
        "nan",
        "x",
    ])
}

fn bound() -> BoxedStrategy<String> {
    prop_oneof![
        score(),
        one_of(&["(1", "(1.5", "(inf", "(-inf", "(0", "+inf", "(x"])
    ]
    .boxed()
}

fn integer() -> BoxedStrategy<String> {
    one_of(&[
        "0",
        "1",
        "2",
        "-1",
        "-2",
        "100",
        "-100",
        "9223372036854775807",
        "-9223372036854775808",
        "x",
        "01",
        "1.0",
    ])
}

fn option() -> BoxedStrategy<String> {
    one_of(&["NX", "xx", "GT", "lt", "CH", "INCR"])
}

/// A request: fixed words and made ones, with some words left out or added at the end.
fn request() -> impl Strategy<Value = Vec<String>> {
    let word = |word: &'static str| Just(word.to_owned()).boxed();
    let seconds = || one_of(&["100", "1000", "x", "9223372036854775807"]);
    let parts = prop_oneof![
        3 => vec![word("ZADD"), key(), score(), member()],
        2 => vec![word("ZADD"), key(), option(), score(), member()],
        1 => vec![word("zadd"), key(), option(), option(), score(), member(), score(), member()],
        1 => vec![word("ZINCRBY"), key(), score(), member()],
        1 => vec![word("ZCARD"), key()],
        1 => vec![word("ZCOUNT"), key(), bound(), bound()],
        1 => vec![word("ZSCORE"), key(), member()],
        1 => vec![word("ZRANGE"), key(), integer(), integer()],
        1 => vec![word("ZRANGE"), key(), integer(), integer(), one_of(&["REV", "withscores", "x"])],
        1 => vec![word("ZRANGE"), key(), word("0"), word("-1"), word("WITHSCORES"), word("REV")],
        1 => vec![word("ZRANGE"), key(), bound(), bound(), word("BYSCORE"), one_of(&["REV", "WITHSCORES"])],
        1 => vec![word("ZRANGE"), key(), bound(), bound(), one_of(&["BYSCORE", "REV"]), word("LIMIT"), integer(), integer()],
        1 => vec![word("ZRANGEBYSCORE"), key(), bound(), bound()],
        1 => vec![word("ZRANGEBYSCORE"), key(), bound(), bound(), word("WITHSCORES"), word("LIMIT"), integer(), integer()],
        1 => vec![word("ZREM"), key(), member(), member()],
        1 => vec![word("ZREMRANGEBYSCORE"), key(), bound(), bound()],
        1 => vec![word("ZPOPMIN"), key()],
        1 => vec![word("ZPOPMIN"), key(), integer()],
        1 => vec![word("BZPOPMIN"), key(), key(), one_of(&["0.001", "0.001", "x", "-1"])],
        1 => vec![word("LPUSH"), key(), member(), member()],
        1 => vec![word("RPUSH"), key(), member()],
        1 => vec![one_of(&["LPOP", "RPOP", "LLEN"]), key()],
        1 => vec![one_of(&["LPOP", "RPOP"]), key(), integer()],
        1 => vec![word("LRANGE"), key(), integer(), integer()],
        1 => vec![word("BLPOP"), key(), key(), word("0.001")],
        1 => vec![word("SET"), key(), member()],
        1 => vec![word("SET"), key(), member(), one_of(&["NX", "XX", "GET", "KEEPTTL", "y"])],
        1 => vec![word("SET"), key(), integer(), word("EX"), one_of(&["100", "0", "x"]), one_of(&["NX", "XX", "KEEPTTL"])],
        1 => vec![one_of(&["GET", "INCR", "TYPE", "TTL", "PERSIST", "DEL", "KEYS"]), key()],
        1 => vec![word("INCRBY"), key(), integer()],
        1 => vec![word("EXISTS"), key(), key()],
        1 => vec![word("EXPIRE"), key(), seconds()],
        1 => vec![word("SELECT"), one_of(&["0", "1", "15", "16", "-1", "x"])],
        1 => vec![one_of(&["FLUSHDB", "DBSIZE", "PING", "nonsense"])],
        1 => vec![one_of(&["PING", "ECHO", "PUBLISH"]), member()],
        1 => vec![word("PUBLISH"), key(), member()],
        2 => vec![one_of(&["MULTI", "EXEC", "EXEC", "DISCARD"])],
        1 => vec![word("EVALSHA"), word("e0e1f9fabfc9d4800c877a703b823ac0578ff8db"), integer()],
    ];
    (parts, 0..40usize).prop_map(|(mut request, more)| {
        // Now and then a word too few or too many.
        match more {
            // An empty request has no reply.
            0 if request.len() > 1 => drop(request.pop()),
            // Redis words this one error of EXEC's in a way of its own.
            1 if request[0] != "EXEC" => request.push("more".to_owned()),
            _ => {}
        }
        request
    })
}

async fn replies(address: SocketAddr, protocol: &str, requests: &[Vec<String>]) -> Vec<String> {
    let mut client = Client::connect(address).await;
    let hello = client.call(&["HELLO", protocol]).await;
    assert!(hello.contains(" proto "), "{hello}");
    client.call(&["FLUSHALL"]).await;
    let mut replies = Vec::new();
    for request in requests {
        replies.push(client.call(request).await);
    }
    replies
}

#[test]
fn replies_are_those_of_a_real_redis() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime
        .block_on(EmbeddedServer::bind(([127, 0, 0, 1], 0).into()))
        .unwrap();
    let real = ([127, 0, 0, 1], redis.port()).into();
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(300);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let sequence = (
        prop::sample::select(&["2", "3"]),
        prop::collection::vec(request(), 1..40),
    );
    let result = runner.run(&sequence, |(protocol, requests)| {
        let (theirs, ours) = runtime.block_on(async {
            tokio::join!(
                replies(real, protocol, &requests),
                replies(server.addr(), protocol, &requests)
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
