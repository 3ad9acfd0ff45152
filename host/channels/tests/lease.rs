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

use support::{Layer, Replicated, Server, keys, layer, layer_with};

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
        // A process that does not hold it can't give it up.
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
async fn a_lease_outlives_a_failover_by_sentinel() {
    for backend in [
        "channels_redis.core.RedisChannelLayer",
        "channels_redis.pubsub.RedisPubSubChannelLayer",
    ] {
        let mut servers = Replicated::start().await;
        let (alpha, beta) = (claim("alpha", 1), claim("beta", 2));
        let (one, two) = (servers.layer(backend), servers.layer(backend));
        let first = one.claim(&alpha).await.unwrap();
        assert!(first.is_ours);
        assert!(!two.claim(&beta).await.unwrap().is_ours);
        eventually("the replica has the lease", async || {
            (!keys(servers.replica.port()).is_empty()).then_some(())
        })
        .await;
        servers.master.stop();
        // Until there is a new master nobody gets the lease, and then it is whose it was.
        let seen = eventually("the new master is asked", async || {
            two.claim(&beta).await.ok()
        })
        .await;
        assert_eq!(
            (seen.is_ours, &*seen.holder, seen.number),
            (false, "alpha, process 1", first.number)
        );
        let renewed = eventually("the lease is renewed there", async || {
            one.claim(&alpha).await.ok()
        })
        .await;
        assert_eq!(renewed, first);
        one.release(&alpha.name, &alpha.holder).await.unwrap();
        let second = two.claim(&beta).await.unwrap();
        assert!(second.is_ours && second.number > first.number, "{second:?}");
    }
}

#[tokio::test]
async fn a_lease_lies_on_one_of_several_hosts() {
    for scheme in ["redis", "redis+pubsub", "asgi-redis"] {
        let mut servers = [Redis::start(), Redis::start(), Redis::start()];
        let urls: Vec<String> = servers
            .iter()
            .map(|it| it.url().replace("redis", scheme))
            .collect();
        let urls: Vec<&str> = urls.iter().map(|it| &**it).collect();
        let (one, two) = (layer_with(&urls, |_| {}), layer_with(&urls, |_| {}));
        let of = |app: u32, host: &str| Claim {
            name: format!("T1:U{app}"),
            ..claim(host, 1)
        };
        for app in 0..30 {
            let first = one.claim(&of(app, "alpha")).await.unwrap();
            assert!(first.is_ours);
            let other = two.claim(&of(app, "beta")).await.unwrap();
            assert_eq!((other.is_ours, other.number), (false, first.number));
            let seen = two.lease(&of(app, "").name).await.unwrap().unwrap();
            assert_eq!(seen, other);
        }
        let at = |server: &Redis| {
            let keys = keys(server.port()).into_iter();
            keys.filter(|key| key.contains("lease")).count()
        };
        let counts = servers.each_ref().map(at);
        assert_eq!(counts.iter().sum::<usize>(), 30, "{counts:?}");
        assert!(!counts.contains(&0), "{counts:?}");

        // One that is away takes its own leases with it, and no other.
        servers[1].stop();
        let mut away = 0;
        for app in 0..30 {
            match two.claim(&of(app, "beta")).await {
                Ok(lease) => assert!(!lease.is_ours, "{app}"),
                Err(error) => {
                    assert!(error.is_temporary(), "{error}");
                    away += 1;
                }
            }
        }
        assert_eq!(away, counts[1]);
        let error = one.release(&of(0, "").name, &of(0, "alpha").holder).await;
        if error.is_ok() {
            assert!(two.claim(&of(0, "beta")).await.unwrap().is_ours);
        }
    }
}

#[tokio::test]
async fn no_more_is_needed_than_channels_redis_needs() {
    let redis = Redis::start();
    // Only the commands that channels_redis sends, on the keys that it uses.
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
    // If even that is not allowed, the error is a refusal, and not that of a server that is away.
    redis.cli(&["ACL", "SETUSER", "django", "-eval", "-evalsha"]);
    let refused = layer.claim(&alpha).await.unwrap_err();
    assert!(
        matches!(&refused, LayerError::Refused { .. }) && !refused.is_temporary(),
        "{refused}"
    );
}
