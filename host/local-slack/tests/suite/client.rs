//! Plain clients: HTTP without an SDK, and a WebSocket.

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use local_slack::{LocalSlack, Options};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long a test waits for something that is bound to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn start() -> LocalSlack {
    start_with(Options::default()).await
}

pub(crate) async fn start_with(options: Options) -> LocalSlack {
    LocalSlack::start(options).await.unwrap()
}

/// Fails where `future` takes longer than anyone would wait.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it did not happen in time")
}

/// Calls a method with a JSON body and the token in the header.
pub(crate) async fn call(slack: &LocalSlack, method: &str, arguments: Value) -> Value {
    let request = http().post(format!("{}{method}", slack.api_url()));
    let request = request
        .bearer_auth(slack.token())
        .header("content-type", "application/json; charset=utf-8");
    soon(request.body(arguments.to_string()).send())
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// Calls `method` and compares the keys of `expect` with those of the answer.
pub(crate) async fn check(slack: &LocalSlack, method: &str, arguments: Value, expect: Value) {
    let answer = call(slack, method, arguments.clone()).await;
    for (key, value) in expect.as_object().unwrap() {
        assert_eq!(answer[key], *value, "{method} {arguments}: {answer}");
    }
    if expect.get("error").is_some() {
        assert_eq!(answer["ok"], false);
    }
}

/// Calls a method with a form as its body and this token in the header.
pub(crate) async fn call_as(
    slack: &LocalSlack,
    token: &str,
    method: &str,
    form: &[(&str, &str)],
) -> Value {
    let request = http().post(format!("{}{method}", slack.api_url()));
    let request = request.bearer_auth(token).form(form);
    soon(request.send()).await.unwrap().json().await.unwrap()
}

/// The members of an answer with this error.
pub(crate) fn error(error: &str) -> Value {
    json!({ "error": error })
}

/// The members of an answer where an argument was missing.
pub(crate) fn missing(field: &str) -> Value {
    let message = format!("[ERROR] missing required field: {field}");
    json!({"error": "invalid_arguments", "response_metadata": {"messages": [message]}})
}

/// A client that all tests share, since making one is slow; no connection outlives its test's runtime.
pub(crate) fn http() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // The client wants it even where all goes over plain HTTP.
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
        let builder = reqwest::Client::builder().no_proxy();
        builder.pool_max_idle_per_host(0).build().unwrap()
    });
    &CLIENT
}

/// The id of a conversation, as a client finds it.
pub(crate) async fn channel(slack: &LocalSlack, name: &str) -> String {
    let arguments = json!({"types": "public_channel,private_channel", "limit": 999});
    let list = call(slack, "conversations.list", arguments).await;
    let channels = list["channels"].as_array().unwrap();
    let found = channels
        .iter()
        .find(|channel| channel["name"] == name)
        .unwrap();
    found["id"].as_str().unwrap().to_owned()
}

/// An RTM connection.
pub(crate) struct Rtm(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Rtm {
    /// Connects with a fresh URL, up to and with `hello`.
    pub(crate) async fn connect(slack: &LocalSlack) -> Rtm {
        let connected = call(slack, "rtm.connect", json!({})).await;
        let mut rtm = Rtm::open(connected["url"].as_str().unwrap()).await;
        assert_eq!(rtm.event().await["type"], "hello");
        rtm
    }

    pub(crate) async fn open(url: &str) -> Rtm {
        Rtm(soon(tokio_tungstenite::connect_async(url)).await.unwrap().0)
    }

    pub(crate) async fn send(&mut self, value: Value) {
        self.send_message(Message::text(value.to_string())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        soon(self.0.send(message)).await.unwrap();
    }

    /// The next message of whatever kind; `None` at the end of the connection, clean or not.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        soon(self.0.next()).await.and_then(Result::ok)
    }

    /// The next text frame, read as JSON.
    pub(crate) async fn event(&mut self) -> Value {
        // Pings of the server alone are not events, however long they come.
        soon(self.next_event()).await
    }

    async fn next_event(&mut self) -> Value {
        loop {
            match self.message().await.expect("the connection ended") {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected a text frame, got {other:?}"),
            }
        }
    }

    /// Waits for the pong to a ping.
    pub(crate) async fn pong(&mut self, payload: &'static [u8]) {
        self.send_message(Message::Ping(Bytes::from_static(payload)))
            .await;
        loop {
            if let Message::Pong(echoed) = self.message().await.expect("the connection ended") {
                assert_eq!(echoed, payload);
                return;
            }
        }
    }

    /// Sees that nothing is on its way: what is sent now is the next that comes.
    pub(crate) async fn nothing(&mut self) {
        self.send(json!({"id": 4242, "type": "ping"})).await;
        assert_eq!(
            self.event().await,
            json!({"type": "pong", "reply_to": 4242})
        );
    }

    /// Waits for the connection's end.
    pub(crate) async fn ended(&mut self) {
        while self.message().await.is_some() {}
    }
}

/// A connection of Socket Mode.
pub(crate) struct SocketMode {
    socket: Rtm,
    pub(crate) hello: Value,
}

impl SocketMode {
    /// Connects with a fresh URL, up to and with `hello`.
    pub(crate) async fn connect(slack: &LocalSlack) -> SocketMode {
        let mut socket = SocketMode::open(slack).await;
        let hello = socket.event().await;
        assert_eq!(hello["type"], "hello");
        SocketMode { socket, hello }
    }

    /// The bare socket, before whatever comes first.
    pub(crate) async fn open(slack: &LocalSlack) -> Rtm {
        let opened = call_as(slack, slack.app_token(), "apps.connections.open", &[]).await;
        Rtm::open(opened["url"].as_str().unwrap()).await
    }

    /// The next envelope, not acknowledged.
    pub(crate) async fn envelope(&mut self) -> Value {
        self.socket.event().await
    }

    pub(crate) async fn ack(&mut self, envelope: &Value) {
        let ack = json!({"envelope_id": envelope["envelope_id"]});
        self.socket.send(ack).await;
    }

    pub(crate) async fn answer(&mut self, envelope: &Value, payload: Value) {
        let ack = json!({"envelope_id": envelope["envelope_id"], "payload": payload});
        self.socket.send(ack).await;
    }

    /// The next envelope, acknowledged.
    pub(crate) async fn take(&mut self) -> Value {
        let envelope = self.envelope().await;
        self.ack(&envelope).await;
        envelope
    }

    /// Acknowledges all that comes, until the connection ends; what came.
    pub(crate) async fn take_all(mut self) -> Vec<Value> {
        let mut taken = Vec::new();
        while let Some(message) = self.socket.message().await {
            if let Message::Text(text) = message {
                let envelope: Value = serde_json::from_str(&text).unwrap();
                // The connection may have ended meanwhile.
                let ack = json!({"envelope_id": envelope["envelope_id"]}).to_string();
                self.socket.0.send(Message::text(ack)).await.ok();
                taken.push(envelope);
            }
        }
        taken
    }

    pub(crate) fn socket(&mut self) -> &mut Rtm {
        &mut self.socket
    }
}

/// Options with short times: 100 ms for an acknowledgement, and retries right after.
pub(crate) fn hasty() -> Options {
    Options {
        ack_timeout: Duration::from_millis(100),
        retry_delays: [0, 20, 40].map(Duration::from_millis),
        warning_time: Duration::from_millis(50),
        ..Options::default()
    }
}
