//! A Python process with a stock channel layer, whose methods a test calls: `peer.py`, or `peer1.py` for Channels 1.

use std::path::{Path, PathBuf};
use std::process::Command;

use djangobot_tests::{Program, python, python_channels1};
use serde_json::{Value, json};

/// The process. It is killed when this value is dropped.
pub(crate) struct Peer {
    program: Program,
}

impl Peer {
    /// Starts it on current versions, with a layer of this backend.
    pub(crate) async fn start(backend: &str, config: &Value) -> Self {
        Self::on(python(), backend, config).await
    }

    /// Starts it on `interpreter`.
    pub(crate) async fn on(interpreter: PathBuf, backend: &str, config: &Value) -> Self {
        let mut peer = Self::script(interpreter, "peer.py");
        peer.open(backend, config).await;
        peer
    }

    /// Starts it on Channels 1, with its Redis layer.
    pub(crate) async fn channels1(config: &Value) -> Self {
        let mut peer = Self::script(python_channels1(), "peer1.py");
        peer.call("open", [config.clone()]).await;
        peer
    }

    fn script(interpreter: PathBuf, name: &str) -> Self {
        let mut command = Command::new(interpreter);
        command.arg("-W").arg("ignore").arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("layers")
                .join(name),
        );
        Self {
            program: Program::start(command),
        }
    }

    /// Uses another layer from now on.
    pub(crate) async fn open(&mut self, backend: &str, config: &Value) {
        self.call("open", [json!(backend), config.clone()]).await;
    }

    /// Calls a method and returns its result.
    ///
    /// # Panics
    /// If it raised.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        arguments: impl IntoIterator<Item = Value>,
    ) -> Value {
        self.ask(method, arguments).await;
        self.answer().await
    }

    /// Calls a method and returns its result. `None` if it raised, because the server may be away.
    pub(crate) async fn try_call(
        &mut self,
        method: &str,
        arguments: impl IntoIterator<Item = Value>,
    ) -> Option<Value> {
        self.ask(method, arguments).await;
        self.outcome().await.ok()
    }

    /// Calls a method that should raise, and returns the exception: its class and text.
    ///
    /// # Panics
    /// If it did not raise.
    pub(crate) async fn raises(
        &mut self,
        method: &str,
        arguments: impl IntoIterator<Item = Value>,
    ) -> String {
        self.ask(method, arguments).await;
        self.outcome().await.expect_err("the method was to raise")
    }

    /// Calls a method and does not wait for its result; [`Peer::answer`] waits.
    pub(crate) async fn ask(&mut self, method: &str, arguments: impl IntoIterator<Item = Value>) {
        let line: Vec<Value> = std::iter::once(json!(method)).chain(arguments).collect();
        self.program
            .write_line(&Value::from(line).to_string())
            .await;
    }

    /// Waits for the result of the method that was called.
    ///
    /// # Panics
    /// If it raised.
    pub(crate) async fn answer(&mut self) -> Value {
        match self.outcome().await {
            Ok(value) => value,
            Err(error) => panic!(
                "Python raised {error}; it wrote:\n{}",
                self.program.stderr()
            ),
        }
    }

    async fn outcome(&mut self) -> Result<Value, String> {
        let line = self.program.line("answer ").await;
        let mut answer: Value = serde_json::from_str(line.trim_start_matches("answer ")).unwrap();
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }
}
