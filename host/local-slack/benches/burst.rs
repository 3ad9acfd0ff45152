//! The cost of generated traffic for the local Slack itself, with readers that do as little as they can:
//! `cargo bench -p local-slack`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark says what it measured, and ends where it cannot"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use local_slack::{Burst, LocalSlack, Options, Traffic};

const FRAMES: u64 = 1_000_000;
const EVENTS: u64 = 200_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let large = Options {
        users: 50_000,
        ..Options::default()
    };
    let begun = Instant::now();
    let slack = LocalSlack::start(large).await.unwrap();
    println!("started with 50000 users in {:?}", begun.elapsed());
    rtm(&slack).await;
    socket_mode(&slack).await;
    slack.shutdown().await;
}

async fn rtm(slack: &LocalSlack) {
    let (addr, token) = (slack.addr(), slack.token().to_owned());
    // A thread of its own, so that the reader's work is not counted as the server's.
    let reader = std::thread::spawn(move || {
        let mut stream = open(addr, "rtm.connect", &token);
        let (mut buffer, mut total) = (vec![0; 256 * 1024], 0);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            total += count as u64;
        }
        total
    });
    let control = slack.control();
    control.wait_for_connections(1).await;
    for bytes in [500, 2000] {
        let sent = control
            .burst(Burst {
                frames: FRAMES,
                bytes,
                ..Burst::default()
            })
            .await;
        let micros = sent.seconds * 1e6 / FRAMES as f64;
        println!(
            "{FRAMES} frames of {bytes} bytes: {micros:.2} us each, {:.0} a second",
            FRAMES as f64 / sent.seconds
        );
    }
    control.drop_connections(None);
    control.wait_until(<[_]>::is_empty).await;
    assert!(reader.join().unwrap() > FRAMES * 2500);
}

async fn socket_mode(slack: &LocalSlack) {
    let (addr, token) = (slack.addr(), slack.app_token().to_owned());
    let reader = std::thread::spawn(move || {
        let mut stream = open(addr, "apps.connections.open", &token);
        let (mut buffer, mut input, mut out) = (vec![0; 256 * 1024], Vec::new(), Vec::new());
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            input.extend_from_slice(&buffer[..count]);
            acknowledge(&mut input, &mut out);
            if stream.write_all(&out).is_err() {
                return;
            }
            out.clear();
        }
    });
    let control = slack.control();
    control.wait_for_connections(1).await;
    for (per_second, open) in [(None, 100), (None, 10_000), (Some(1000), 10_000)] {
        let traffic = Traffic {
            events: per_second.map_or(EVENTS, |rate| 3 * rate),
            per_second,
            open,
            ..Traffic::default()
        };
        let events = traffic.events;
        let report = control.traffic(traffic).await;
        assert_eq!(report.acknowledged, events);
        println!(
            "{events} envelopes, {open} open at most: {:.0} a second, acknowledged in {:?}",
            events as f64 / report.seconds,
            report.latency
        );
    }
    control.drop_connections(None);
    control.wait_until(<[_]>::is_empty).await;
    reader.join().unwrap();
}

/// Opens a socket whose address a method gives.
fn open(addr: SocketAddr, method: &str, token: &str) -> TcpStream {
    let connect = format!(
        "GET /api/{method} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let mut answer = String::new();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(connect.as_bytes()).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    let path = answer.split("/link/").nth(1).unwrap();
    let path = path.split('"').next().unwrap();
    let upgrade = format!(
        "GET /link/{path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(upgrade.as_bytes()).unwrap();
    stream
}

/// Acknowledges each envelope that is whole, and forgets it. Ids are found by their key alone: the head of the answer
/// to the upgrade and `hello` have none.
fn acknowledge(input: &mut Vec<u8>, out: &mut Vec<u8>) {
    const KEY: &[u8] = b"\"envelope_id\":\"";
    const ID: usize = 36;
    let mut rest = &input[..];
    while let Some(at) = rest.windows(KEY.len()).position(|window| window == KEY) {
        let Some(id) = rest.get(at + KEY.len()..at + KEY.len() + ID) else {
            break;
        };
        // A text frame of 54 bytes, masked with zeros.
        out.extend_from_slice(&[0x81, 0x80 | 54, 0, 0, 0, 0]);
        out.extend_from_slice(b"{\"envelope_id\":\"");
        out.extend_from_slice(id);
        out.extend_from_slice(b"\"}");
        rest = &rest[at + KEY.len() + ID..];
    }
    // A key that is not whole yet is kept.
    let kept = rest.len().min(KEY.len() + ID);
    *input = rest[rest.len() - kept..].to_vec();
}
