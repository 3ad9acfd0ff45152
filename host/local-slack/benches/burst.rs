//! What a generated frame costs the local Slack itself, with a reader that throws all away: `cargo bench -p local-slack`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark says what it measured, and ends where it cannot"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use local_slack::{Burst, LocalSlack, Options};

const FRAMES: u64 = 1_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let large = Options {
        users: 50_000,
        ..Options::default()
    };
    let begun = Instant::now();
    let slack = LocalSlack::start(large).await.unwrap();
    println!("started with 50000 users in {:?}", begun.elapsed());
    let (addr, url, token) = (slack.addr(), slack.api_url(), slack.token().to_owned());
    // A thread of its own, so that the reader's work is not counted as the server's.
    let reader = std::thread::spawn(move || {
        let connect = format!(
            "GET /api/rtm.connect?token={token} HTTP/1.1\r\nHost: {url}\r\nConnection: close\r\n\r\n"
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
        stream.write_all(upgrade.as_bytes()).unwrap();
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
    slack.shutdown().await;
    assert!(reader.join().unwrap() > FRAMES * 2500);
}
