//! A page in the developer's browser: what it can make a browser send to loopback is refused everywhere, and what Slack
//! sends through a proxy is not taken for it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bridge::{Djangobot, djangobot};
use crate::http::{bridge, deployment};

/// Headers, besides `HOST` for the address itself, that only a web page's request has.
const OF_PAGES: [&str; 8] = [
    "host: HOST\r\norigin: https://evil.example",
    "host: HOST\r\norigin: null",
    "host: HOST\r\norigin: http://localhost:1",
    "host: HOST\r\nsec-fetch-site: cross-site",
    "host: HOST\r\nsec-fetch-site: same-site",
    "host: evil.example",
    "host: localhost.evil.example:80",
    "host: 0.0.0.0",
];
/// Those of programs on this machine, and of who types an address.
const OF_PROGRAMS: [&str; 5] = [
    "host: HOST",
    "host: localhost:1",
    "host: [::1]",
    "host: HOST\r\nsec-fetch-site: none",
    "host: HOST\r\norigin: http://HOST\r\nsec-fetch-site: same-origin",
];

/// The status of `request`, a method and a path, with these headers; `None` where it was refused as a web page's.
async fn status(address: &str, request: &str, headers: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers = headers.replace("HOST", address);
    let upgrade = "connection: close, upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let more = if request.contains("/link/") {
        upgrade
    } else {
        "connection: close"
    };
    let head = format!("{request} HTTP/1.1\r\n{headers}\r\n{more}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    let status = String::from_utf8_lossy(&answer[9..]).parse().unwrap();
    if status == 403 {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        if rest.contains("this address takes") {
            return None;
        }
    }
    Some(status)
}

async fn only_programs_are_served(address: &str, requests: &[&str]) {
    for request in requests {
        for headers in OF_PAGES {
            assert_eq!(
                status(address, request, headers).await,
                None,
                "{request} {headers}"
            );
        }
        for headers in OF_PROGRAMS {
            assert_ne!(
                status(address, request, headers).await,
                None,
                "{request} {headers}"
            );
        }
    }
}

/// The address in a line such as `... at http://127.0.0.1:4711/api/ ...`.
fn address(line: &str) -> String {
    let url = line.split("http://").nth(1).unwrap();
    url.split('/').next().unwrap().to_owned()
}

const OF_LOCAL_SLACK: [&str; 8] = [
    "POST /control/say",
    "GET /control/calls",
    "OPTIONS /control/say",
    "POST /api/auth.test",
    "GET /link/?ticket=1",
    "POST /response/1",
    "POST /upload/v1/1",
    "GET /files-pri/1",
];

#[tokio::test]
async fn local_slack_refuses_the_requests_of_web_pages_whichever_command_serves_it() {
    let folder = tempfile::tempdir().unwrap();
    let alone = &["local-slack", "--listen", "127.0.0.1:0"][..];
    let dev = &["dev", "--layer-listen", "127.0.0.1:0"][..];
    for arguments in [alone, dev] {
        let mut program = Djangobot::start(djangobot(folder.path(), arguments));
        let line = program.line("http://127.0.0.1").await;
        only_programs_are_served(&address(&line), &OF_LOCAL_SLACK).await;
    }
}

#[tokio::test]
async fn operators_pages_refuse_web_pages_and_slacks_requests_may_come_under_any_host_name() {
    let deployment = deployment().await;
    let bridge = bridge(&deployment).await;
    let address = bridge.url("").replace("http://", "");
    only_programs_are_served(
        &address,
        &[
            "GET /healthz",
            "GET /readyz",
            "GET /metrics",
            "GET //metrics/",
        ],
    )
    .await;
    for headers in OF_PAGES {
        let refused = status(&address, "POST /slack/events", headers).await;
        assert_eq!(refused, Some(401), "{headers}");
    }
}
