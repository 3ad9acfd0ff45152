//! Leases: one holder at a time, on each kind of layer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails panics"
)]

#[macro_use]
mod support;

use std::time::Duration;

use djangobot_channels::{Claim, Holder, LayerError};
use djangobot_tests::{Redis, eventually};

use support::{Layer, Server, layer};

on_each_server![
    one_holder_at_a_time_and_the_number_grows,
    a_lease_that_is_not_renewed_ends,
    a_host_that_comes_back_takes_its_own_lease_over,
];

/// A claim of `host`, in its process `process`.
fn claim(host: &str, process: u32) -> Claim {
    Claim {
        name: "T1:U1".to_owned(),
        holder: Holder {
            id: format!("{host}/{process}").into(),
            name: format!("{host}, process {process}").into(),
        },
        time: Duration::from_secs(60),
        takes_over: false,
    }
}

/// The layers of each kind on one server.
fn each_kind(server: &Server) -> Vec<Layer> {
    let address = format!("127.0.0.1:{}", server.port());
    let kinds = ["redis", "redis+pubsub", "asgi-redis"];
    kinds
        .map(|kind| layer(&format!("{kind}://{address}")))
        .to_vec()
}

async fn one_holder_at_a_time_and_the_number_grows(server: Server) {
    let (alpha, beta) = (claim("alpha", 1), claim("beta", 2));
    for layer in each_kind(&server) {
        server.cli(&["FLUSHALL"]);
        assert_eq!(layer.lease(&alpha.name).await.unwrap(), None);
        let first = layer.claim(&alpha).await.unwrap();
        assert!(first.is_ours, "{first:?}");
        let renewed = layer.claim(&alpha).await.unwrap();
        assert_eq!(renewed, first);
        let other = layer.claim(&beta).await.unwrap();
        assert!(!other.is_ours);
        assert_eq!(
            (&*other.holder, other.number),
            ("alpha, process 1", first.number)
        );
        let seen = layer.lease(&alpha.name).await.unwrap().unwrap();
        assert_eq!(seen, other);
        // Who does not hold it can't give it up.
        layer.release(&alpha.name, &beta.holder).await.unwrap();
        assert!(!layer.claim(&beta).await.unwrap().is_ours);
        layer.release(&alpha.name, &alpha.holder).await.unwrap();
        let second = layer.claim(&beta).await.unwrap();
        assert!(second.is_ours && second.number > first.number, "{second:?}");
        // However quickly it goes from hand to hand.
        let mut number = second.number;
        layer.release(&beta.name, &beta.holder).await.unwrap();
        for next in [&alpha, &beta].into_iter().cycle().take(20) {
            assert_eq!(layer.lease(&next.name).await.unwrap(), None);
            let lease = layer.claim(next).await.unwrap();
            assert!(lease.is_ours && lease.number > number, "{lease:?}");
            number = lease.number;
            layer.release(&next.name, &next.holder).await.unwrap();
        }
        // Another app's is another.
        let apart = Claim {
            name: "T1:U2".to_owned(),
            ..alpha.clone()
        };
        assert!(layer.claim(&apart).await.unwrap().is_ours);
    }
}

async fn a_lease_that_is_not_renewed_ends(server: Server) {
    let (alpha, beta) = (claim("alpha", 1), claim("beta", 2));
    let alpha = Claim {
        time: Duration::from_secs(1),
        ..alpha
    };
    let layer = layer(&server.url());
    let first = layer.claim(&alpha).await.unwrap();
    let second = eventually("the lease ends", async || {
        let lease = layer.claim(&beta).await.unwrap();
        lease.is_ours.then_some(lease)
    });
    assert!(second.await.number > first.number);
    assert!(!layer.claim(&alpha).await.unwrap().is_ours);
}

async fn a_host_that_comes_back_takes_its_own_lease_over(server: Server) {
    let (killed, again) = (claim("alpha", 1), claim("alpha", 2));
    let layer = layer(&server.url());
    let first = layer.claim(&killed).await.unwrap();
    assert!(!layer.claim(&again).await.unwrap().is_ours);
    let again = Claim {
        takes_over: true,
        ..again
    };
    let second = layer.claim(&again).await.unwrap();
    assert!(second.is_ours && second.number > first.number);
    assert!(!layer.claim(&killed).await.unwrap().is_ours);
    let stranger = Claim {
        takes_over: true,
        ..claim("alph", 3)
    };
    assert!(!layer.claim(&stranger).await.unwrap().is_ours);
}

#[tokio::test]
async fn no_more_is_needed_than_channels_redis_needs() {
    let redis = Redis::start();
    // What channels_redis sends, on the keys that it uses, and nothing else.
    let commands = [
        "ping",
        "client",
        "hello",
        "eval",
        "evalsha",
        "zadd",
        "zcount",
        "zrange",
        "zrem",
        "zpopmin",
        "bzpopmin",
        "zremrangebyscore",
        "expire",
        "del",
    ];
    let allowed = commands.map(|command| format!("+{command}"));
    let mut rule = vec!["ACL", "SETUSER", "django", "on", ">pw", "~asgi*"];
    rule.extend(allowed.iter().map(String::as_str));
    assert_eq!(redis.cli(&rule), "OK");
    let layer = layer(&format!("redis://django:pw@127.0.0.1:{}", redis.port()));
    let alpha = claim("alpha", 1);
    assert!(layer.claim(&alpha).await.unwrap().is_ours);
    layer.release(&alpha.name, &alpha.holder).await.unwrap();
    assert_eq!(layer.lease(&alpha.name).await.unwrap(), None);
    // Where even that is not allowed, the refusal is no server that is away.
    redis.cli(&["ACL", "SETUSER", "django", "-eval", "-evalsha"]);
    let refused = layer.claim(&alpha).await.unwrap_err();
    assert!(
        matches!(&refused, LayerError::Refused { .. }) && !refused.is_temporary(),
        "{refused}"
    );
}
