//! TLS against a real Redis: the same certificates are accepted and refused as by redis-py, and errors name the reason.
//!
//! The certificates lie in `tls/`: `ca.pem` signed `version1.pem` and `client.pem` (X.509 version 1, as `openssl x509
//! -req` makes them) and `version3.pem`; `self.pem` is an authority and a server's certificate at once, as `openssl req
//! -x509` makes it. They are good until 2126, and nothing outside these tests trusts them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails panics"
)]

use std::path::PathBuf;
use std::process::Command;

use djangobot_channels::{LayerConfig, LayerError, TlsFailure, open};
use djangobot_tests::{Redis, free_port, python};

fn file(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    folder.join(name).display().to_string()
}

/// A Redis that speaks TLS with this certificate; its port, and the server.
fn redis(certificate: &str, wants_certificates: bool) -> (u16, Redis) {
    let port = free_port();
    let redis = Redis::with_args(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &file(&format!("{certificate}.pem")),
        "--tls-key-file",
        &file(&format!("{certificate}.key")),
        "--tls-ca-cert-file",
        &file("ca.pem"),
        "--tls-auth-clients",
        if wants_certificates { "yes" } else { "no" },
    ]);
    (port, redis)
}

async fn ping(url: &str) -> Result<(), LayerError> {
    let layer = open(LayerConfig::from_urls(&[url.to_owned()]).unwrap()).unwrap();
    let answer = layer.ping().await;
    layer.close().await;
    answer
}

/// Whether redis-py connects. From 3.13 on, Python refuses certificates that RFC 5280 does not allow, as those of
/// version 1, unless it is told otherwise; this is what it takes then, and what older ones take.
fn python_pings(url: &str) -> bool {
    let script = "
import ssl, sys
make = ssl.create_default_context
def lenient(*arguments, **keywords):
    context = make(*arguments, **keywords)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
ssl.create_default_context = lenient
import redis
redis.Redis.from_url(sys.argv[1]).ping()
";
    let ended = Command::new(python())
        .args(["-c", script, url])
        .output()
        .unwrap();
    ended.status.success()
}

/// That we and redis-py come to the same end, which is this.
async fn check(url: &str, expect: Option<TlsFailure>) {
    let found = match ping(url).await {
        Ok(()) => None,
        Err(LayerError::Tls { kind, .. }) => Some(kind),
        Err(other) => panic!("{url}: {other}"),
    };
    assert_eq!(found, expect, "{url}");
    assert_eq!(python_pings(url), expect.is_none(), "redis-py: {url}");
}

#[tokio::test]
async fn a_servers_certificate_is_judged_as_redis_py_judges_it() {
    let (ca, own, other) = (file("ca.pem"), file("self.pem"), file("other-ca.pem"));
    let (port, _redis) = redis("version3", false);
    let at = |host: &str, options: &str| format!("rediss://{host}:{port}?{options}");
    check(&at("localhost", &format!("ssl_ca_certs={ca}")), None).await;
    check(&at("127.0.0.1", &format!("ssl_ca_certs={ca}")), None).await;
    check(&at("localhost", ""), Some(TlsFailure::Issuer)).await;
    check(
        &at("localhost", &format!("ssl_ca_certs={other}")),
        Some(TlsFailure::Issuer),
    )
    .await;
    check(&at("localhost", "ssl_cert_reqs=none"), None).await;
    check(
        &at(
            "localhost",
            &format!("ssl_cert_reqs=optional&ssl_ca_certs={other}"),
        ),
        Some(TlsFailure::Issuer),
    )
    .await;

    // Of version 1, for its common name alone.
    let (port, _redis) = redis("version1", false);
    let at = |host: &str, options: &str| format!("rediss://{host}:{port}?{options}");
    check(&at("localhost", &format!("ssl_ca_certs={ca}")), None).await;
    check(
        &at("127.0.0.1", &format!("ssl_ca_certs={ca}")),
        Some(TlsFailure::Name),
    )
    .await;
    check(
        &at(
            "127.0.0.1",
            &format!("ssl_ca_certs={ca}&ssl_check_hostname=false"),
        ),
        None,
    )
    .await;
    check(
        &at("localhost", &format!("ssl_ca_certs={other}")),
        Some(TlsFailure::Issuer),
    )
    .await;
    check(&at("localhost", "ssl_cert_reqs=none"), None).await;

    // An authority and a server's certificate at once.
    let (port, _redis) = redis("self", false);
    let at = |host: &str, options: &str| format!("rediss://{host}:{port}?{options}");
    check(&at("localhost", &format!("ssl_ca_certs={own}")), None).await;
    check(&at("127.0.0.1", &format!("ssl_ca_certs={own}")), None).await;
    check(
        &at("localhost", &format!("ssl_ca_certs={ca}")),
        Some(TlsFailure::Issuer),
    )
    .await;
}

#[tokio::test]
async fn our_own_certificate_is_shown_whether_the_servers_is_looked_at_or_not() {
    let (port, _redis) = redis("version3", true);
    let (ca, own) = (file("ca.pem"), (file("client.pem"), file("client.key")));
    let own = format!("ssl_certfile={}&ssl_keyfile={}", own.0, own.1);
    for checked in [
        "ssl_cert_reqs=none".to_owned(),
        format!("ssl_ca_certs={ca}"),
    ] {
        check(&format!("rediss://localhost:{port}?{checked}&{own}"), None).await;
        let without = format!("rediss://localhost:{port}?{checked}");
        check(&without, Some(TlsFailure::OwnCertificate)).await;
    }
    let encrypted = format!(
        "rediss://localhost:{port}?ssl_cert_reqs=none&ssl_certfile={}&ssl_keyfile={}",
        file("client.pem"),
        file("client-encrypted.key")
    );
    let error = ping(&encrypted).await.unwrap_err();
    assert!(
        matches!(&error, LayerError::Tls { kind: TlsFailure::Settings, reason, .. } if reason.contains("encrypted")),
        "{error}"
    );
}

#[tokio::test]
async fn a_refused_certificate_is_described() {
    let (port, _redis) = redis("version1", false);
    let error = ping(&format!("rediss://127.0.0.1:{port}"))
        .await
        .unwrap_err()
        .to_string();
    for part in [
        "CN=localhost",
        "CN=Test authority",
        "no trusted authority has signed",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let missing = format!("rediss://localhost:{port}?ssl_ca_certs=/nowhere/ca.pem");
    let error = ping(&missing).await.unwrap_err();
    assert!(
        matches!(&error, LayerError::Tls { kind: TlsFailure::Settings, reason, .. } if reason.contains("/nowhere/ca.pem")),
        "{error}"
    );
}

#[tokio::test]
async fn a_tls_side_and_a_plain_side_are_named_in_the_error() {
    let plain = Redis::start();
    let url = format!("rediss://127.0.0.1:{}?ssl_cert_reqs=none", plain.port());
    check(&url, Some(TlsFailure::NotSpoken)).await;
    let error = ping(&url).await.unwrap_err().to_string();
    assert!(
        error.contains("does not speak TLS") && error.contains("redis://"),
        "{error}"
    );

    for wants_certificates in [false, true] {
        let (port, _redis) = redis("version3", wants_certificates);
        for scheme in ["redis", "redis+pubsub", "asgi-redis"] {
            let url = format!("{scheme}://127.0.0.1:{port}");
            let error = ping(&url).await.unwrap_err();
            assert!(
                matches!(
                    &error,
                    LayerError::Tls {
                        kind: TlsFailure::Wanted,
                        ..
                    }
                ) && error.to_string().contains("rediss://"),
                "{error}"
            );
        }
    }
}
