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
        1 => vec![word("BZPOPMIN"), key(), key(), one_of(&["0.01", "0.01", "x", "-1"])],
        1 => vec![word("LPUSH"), key(), member(), member()],
        1 => vec![word("RPUSH"), key(), member()],
        1 => vec![one_of(&["LPOP", "RPOP", "LLEN"]), key()],
        1 => vec![one_of(&["LPOP", "RPOP"]), key(), integer()],
        1 => vec![word("LRANGE"), key(), integer(), integer()],
        1 => vec![word("BLPOP"), key(), key(), word("0.01")],
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

async fn replies(
    address: SocketAddr,
    protocol: &str,
    requests: &[Vec<String>],
) -> Vec<Vec<String>> {
    let mut client = Client::connect(address).await;
    let hello = client.call(&["HELLO", protocol]).await;
    assert!(hello.contains(" proto "), "{hello}");
    client.call(&["FLUSHALL"]).await;
    let mut replies = Vec::new();
    for request in requests {
        client.send(request).await;
        replies.push(client.reply_lines().await);
    }
    replies
}

/// The server that ours is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Redis 7 and newer, whose words ours are.
    Redis,
    /// It words its errors in another way, and differs in some answers.
    Redis6,
    /// It words its errors in another way.
    Valkey,
}

/// The requests that Redis 6 answers in another way: a negative count, a time that is too long, or a missing key.
const DIFFER_IN_REDIS_6: &[&str] = &["ZPOPMIN", "EXPIRE", "LPOP", "RPOP", "SET"];

impl Kind {
    async fn of(address: SocketAddr) -> Self {
        let mut client = Client::connect(address).await;
        let info = client.call(&["INFO", "server"]).await;
        if info.contains("valkey_version:") {
            return Self::Valkey;
        }
        match info.contains("redis_version:6.") {
            true => Self::Redis6,
            false => Self::Redis,
        }
    }

    /// Whether two replies say the same. Versions write the same double in different digits.
    fn same(self, theirs: &[String], ours: &[String]) -> bool {
        let (theirs, ours) = (comparable(theirs), comparable(ours));
        theirs.len() == ours.len()
            && theirs.iter().zip(&ours).all(|(theirs, ours)| {
                theirs == ours || is_same_double(theirs, ours) || self.is_same_error(theirs, ours)
            })
    }

    /// Clients go by the first word of an error.
    fn is_same_error(self, theirs: &str, ours: &str) -> bool {
        let code = |line: &str| {
            line.starts_with('-')
                .then(|| line.split(' ').next().map(str::to_owned))
        };
        self != Self::Redis && code(theirs).is_some() && code(theirs) == code(ours)
    }

    /// Whether the server does something else on purpose, and may have other keys from here on.
    fn differs_on(self, request: &[String], theirs: &[String]) -> bool {
        match self {
            Self::Redis => false,
            Self::Redis6 => DIFFER_IN_REDIS_6.contains(&&*request[0]) || request[0] == "EXEC",
            // It gives a transaction up for a MULTI within it.
            Self::Valkey => theirs
                .first()
                .is_some_and(|line| line.starts_with("-EXECABORT")),
        }
    }
}

/// The lines of a reply, without the lengths of its bulk strings, which differ where digits do.
fn comparable(reply: &[String]) -> Vec<&str> {
    let is_length = |line: &str| line.starts_with('$') && line != "$-1";
    let mut lines = reply.iter().map(String::as_str);
    let mut kept = Vec::new();
    while let Some(line) = lines.next() {
        kept.push(match is_length(line) {
            true => lines.next().unwrap_or(line),
            false => line,
        });
    }
    kept
}

/// Whether both are doubles and the same, in RESP3 or within a bulk string; an integer in other digits is not.
fn is_same_double(theirs: &str, ours: &str) -> bool {
    let number = |word: &str| word.trim_start_matches(',').parse::<f64>().ok();
    let is_fraction = |word: &str| word.contains(['.', 'e']);
    theirs.starts_with(',') == ours.starts_with(',')
        && (is_fraction(theirs) || is_fraction(ours))
        && number(theirs).is_some()
        && number(theirs) == number(ours)
}

#[test]
fn a_double_is_the_same_in_any_digits() {
    let check = |theirs: &[&str], ours: &[&str], expect: bool| {
        let lines = |reply: &[&str]| reply.iter().map(ToString::to_string).collect::<Vec<_>>();
        let same = Kind::Redis.same(&lines(theirs), &lines(ours));
        assert_eq!(same, expect, "{theirs:?}, {ours:?}");
    };
    let score = "1.0000000000000001e+300";
    check(
        &["*2", "$1", "m", "$23", score],
        &["*2", "$1", "m", "$6", "1e+300"],
        true,
    );
    check(&[",0.10000000000000001"], &[",0.1"], true);
    check(&["$3", "1.5"], &["$3", "1.6"], false);
    check(&["$2", "01"], &["$1", "1"], false);
    check(&[",0.10000000000000001"], &["$3", "0.1"], false);
    check(&["$-1"], &["$1", "1"], false);
    check(&["-ERR no such command"], &["-ERR unknown command"], false);
}

#[test]
fn replies_are_those_of_a_real_redis() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime
        .block_on(EmbeddedServer::bind(([127, 0, 0, 1], 0).into()))
        .unwrap();
    let real = ([127, 0, 0, 1], redis.port()).into();
    let kind = runtime.block_on(Kind::of(real));
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
            if kind.same(&theirs, &ours) {
                continue;
            }
            prop_assert!(
                kind.differs_on(request, &theirs),
                "on {request:?} Redis answers {theirs:?}, and ours {ours:?}"
            );
            break;
        }
        Ok(())
    });
    runtime.block_on(server.shutdown());
    result.unwrap();
}
