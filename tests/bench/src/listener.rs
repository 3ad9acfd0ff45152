//! Slack's signed requests over HTTP, alone and among 10,000 connections of strangers: those
//! that say nothing, those with half a request each, and those with bodies under made-up signatures that never end.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use djangobot_tests::{Program, Redis};
use hmac::{Hmac, Mac};
use local_slack::{LocalSlack, Options};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::contestant::settings;
use crate::peers;
use crate::statistics::quantile;
use crate::table::{Table, short, whole};
use crate::tried;

/// Connections of strangers; each that is closed is opened again.
const STRANGERS: usize = 10_000;
const REQUESTS: u64 = 2_000;
/// Slack waits for so long.
const PATIENCE: Duration = Duration::from_secs(3);

/// The behaviour of strangers on their connections.
#[derive(Clone, Copy)]
enum Strangers {
    None,
    Silent,
    HalfHeads,
    ForgedBodies,
}

impl Strangers {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Silent => "10,000 that say nothing",
            Self::HalfHeads => "10,000 with half a head each",
            Self::ForgedBodies => "10,000 with bodies under made-up signatures",
        }
    }

    fn says(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Silent => Some(String::new()),
            Self::HalfHeads => {
                Some("POST /slack/events HTTP/1.1\r\nhost: bot.example\r\nx-".to_owned())
            }
            Self::ForgedBodies => {
                let head = head(&"0".repeat(64), now(), 4_000_000);
                Some(head + &"x".repeat(16 << 10))
            }
        }
    }
}

pub(crate) async fn measure() -> String {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the limit of open files can be raised");
    let redis = Redis::start();
    let slack = LocalSlack::start(Options::default())
        .await
        .expect("loopback can be listened on");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    fs::write(
        folder.path().join("djangobot.toml"),
        settings("channels_redis.core.RedisChannelLayer", redis.port()),
    )
    .expect("a new folder can be written to");
    let mut command = Command::new(peers::program("djangobot"));
    command
        .args(["run", "--transport", "http", "--listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env("DJANGOBOT_TOKEN", slack.token())
        .env("DJANGOBOT_SIGNING_SECRET", slack.signing_secret())
        .env("DJANGOBOT_SLACK_API_URL", slack.api_url());
    let mut program = Program::start(command);
    let line = program.line("accepting Slack's requests").await;
    let line: Value =
        serde_json::from_str(&line).expect("logs are JSON where there is no terminal");
    let address = line["address"]
        .as_str()
        .and_then(|address| address.parse().ok())
        .expect("the line has an address");
    program.line("the roster is loaded").await;

    let mut table = Table::new([
        "strangers' connections",
        "Slack's connections",
        "requests",
        "answered with 200",
        "p50, ms",
        "p99, ms",
        "longest, ms",
    ]);
    let requests = tried(REQUESTS);
    let secret = slack.signing_secret();
    let mut number = 0;
    for strangers in [
        Strangers::None,
        Strangers::Silent,
        Strangers::HalfHeads,
        Strangers::ForgedBodies,
    ] {
        let crowd = crowd(address, strangers).await;
        for is_kept in [true, false] {
            let mut times = Vec::new();
            let mut taken = 0;
            let mut kept = None;
            for _ in 0..requests {
                number += 1;
                let began = Instant::now();
                let asking = ask(address, secret, number, &mut kept, is_kept);
                taken += u64::from(timeout(PATIENCE, asking).await == Ok(Some(200)));
                times.push(began.elapsed().as_secs_f64() * 1e3);
                sleep(Duration::from_millis(1)).await;
            }
            let at = |part: f64| short(quantile(times.clone(), part));
            table.row([
                strangers.name(),
                if is_kept { "one, kept" } else { "one for each" },
                &whole(requests as f64),
                &whole(taken as f64),
                &at(0.5),
                &at(0.99),
                &at(1.0),
            ]);
        }
        drop(crowd);
        // The rest of the crowd is closed.
        sleep(Duration::from_secs(1)).await;
    }
    program.kill().await;
    slack.shutdown().await;
    table.finish()
}

/// Opens the connections, and keeps so many open.
async fn crowd(address: SocketAddr, strangers: Strangers) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    let Some(says) = strangers.says() else {
        return crowd;
    };
    for number in 0..STRANGERS {
        let says = says.clone();
        crowd.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(address).await {
                    // It may be closed at any time; then there is another one.
                    let _ = stream.write_all(says.as_bytes()).await;
                    let _ = stream.read(&mut [0; 64]).await;
                }
                sleep(Duration::from_millis(500 + number as u64 % 500)).await;
            }
        });
        if number % 100 == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }
    sleep(Duration::from_secs(2)).await;
    crowd
}

/// Sends an event as Slack does, and gives the status of the answer.
async fn ask(
    address: SocketAddr,
    secret: &str,
    number: u64,
    kept: &mut Option<TcpStream>,
    is_kept: bool,
) -> Option<u16> {
    let body = format!(
        r#"{{"type":"event_callback","team_id":"T0LOCAL0001","event_id":"Ev{number}","event":{{"type":"message","channel":"C1","user":"U1","text":"{}","ts":"{number}.000100"}}}}"#,
        "of about five hundred bytes ".repeat(12)
    );
    let time = now();
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .expect("any key will do")
        .chain_update(format!("v0:{time}:{body}"));
    let digits = format!("{:x}", mac.finalize().into_bytes());
    let request = head(&digits, time, body.len()) + &body;
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(address).await.ok()?,
    };
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // Its answers to events are heads alone.
    while !answer.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    if is_kept {
        *kept = Some(stream);
    }
    String::from_utf8_lossy(&answer)
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

fn head(digits: &str, time: u64, length: usize) -> String {
    format!(
        "POST /slack/events HTTP/1.1\r\nhost: bot.example\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         x-slack-request-timestamp: {time}\r\nx-slack-signature: v0={digits}\r\n\r\n"
    )
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
