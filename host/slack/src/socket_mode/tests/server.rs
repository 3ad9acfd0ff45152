//! Slack's end of Socket Mode: the Web API of a local Slack, and a WebSocket server for each connection.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use local_slack::{Answer, LocalSlack, Options};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::WebApi;
use crate::testing::{self, soon};

pub(super) struct Slack {
    local: LocalSlack,
    listener: TcpListener,
}

/// Slack's end of a connection.
pub(super) struct Server(pub(super) WebSocketStream<TcpStream>);

impl Slack {
    pub(super) async fn start() -> (Self, WebApi) {
        let (local, api) = testing::slack(Options::default()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let slack = Slack { local, listener };
        slack.open_again();
        (slack, api)
    }

    /// `apps.connections.open` gives this server's address.
    pub(super) fn open_again(&self) {
        let url = format!("ws://{}/link", self.listener.local_addr().unwrap());
        self.answer(Answer {
            times: u64::MAX,
            body: Some(json!({"ok": true, "url": url})),
            ..Answer::default()
        });
    }

    pub(super) fn refuse(&self, error: &str) {
        self.answer(Answer {
            times: u64::MAX,
            error: Some(error.into()),
            ..Answer::default()
        });
    }

    /// The answer of `apps.connections.open` from now on.
    pub(super) fn answer(&self, answer: Answer) {
        let control = self.local.control();
        control.clear_answers();
        control.answer("apps.connections.open", answer);
    }

    /// How often a connection was asked for.
    pub(super) fn asked(&self) -> usize {
        self.local
            .control()
            .calls(Some("apps.connections.open"))
            .len()
    }

    /// Waits until a connection was asked for so often.
    pub(super) async fn asked_times(&self, count: usize) {
        let control = self.local.control();
        soon(control.wait_for_calls("apps.connections.open", count)).await;
    }

    pub(super) async fn accept(&self) -> Server {
        soon(async {
            let (stream, _) = self.listener.accept().await.unwrap();
            Server(accept_async(stream).await.unwrap())
        })
        .await
    }

    /// A connection on which Slack says hello, and that there are so many.
    pub(super) async fn greet(&self, num_connections: u32) -> Server {
        let mut server = self.accept().await;
        server
            .send(&json!({
                "type": "hello", "num_connections": num_connections,
                "debug_info": {"host": "applink", "approximate_connection_time": 18060},
                "connection_info": {"app_id": "A1"},
            }))
            .await;
        server
    }
}

impl Server {
    pub(super) async fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(super) async fn send_text(&mut self, text: &str) {
        soon(self.0.send(Message::text(text))).await.unwrap();
    }

    pub(super) async fn ping(&mut self, payload: &'static [u8]) {
        let ping = Message::Ping(Bytes::from_static(payload));
        soon(self.0.send(ping)).await.unwrap();
    }

    /// The next pong.
    pub(super) async fn pong(&mut self) -> Bytes {
        soon(async {
            loop {
                if let Message::Pong(payload) = self.0.next().await.unwrap().unwrap() {
                    return payload;
                }
            }
        })
        .await
    }

    /// The next text message, which is JSON.
    pub(super) async fn text(&mut self) -> Value {
        soon(async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        })
        .await
    }

    /// Answers pings, for ever.
    pub(super) async fn pongs(&mut self) {
        while let Some(Ok(message)) = self.0.next().await {
            assert!(message.is_ping(), "{message}");
        }
        panic!("the connection ended");
    }

    /// Slack closes it.
    pub(super) async fn close(&mut self) {
        let code = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        soon(self.0.close(Some(code))).await.unwrap();
    }

    /// The connection is closed as it should be, and no text comes before.
    pub(super) async fn closed(&mut self) {
        soon(async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(_))) => break,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(self.0.next().await.is_none(), "it ended in order");
        })
        .await;
    }
}
