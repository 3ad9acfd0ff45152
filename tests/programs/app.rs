//! The Django app's side: Python that sends and receives with a stock channel layer, driven by the test.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;

use djangobot_tests::{Program, python, python_channels1};
use serde_json::{Value, json};

/// A Python process on a channel layer. Messages that it receives are kept by channel until they are asked for.
pub(crate) struct App {
    program: Program,
    received: HashMap<String, VecDeque<Value>>,
}

impl App {
    /// One on the layer at `url`, with the options that a Django project has by default.
    pub(crate) fn start(url: &str) -> Self {
        App::with_config(&json!({ "hosts": [host(url)] }))
    }

    /// One with this `CONFIG` of `channels_redis.core.RedisChannelLayer`.
    pub(crate) fn with_config(config: &Value) -> Self {
        App::with_backend("channels_redis.core.RedisChannelLayer", config)
    }

    /// One with this `BACKEND` and its `CONFIG`.
    pub(crate) fn with_backend(backend: &str, config: &Value) -> Self {
        App::run(&python(), "app.py", &[backend, &config.to_string()])
    }

    /// One of Channels 1, on `asgi_redis.RedisChannelLayer`.
    pub(crate) fn channels1(url: &str) -> Self {
        let config = json!({ "hosts": [url] });
        App::run(
            &python_channels1(),
            "app_channels1.py",
            &[&config.to_string()],
        )
    }

    fn run(python: &Path, script: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(python);
        command.arg(folder().join(script)).args(arguments);
        App {
            program: Program::start(command),
            received: HashMap::new(),
        }
    }

    /// Begins to read these channels.
    pub(crate) async fn receive(&mut self, channels: &[&str]) {
        self.tell(&json!({ "receive": channels })).await;
    }

    /// Makes a process-local channel and begins to read it: a `reply_channel`.
    pub(crate) async fn new_channel(&mut self) -> String {
        self.tell(&json!({ "new_channel": "specific" })).await;
        loop {
            if let Some(name) = self.line().await {
                return name;
            }
        }
    }

    /// Puts a message on a channel.
    pub(crate) async fn send(&mut self, channel: &str, message: &Value) {
        self.tell(&json!({ "send": channel, "message": message }))
            .await;
    }

    /// Puts a channel into a group, and a message on all channels of it.
    pub(crate) async fn group_send(&mut self, group: &str, channel: &str, message: &Value) {
        self.tell(&json!({ "group": group, "channel": channel, "message": message }))
            .await;
    }

    /// Sends what a Python expression gives.
    pub(crate) async fn send_python(&mut self, channel: &str, expression: &str) {
        self.tell(&json!({ "send": channel, "expression": expression }))
            .await;
    }

    /// Puts bytes where the core layer keeps the messages of a channel, with as many bytes before as it has.
    pub(crate) async fn put(&mut self, channel: &str, payload: &[u8]) {
        let member = [b"12 random by", payload].concat();
        let hex: String = member.iter().map(|byte| format!("{byte:02x}")).collect();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        self.tell(
            &json!({ "put": format!("asgi{channel}"), "member": hex, "score": now.as_secs_f64() }),
        )
        .await;
    }

    /// The next message of a channel that is being read.
    pub(crate) async fn next(&mut self, channel: &str) -> Value {
        loop {
            if let Some(message) = self.received.get_mut(channel).and_then(VecDeque::pop_front) {
                return message;
            }
            self.line().await;
        }
    }

    /// As many messages of a channel.
    pub(crate) async fn take(&mut self, channel: &str, count: usize) -> Vec<Value> {
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            messages.push(self.next(channel).await);
        }
        messages
    }

    /// The messages that came on a channel and were not asked for.
    pub(crate) fn left(&self, channel: &str) -> Vec<Value> {
        self.received
            .get(channel)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Puts a message on a channel, and ends once that is done.
    pub(crate) async fn send_and_finish(mut self, channel: &str, message: &Value) {
        self.send(channel, message).await;
        self.program.close_stdin();
        let status = self.program.exit().await;
        assert!(
            status.success(),
            "the app failed:\n{}",
            self.program.stderr()
        );
    }

    async fn tell(&mut self, command: &Value) {
        self.program.write_line(&command.to_string()).await;
    }

    /// Reads one line: a message, which is kept, or the name of a new channel.
    async fn line(&mut self) -> Option<String> {
        let line = self.program.line("").await;
        let Ok(mut message) = serde_json::from_str::<Value>(&line) else {
            // The rest of what it has to say comes with its end.
            self.program.close_stdin();
            self.program.exit().await;
            panic!("the app failed at {line:?}:\n{}", self.program.stderr());
        };
        if let Some(name) = message["new_channel"].as_str() {
            return Some(name.to_owned());
        }
        let channel = message["channel"]
            .as_str()
            .expect("a message has a channel")
            .to_owned();
        self.received
            .entry(channel)
            .or_default()
            .push_back(message["message"].take());
        None
    }
}

/// A host of channels_redis that redis-py 8 does not give up after five idle seconds, nor at the 101st channel.
pub(crate) fn host(url: &str) -> Value {
    json!({ "address": url, "socket_timeout": null, "max_connections": 1000 })
}

/// Where the Python of these tests lies.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}
