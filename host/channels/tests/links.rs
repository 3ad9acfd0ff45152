//! Every way to a server: socket files, passwords, TLS, Sentinels and their failover.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails panics"
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use djangobot_channels::LayerError;
use djangobot_tests::{Redis, eventually};
use serde_json::json;
use support::*;

const CORE: &str = "channels_redis.core.RedisChannelLayer";

/// Sends and reads over `layer`.
async fn check(layer: &Layer) {
    send(layer, "c", 0..3).await;
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    assert_eq!(drain(layer, &receiver, 3).await, [0, 1, 2]);
    receiver.close().await.unwrap();
}

#[tokio::test]
async fn a_socket_file_is_a_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let redis = Redis::with_args(&["--unixsocket", path]);
    check(&layer(&format!("unix://{path}?db=3"))).await;
    send(&layer(&format!("unix://{path}?db=3")), "c", 0..1).await;
    assert_eq!(redis.cli(&["-n", "3", "zcard", "asgic"]), "1");
}

#[tokio::test]
async fn a_password_opens_and_a_wrong_one_is_refused() {
    let redis = Redis::start();
    redis.cli(&[
        "acl",
        "setuser",
        "bot",
        "on",
        ">p@ss word",
        "~*",
        "&*",
        "+@all",
    ]);
    redis.cli(&["config", "set", "requirepass", "secret"]);
    let port = redis.port();
    check(&layer(&format!("redis://:secret@127.0.0.1:{port}"))).await;
    check(&layer(&format!(
        "redis://bot:p%40ss%20word@127.0.0.1:{port}"
    )))
    .await;
    check(&layer_of(
        CORE,
        json!({"hosts": [{"address": redis.url(), "password": "secret"}]}),
    ))
    .await;
    for wrong in [redis.url(), format!("redis://:wrong@127.0.0.1:{port}")] {
        let layer = layer(&wrong);
        let error = layer.ping().await.unwrap_err();
        assert!(matches!(error, LayerError::Refused { .. }), "{error}");
        assert!(!error.to_string().contains("wrong@"), "{error}");
        let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
        let error = receiver.next().await.unwrap_err();
        assert!(matches!(error, LayerError::Refused { .. }), "{error}");
    }
}

/// Makes an authority and a certificate of it for 127.0.0.1.
fn certificates(folder: &Path) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .current_dir(folder)
            .args(arguments)
            .output()
            .expect("openssl is installed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ];
    openssl(
        &[
            &[
                "req",
                "-x509",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
                "-subj",
                "/CN=test authority",
            ],
            &key[..],
        ]
        .concat(),
    );
    let key = &key[..5];
    openssl(
        &[
            &[
                "req",
                "-keyout",
                "server.key",
                "-out",
                "server.csr",
                "-subj",
                "/CN=server",
            ],
            key,
        ]
        .concat(),
    );
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    ]);
}

#[tokio::test]
async fn tls_checks_the_server_and_shows_our_certificate() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let port = djangobot_tests::free_port();
    let redis = Redis::with_args(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &file("server.pem"),
        "--tls-key-file",
        &file("server.key"),
        "--tls-ca-cert-file",
        &file("ca.pem"),
    ]);
    let address = format!("rediss://127.0.0.1:{port}");
    let ours = json!({"address": address, "ssl_ca_certs": file("ca.pem"), "ssl_certfile": file("server.pem"), "ssl_keyfile": file("server.key")});
    check(&layer_of(CORE, json!({"hosts": [ours]}))).await;
    let stranger = json!({"hosts": [{"address": address, "ssl_certfile": file("server.pem"), "ssl_keyfile": file("server.key")}]});
    assert!(
        layer_of(CORE, stranger).ping().await.is_err(),
        "nobody we trust vouches for the server"
    );
    redis.cli(&["config", "set", "tls-auth-clients", "no"]);
    check(&layer_of(
        CORE,
        json!({"hosts": [{"address": address, "ssl_ca_certs": file("ca.pem")}]}),
    ))
    .await;
    check(&layer(&format!("{address}?ssl_cert_reqs=none"))).await;
    let named = json!({"hosts": [{"address": format!("rediss://localhost:{port}"), "ssl_ca_certs": file("ca.pem")}]});
    assert!(
        layer_of(CORE, named).ping().await.is_err(),
        "the certificate is for another name"
    );
    let unnamed = json!({"hosts": [{"address": format!("rediss://localhost:{port}"), "ssl_ca_certs": file("ca.pem"), "ssl_check_hostname": false}]});
    check(&layer_of(CORE, unnamed)).await;
    let missing = layer_of(
        CORE,
        json!({"hosts": [{"address": address, "ssl_ca_certs": "/nowhere.pem"}]}),
    )
    .ping()
    .await
    .unwrap_err();
    assert!(missing.to_string().contains("/nowhere.pem"), "{missing}");
}

#[tokio::test]
async fn a_failover_by_sentinel_is_followed() {
    let mut servers = Replicated::start().await;
    let layer = servers.layer(CORE);
    check(&layer).await;
    send(&layer, "c", 0..3).await;
    let receiver = layer.receiver(&channel("c"), &id("r")).await.unwrap();
    assert_eq!(drain(&layer, &receiver, 1).await, [0]);
    eventually("the replica has the data of the master", async || {
        (servers.replica.cli(&["zcard", "asgic{asgic}$djangobot.r"]) == "2").then_some(())
    })
    .await;
    servers.master.stop();
    let to = channel("c");
    let members = numbered(&layer, &to, 3..5);
    eventually("the new master is found", async || {
        layer.send(&to, &members).await.ok()
    })
    .await;
    assert_eq!(
        servers.replica.cli(&["role"]).lines().next(),
        Some("master")
    );
    let mut numbers = Vec::new();
    for _ in 0..4 {
        let delivery = next(&receiver).await;
        numbers.push(number(&layer, &delivery));
        let finished = async || receiver.done(&delivery).await.ok();
        eventually(
            "the new master knows that the message is finished",
            finished,
        )
        .await;
    }
    assert_eq!(numbers, [1, 2, 3, 4]);
    let nobody = layer_of(
        CORE,
        json!({"hosts": [{"sentinels": [["127.0.0.1", servers.sentinel.port()]], "master_name": "other"}]}),
    );
    let error = tokio::time::timeout(Duration::from_secs(20), nobody.ping())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        error.is_temporary() && error.to_string().contains("other"),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_comes_up_after_the_close_is_not_used() {
    let redis = Redis::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let layer = layer(&format!("redis://{}", listener.local_addr().unwrap()));
    let proxy = async {
        let (mut client, _) = listener.accept().await.unwrap();
        layer.close().await;
        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", redis.port()))
            .await
            .unwrap();
        tokio::io::copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        pinged = layer.ping() => assert!(matches!(pinged, Err(LayerError::Closed)), "{pinged:?}"),
        ended = proxy => panic!("the connection ended first: {ended:?}"),
    }
}
