//! Servers that answer and take nothing, or not this: limits of size, a full memory, keys that others use.

use std::path::Path;
use std::time::Duration;

use djangobot_tests::{Redis, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::bridge::{Djangobot, djangobot};
use crate::deployment::Deployment;
use crate::faults::{emit, take_numbers};

/// An event of so many bytes.
fn large(n: u64, bytes: usize) -> Value {
    json!({"type": "numbered", "n": n, "text": "x".repeat(bytes)})
}

async fn letters(folder: &Path, arguments: &[&str]) -> String {
    let command = djangobot(folder, &[&["dead-letters"], arguments].concat());
    let ended = Djangobot::run(command).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

/// Whether a request that is too large is answered with an error, or ends the connection.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Refuses,
    Cuts,
}

/// A proxy that lets no request through that is larger than `limit`.
async fn proxy(port: u16, limit: usize, style: Style) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    return;
                };
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) = server.into_split();
                tokio::select! {
                    _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
                    _ = requests(from_client, to_server, (limit, style)) => {}
                }
            });
        }
    });
    ours
}

/// Passes requests on, one by one.
async fn requests(
    from_client: OwnedReadHalf,
    mut to_server: OwnedWriteHalf,
    (limit, style): (usize, Style),
) -> std::io::Result<()> {
    let mut from_client = BufReader::new(from_client);
    loop {
        let mut request = Vec::new();
        let words = header(&mut from_client, &mut request).await?;
        for _ in 0..words {
            let length = header(&mut from_client, &mut request).await?;
            let start = request.len();
            request.resize(start + length + 2, 0);
            from_client.read_exact(&mut request[start..]).await?;
        }
        if request.len() > limit {
            match style {
                Style::Refuses => request = refused(),
                Style::Cuts => return Ok(()),
            }
        }
        to_server.write_all(&request).await?;
    }
}

/// A request that takes the place of one that is too large. The server itself answers it with an error, so that the
/// answers keep their order.
fn refused() -> Vec<u8> {
    let script = "return redis.error_reply('ERR max request size exceeded')";
    let length = script.len();
    format!("*3\r\n$4\r\nEVAL\r\n${length}\r\n{script}\r\n$1\r\n0\r\n").into_bytes()
}

/// A line such as `*3` or `$12`: the number in it.
async fn header(
    from: &mut BufReader<OwnedReadHalf>,
    request: &mut Vec<u8>,
) -> std::io::Result<usize> {
    let start = request.len();
    if from.read_until(b'\n', request).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let line = String::from_utf8_lossy(&request[start + 1..]).into_owned();
    Ok(line.trim().parse().expect("a request has lengths"))
}

#[tokio::test]
async fn an_event_that_a_server_finds_too_large_becomes_a_dead_letter_and_those_behind_it_arrive() {
    for (limit, words) in [
        ("proto-max-bulk-len", "invalid bulk length"),
        ("client-query-buffer-limit", "limit the size of a request"),
    ] {
        let deployment = Deployment::new().await;
        deployment.redis.cli(&["config", "set", limit, "1mb"]);
        let control = &deployment.control;
        let mut bridge = deployment.bridge().await;
        emit(control, "numbered", 0..3);
        control.emit(None, &large(3, 1_500_000));
        emit(control, "numbered", 4..7);
        let mut app = deployment.app(&["slack.numbered"]).await;
        assert_eq!(
            take_numbers(&mut app, "slack.numbered", 6).await,
            [0, 1, 2, 4, 5, 6],
            "{limit}"
        );
        bridge.line("was not put on the channel layer").await;
        bridge.metric_is("djangobot_dead_letters", 1.0).await;
        bridge
            .metric_is("djangobot_held_events{channel=\"slack.numbered\"}", 0.0)
            .await;
        let list = letters(deployment.folder.path(), &["list", "--json"]).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        let letter = &list[0];
        assert_eq!(letter["channel"], "slack.numbered");
        assert_eq!(letter["error"], "refused_by_layer");
        assert_eq!(letter["for"], "channel layer");
        assert_eq!(letter["message"]["n"], 3);
        let detail = letter["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail}");
        let shown = letters(deployment.folder.path(), &["show", "1"]).await;
        assert!(shown.contains("djangobot"), "{shown:.200}");
        // With the limit gone it can be delivered after all, as the event that it was.
        deployment.redis.cli(&["config", "set", limit, "512mb"]);
        letters(
            deployment.folder.path(),
            &["retry", "1", &deployment.redis.url()],
        )
        .await;
        let again = app.next("slack.numbered").await;
        assert_eq!(
            (&again["n"], &again["type"]),
            (&json!(3), &json!("slack.numbered"))
        );
        assert_eq!(
            again["djangobot"]["id"],
            letter["message"]["djangobot"]["id"]
        );
        assert_eq!(
            letters(deployment.folder.path(), &["list"]).await,
            "There are no dead letters.\n"
        );
    }
}

