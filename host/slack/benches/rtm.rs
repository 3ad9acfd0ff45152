//! How many frames a second pass from the socket to the bridge, compared with tokio-tungstenite reading the same burst.
//!
//! `cargo bench -p djangobot-slack`; the burst comes from a local Slack in the same process, so that both figures carry
//! the sender's work too.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::time::Instant;

use djangobot_slack::{Incoming, Token, WebApi, rtm};
use futures_util::StreamExt;
use local_slack::{Burst, LocalSlack, Options};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const FRAMES: u64 = 300_000;

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    for bytes in [300, 2_000] {
        let burst = Burst {
            frames: FRAMES,
            bytes,
            ..Burst::default()
        };
        let ours = runtime.block_on(ours(burst.clone()));
        let theirs = runtime.block_on(tungstenite(burst));
        println!(
            "frames of {bytes} B: {ours:.0}/s read into events and handed out; tungstenite alone {theirs:.0}/s; ratio {:.2}",
            ours / theirs
        );
    }
}

async fn slack() -> (LocalSlack, WebApi) {
    let slack = LocalSlack::start(Options::default())
        .await
        .expect("a local Slack");
    let token = Token::new(slack.token()).expect("a token");
    let api = WebApi::new(slack.api_url().parse().expect("a URL"), token).expect("a client");
    (slack, api)
}

/// Frames a second through `rtm::run`, each read into an event.
async fn ours(burst: Burst) -> f64 {
    let (slack, api) = slack().await;
    let (out, mut incoming) = mpsc::channel(1024);
    let cancel = CancellationToken::new();
    let task = tokio::spawn(rtm::run(api, rtm::Config::default(), out, cancel.clone()));
    let control = slack.control();
    control.wait_for_connections(1).await;
    let sending = tokio::spawn(async move { control.burst(burst).await });
    let began = Instant::now();
    let mut frames = 0;
    while frames < FRAMES {
        if let Some(Incoming::Frame(frame)) = incoming.recv().await {
            frames += u64::from(frame.event.is_ok());
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    sending.await.expect("the burst");
    cancel.cancel();
    task.await.expect("the task").expect("no fatal error");
    FRAMES as f64 / seconds
}

/// Frames a second out of tokio-tungstenite, not read any further.
async fn tungstenite(burst: Burst) -> f64 {
    let (slack, api) = slack().await;
    let url = api.rtm_connect().await.expect("a session").url;
    let (mut socket, _) = tokio_tungstenite::connect_async(url.as_str())
        .await
        .expect("a socket");
    let control = slack.control();
    let sending = tokio::spawn(async move { control.burst(burst).await });
    let began = Instant::now();
    let reading = tokio::spawn(async move {
        let mut frames = 0;
        while frames < FRAMES {
            frames +=
                u64::from(matches!(socket.next().await, Some(Ok(message)) if message.is_text()));
        }
    });
    reading.await.expect("the reader");
    let seconds = began.elapsed().as_secs_f64();
    sending.await.expect("the burst");
    FRAMES as f64 / seconds
}
