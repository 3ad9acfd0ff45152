//! The listener on the internet: crowds of connections that send nothing, half a request or a forged one.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use djangobot_tests::eventually;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bridge::{Bridge, wrapped};
use crate::http::{JSON, bridge, deployment, event, send, signed};

/// Connections that a stranger keeps open.
const CROWD: usize = 600;

/// As many open files as we may have: the crowd's other ends are ours.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The head of a request whose headers could be Slack's.
fn forged(length: usize) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    format!(
        "POST /slack/events HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nx-slack-request-timestamp: {now}\r\n\
         x-slack-signature: v0={}\r\n\r\n",
        "0".repeat(64)
    )
}

/// Connections to a bridge on each of which `said` was said, with as much of it as is taken.
async fn crowd(bridge: &Bridge, count: usize, said: Vec<u8>) -> JoinSet<TcpStream> {
    let address = bridge.url("").replace("http://", "");
    let mut crowd = JoinSet::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let said = said.clone();
        crowd.spawn(async move {
            // It may be refused before all is written.
            let _ = stream.write_all(&said).await;
            stream
        });
    }
    crowd
}

#[tokio::test]
async fn slack_is_served_while_strangers_send_nothing_half_requests_or_forged_ones() {
    raise_open_files();
    let deployment = deployment().await;
    // Few files, so that the crowd alone would have them all.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -Sn 256; ulimit -Hn 400; exec \"$@\"", "sh"]);
    let arguments = [&*deployment.redis.url(), "--listen", "127.0.0.1:0"];
    let mut bridge = Bridge::of(wrapped(limited, &deployment.command(&arguments))).await;
    bridge.line("the roster is loaded").await;
    let mut app = deployment.app(&["slack.numbered"]).await;
    let half = b"POST /slack/events HTTP/1.1\r\nhost: x\r\nx-slack-sig".to_vec();
    let body = vec![b'x'; 4 << 20];
    let whole = |head: String| [head.into_bytes(), body.clone()].concat();
    let unsigned =
        "POST /slack/events HTTP/1.1\r\nhost: x\r\ncontent-length: 4194304\r\n\r\n".to_owned();
    let mut n = 0;
    for (count, said) in [
        (CROWD, Vec::new()),
        (CROWD, half),
        (16, whole(unsigned)),
        // These are read, until they are whole: all but the last byte comes.
        (20, whole(forged((4 << 20) - 1))[..4 << 20].to_vec()),
    ] {
        let strangers = crowd(&bridge, count, said).await;
        for _ in 0..10 {
            let inner = json!({"type": "numbered", "n": n});
            let request = signed(
                &deployment.slack,
                "/slack/events",
                JSON,
                &event(&format!("Ev{n}"), &inner),
            );
            let (status, text) = send(&bridge, &request).await;
            assert_eq!(status, 200, "{n}: {text}");
            assert_eq!(app.next("slack.numbered").await["n"], n);
            n += 1;
        }
        drop(strangers);
    }
    assert!(
        bridge
            .metric("djangobot_http_connections_given_up_total")
            .await
            > 0.0
    );
}

#[tokio::test]
async fn operators_pages_have_an_address_of_their_own_where_one_is_named() {
    let deployment = deployment().await;
    let of_operators = async |bridge: &mut Bridge| {
        let line = bridge.line("for operators").await;
        let line: Value = serde_json::from_str(&line).unwrap();
        line["address"].as_str().unwrap().to_owned()
    };
    let get = async |address: &str, path: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    let arguments = [&deployment.redis.url(), "--admin-listen", "127.0.0.1:0"];
    let mut bridge = bridge(&deployment).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_ne!(bridge.get(path).await.0, 404, "{path}");
    }
    bridge.terminate().await;
    let mut bridge = deployment.start(&arguments).await;
    let admin = of_operators(&mut bridge).await;
    bridge.line("the roster is loaded").await;
    eventually("it is ready", async || {
        (get(&admin, "/readyz").await == 200).then_some(())
    })
    .await;
    for (path, here, there) in [
        ("/healthz", 200, 200),
        ("/readyz", 404, 200),
        ("/metrics", 404, 200),
        ("/slack/events", 405, 404),
    ] {
        assert_eq!(bridge.get(path).await.0, here, "{path}");
        assert_eq!(get(&admin, path).await, there, "{path}");
    }
    bridge.terminate().await;

    // From the config, and without any other listener.
    let config = "admin-listen = \"127.0.0.1:0\"\n";
    deployment.configure(config);
    let mut plain = deployment.command(&[&deployment.redis.url(), "--transport", "rtm"]);
    plain.env_remove("DJANGOBOT_SIGNING_SECRET");
    let mut bridge = Bridge::of(plain).await;
    assert_eq!(bridge.get("/metrics").await.0, 200);
    let status = bridge.terminate().await;
    assert!(status.success(), "{status}: {}", bridge.output());
}
