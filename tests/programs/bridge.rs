//! A `djangobot` process: started as a user starts it, watched through its logs and its HTTP listener.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;

use djangobot_tests::{DEADLINE, Program, binary, eventually, seen};
use local_slack::{Call, Control, LocalSlack, Options};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The token of all tests; nothing that a djangobot writes may show it.
pub(crate) const TOKEN: &str = "xoxb-4711-not-to-be-shown";

/// A local Slack that takes [`TOKEN`] alone.
pub(crate) async fn slack() -> LocalSlack {
    slack_with(Options::default()).await
}

/// As [`slack`], of another size or temper.
pub(crate) async fn slack_with(options: Options) -> LocalSlack {
    LocalSlack::start(Options {
        token: Some(TOKEN.into()),
        ..options
    })
    .await
    .unwrap()
}

/// So many calls of a method, answered, or a panic where they do not come.
pub(crate) async fn calls(control: &Control, method: &str, count: usize) -> Vec<Call> {
    let calls = timeout(DEADLINE, control.wait_for_calls(method, count)).await;
    calls.unwrap_or_else(|_| panic!("not {count} calls of {method}: {:#?}", control.calls(None)))
}

/// The command line `djangobot ARGUMENTS` in `folder`, with nothing of the caller's environment that it looks at.
pub(crate) fn djangobot(folder: &Path, arguments: &[&str]) -> Command {
    djangobot_at(&binary("djangobot"), folder, arguments)
}

/// The same of the program in a file.
pub(crate) fn djangobot_at(program: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
        if is_proxy
            || name.starts_with("DJANGO")
            || ["VIRTUAL_ENV", "PYTHONPATH", "NO_COLOR", "RUST_LOG"].contains(&&*name)
        {
            command.env_remove(&*name);
        }
    }
    command.args(arguments).current_dir(folder);
    command
}

/// [`TOKEN`] and the address of `slack` in the environment.
pub(crate) fn with_slack(mut command: Command, slack: &LocalSlack) -> Command {
    command
        .env("DJANGOBOT_TOKEN", TOKEN)
        .env("DJANGOBOT_SLACK_API_URL", slack.api_url());
    command
}

/// `outer`, which runs another command, with `inner` as that command, in its folder and with its environment.
pub(crate) fn wrapped(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    inherit(&mut outer, inner);
    outer
}

/// Gives a command the folder and the environment of another one.
pub(crate) fn inherit(command: &mut Command, from: &Command) {
    if let Some(folder) = from.get_current_dir() {
        command.current_dir(folder);
    }
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// That it ended with `code` and said `parts` on stderr; line breaks and frames of a report don't count.
pub(crate) fn check_end(ended: &ExitReport, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let said: Vec<_> = ended
        .stderr
        .split(|c: char| c.is_whitespace() || c == '│')
        .filter(|word| !word.is_empty())
        .collect();
    let said = said.join(" ");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A running djangobot. When it is dropped, all that it wrote is searched for the token.
pub(crate) struct Djangobot(Program);

/// The exit code and the output of a djangobot that has ended.
#[derive(Debug)]
pub(crate) struct ExitReport {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Djangobot {
    pub(crate) fn start(command: Command) -> Self {
        Djangobot(Program::start(command))
    }

    /// Runs it to its own end.
    pub(crate) async fn run(command: Command) -> ExitReport {
        let mut program = Djangobot::start(command);
        program.close_stdin();
        let code = program.exit().await.code();
        ExitReport {
            code,
            stdout: program.stdout(),
            stderr: program.stderr(),
        }
    }

    /// The JSON log lines with `part` in their message.
    pub(crate) fn logs(&self, part: &str) -> Vec<Value> {
        let lines = self.stderr();
        let parsed = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed
            .filter(|line| {
                line["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(part))
            })
            .collect()
    }
}

impl Deref for Djangobot {
    type Target = Program;
    fn deref(&self) -> &Program {
        &self.0
    }
}

impl DerefMut for Djangobot {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.0
    }
}

impl Drop for Djangobot {
    fn drop(&mut self) {
        let shown = self.0.output();
        if !std::thread::panicking() {
            assert!(!shown.contains(TOKEN), "the token was shown:\n{shown}");
        }
    }
}

/// A running bridge with an HTTP listener.
pub(crate) struct Bridge {
    program: Djangobot,
    address: SocketAddr,
}

impl Bridge {
    /// Starts `djangobot ARGUMENTS` against `slack`, with its config and state in `folder`.
    pub(crate) async fn start(folder: &Path, slack: &LocalSlack, arguments: &[&str]) -> Self {
        let mut command = djangobot(folder, arguments);
        command.args(["--listen", "127.0.0.1:0"]);
        command
            .env("DJANGOBOT_TOKEN", TOKEN)
            .env("DJANGOBOT_SLACK_API_URL", slack.api_url());
        Bridge::of(command).await
    }

    /// As [`Bridge::start`], and waits until it is connected and knows names.
    pub(crate) async fn connected(folder: &Path, slack: &LocalSlack, arguments: &[&str]) -> Self {
        let mut bridge = Bridge::start(folder, slack, arguments).await;
        bridge.line("the roster is loaded").await;
        bridge
    }

    /// Starts a command that says where it listens.
    pub(crate) async fn of(command: Command) -> Self {
        Bridge::around(Djangobot::start(command)).await
    }

    /// One that was started, and says where it listens.
    pub(crate) async fn around(mut program: Djangobot) -> Self {
        let line = program.line("serving /healthz").await;
        let line: Value =
            serde_json::from_str(&line).expect("logs are JSON where there is no terminal");
        let address = line["address"]
            .as_str()
            .and_then(|address| address.parse().ok())
            .expect("the line has an address");
        Bridge { program, address }
    }

    /// The address of a page of its listener.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The status and body of a page of its listener.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).await.expect("the bridge listens")
    }

    /// The same of a bridge that may be at its end: `None` where it does not answer.
    pub(crate) async fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a head has a status");
        Some((status, body.to_owned()))
    }

    /// The value of a metric, named with its labels; 0 where there is none yet.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.get("/metrics").await;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.map_or(0.0, |value| value.parse().expect("a metric is a number"));
        seen(&(name, value));
        value
    }

    /// Waits until a metric has a value.
    pub(crate) async fn metric_is(&self, name: &str, value: f64) {
        eventually(&format!("{name} is {value}"), async || {
            (self.metric(name).await == value).then_some(())
        })
        .await;
    }
}

impl Deref for Bridge {
    type Target = Djangobot;
    fn deref(&self) -> &Djangobot {
        &self.program
    }
}

impl DerefMut for Bridge {
    fn deref_mut(&mut self) -> &mut Djangobot {
        &mut self.program
    }
}