#[tokio::test]
async fn the_state_keeps_no_token_of_an_event_that_became_a_dead_letter() {
    for format in ["msgpack", "json"] {
        let deployment = Deployment::new().await;
        deployment
            .redis
            .cli(&["config", "set", "proto-max-bulk-len", "1mb"]);
        let config = format!(
            "[layer]\nbackend = \"channels_redis.core.RedisChannelLayer\"\nconfig = {{ hosts = [\"{}\"], serializer_format = \"{format}\" }}\n",
            deployment.redis.url()
        );
        deployment.configure(&config);
        let mut bridge = deployment.bridge_with(&[]).await;
        // The deleted rows lie among rows that stay, as they do in a file of some age.
        emit(&deployment.control, "numbered", 0..3);
        let mut event = large(3, 1_500_000);
        event["verification_token"] = json!("hush-4711");
        event["deep"] = json!([{"accessToken": "hush-4711", "client_secret": ["hush-4711"]}]);
        event["xoxb-1-hush-4711"] = json!("Bearer xoxp-1-hush-4711");
        event["payload"] = json!(r#"{"token": "hush-4711"}"#);
        deployment.control.emit(None, &event);
        bridge.metric_is("djangobot_dead_letters", 1.0).await;
        assert!(!bridge.output().contains("hush-4711"));
        assert_eq!(bridge.terminate().await.code(), Some(0));
        assert_eq!(
            traces(deployment.folder.path(), b"hush-4711"),
            Vec::<String>::new(),
            "{format}"
        );
        let shown = letters(deployment.folder.path(), &["show", "1"]).await;
        assert!(
            shown.contains("\"n\": 3") && !shown.contains("hush"),
            "{shown:.300}"
        );
    }
}

/// The files of a state folder that have `part` in them.
pub(crate) fn traces(folder: &Path, part: &[u8]) -> Vec<String> {
    let files = std::fs::read_dir(folder.join(".djangobot")).unwrap();
    let files = files.map(|it| it.unwrap().path()).filter(|it| it.is_file());
    files
        .filter(|path| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(part.len()).any(|it| it == part)
        })
        .map(|path| path.display().to_string())
        .collect()
}

#[tokio::test]
async fn a_batch_that_a_proxy_finds_too_large_is_sent_in_parts() {
    for style in [Style::Refuses, Style::Cuts] {
        let mut deployment = Deployment::new().await;
        let port = proxy(deployment.redis.port(), 200_000, style).await;
        let url = format!("redis://127.0.0.1:{port}");
        let control = &deployment.control;
        let bridge = deployment.bridge_with(&[&url]).await;
        // They gather while the server is away.
        deployment.redis.stop();
        for n in 0..80 {
            let size = if n == 40 { 250_000 } else { 15_000 };
            control.emit(None, &large(n, size));
        }
        bridge
            .metric_is("djangobot_held_events{channel=\"slack.numbered\"}", 80.0)
            .await;
        deployment.redis.restart();
        let mut app = deployment.app(&["slack.numbered"]).await;
        let expect: Vec<u64> = (0..80).filter(|n| *n != 40).collect();
        assert_eq!(take_numbers(&mut app, "slack.numbered", 79).await, expect);
        bridge.metric_is("djangobot_dead_letters", 1.0).await;
        let errors = bridge
            .metric("djangobot_layer_errors_total{operation=\"send\"}")
            .await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let later = bridge
            .metric("djangobot_layer_errors_total{operation=\"send\"}")
            .await;
        assert_eq!(errors, later, "nothing is sent again for ever");
    }
}

#[tokio::test]
async fn a_refusal_for_which_no_event_is_at_fault_makes_no_dead_letters() {
    for (break_it, mend_it, words) in [
        (
            &["config", "set", "maxmemory", "1"][..],
            &["config", "set", "maxmemory", "0"][..],
            "OOM",
        ),
        (
            &["set", "asgislack.numbered", "a string"],
            &["del", "asgislack.numbered"],
            "WRONGTYPE",
        ),
        (
            &["config", "set", "min-replicas-to-write", "1"],
            &["config", "set", "min-replicas-to-write", "0"],
            "NOREPLICAS",
        ),
        (
            &["acl", "setuser", "default", "-zadd"],
            &["acl", "setuser", "default", "+zadd"],
            "run",
        ),
    ] {
        let deployment = Deployment::new().await;
        if words == "NOREPLICAS" && !deployment.redis.holds_scripts_to_replicas() {
            continue;
        }
        let control = &deployment.control;
        let mut bridge = deployment.bridge().await;
        eventually("it is ready", async || {
            (bridge.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
        deployment.redis.cli(break_it);
        emit(control, "numbered", 0..30);
        bridge
            .metric_is("djangobot_held_events{channel=\"slack.numbered\"}", 30.0)
            .await;
        let line = bridge.line("events wait on the disk").await;
        assert!(line.contains(words) && line.contains("refused"), "{line}");
        eventually("it is not ready, and says why", async || {
            let (status, page) = bridge.get("/readyz").await;
            (status == 503 && page.contains("layer: down") && page.contains(words)).then_some(())
        })
        .await;
        deployment.redis.cli(mend_it);
        let mut app = deployment.app(&["slack.numbered"]).await;
        assert_eq!(
            take_numbers(&mut app, "slack.numbered", 30).await,
            (0..30).collect::<Vec<_>>(),
            "{words}"
        );
        eventually("it is ready again", async || {
            (bridge.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
        assert_eq!(bridge.metric("djangobot_dead_letters").await, 0.0);
    }
}

#[tokio::test]
async fn check_and_readiness_find_a_fault_that_a_ping_does_not() {
    let redis = Redis::with_args(&[
        "--rename-command",
        "EVAL",
        "",
        "--rename-command",
        "EVALSHA",
        "",
    ]);
    let deployment = Deployment::with_redis(redis).await;
    let url = deployment.redis.url();
    let ended = deployment.run(&["check", "--json", &url]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    let layer = found
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "layer")
        .unwrap();
    assert_eq!(layer["status"], "error");
    let detail = layer["detail"].as_str().unwrap();
    assert!(detail.contains("unknown command"), "{detail}");
    // The log says so at the start, before anything is loaded.
    let mut bridge = deployment.start(&[&url]).await;
    bridge.line("unknown command").await;
    let (status, _) = bridge.get("/readyz").await;
    assert_eq!(status, 503);
}
