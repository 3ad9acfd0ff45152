//! A Redis server of the test's own: on a free port of 127.0.0.1, with nothing kept, ended with the test.
//!
//! It is the `redis-server` on `PATH`, or the program that `DJANGOBOT_TEST_REDIS_SERVER` names. If that one was built
//! without TLS, as those of Python's wheels are, tests of TLS use the one on `PATH`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::environment::{program, redis_server};
use crate::patience::{DEADLINE, free_port};

/// A running Redis server. Dropping it kills it.
///
/// Starting and stopping block for some milliseconds.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
    server: Option<Child>,
}

impl Redis {
    /// Starts one, and waits until it answers.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it does not start.
    pub fn start() -> Self {
        Self::with_args(&[])
    }

    /// Starts one with more arguments, which win over those that every server of ours has.
    ///
    /// A first argument that does not begin with `-` is a configuration file.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn with_args(arguments: &[&str]) -> Self {
        let mut redis = Self {
            program: redis_server(),
            port: 0,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            directory: tempfile::tempdir().expect("there is room for a folder"),
            server: None,
        };
        // Another program may take a port between our finding it free and Redis's listening on it.
        for _ in 0..10 {
            redis.port = free_port();
            if redis.try_start() {
                return redis;
            }
            if redis.lacks_tls() {
                redis.program = program("redis-server", "redis-server");
            }
        }
        panic!("redis-server {arguments:?} does not start: {}", redis.log());
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process.
    ///
    /// # Panics
    /// When it is stopped.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("the server is running").id()
    }

    /// Its folder: sockets and files that belong to it may lie here.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it as an administrator would. Its data is gone, unless an argument makes it persist.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let pid = Pid::from_child(&server);
        kill_process(pid, Signal::TERM).expect("our child can be signalled");
        server.wait().expect("our child can be waited for");
    }

    /// Kills it (SIGKILL). All that it wrote is in its files, because the kernel survives.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("our child can be killed");
            server.wait().expect("our child can be waited for");
        }
    }

    /// Stops it in its tracks (SIGSTOP): it answers nothing, and its connections stay open, until [`Redis::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(server) = &self.server {
            kill_process(Pid::from_child(server), signal).expect("our child can be signalled");
        }
    }

    /// Stops it if it runs, and starts it again on the same port.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn restart(&mut self) {
        self.stop();
        assert!(
            self.try_start(),
            "redis-server does not start again: {}",
            self.log()
        );
    }

    /// Runs `redis-cli` on it and gives what it printed.
    ///
    /// # Panics
    /// As [`redis_cli`].
    pub fn cli(&self, arguments: &[&str]) -> String {
        redis_cli(self.port, arguments)
    }

    /// Whether `min-replicas-to-write` keeps scripts from writing, as it does from Redis 7 on.
    ///
    /// # Panics
    /// As [`Redis::cli`].
    pub fn holds_scripts_to_replicas(&self) -> bool {
        !self.cli(&["info", "server"]).contains("redis_version:6.")
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Whether the server that did not start was asked for TLS, and is not the one on `PATH`.
    fn lacks_tls(&self) -> bool {
        let wants_tls = self.arguments.iter().any(|word| word == "--tls-port");
        wants_tls && self.program != program("redis-server", "redis-server")
    }

    /// Starts the server; `false` when it ended at once, as it does when the port is taken.
    fn try_start(&mut self) -> bool {
        let (file, rest) = match self.arguments.split_first() {
            Some((file, rest)) if !file.starts_with('-') => (Some(file), rest),
            _ => (None, &self.arguments[..]),
        };
        let sentinel = rest.iter().any(|argument| argument == "--sentinel");
        let mut command = Command::new(&self.program);
        command.args(file).args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--logfile",
            "log",
        ]);
        if !sentinel {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        command.args(rest).current_dir(self.directory.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = self
            .server
            .insert(command.spawn().expect("the Redis server runs"));
        let deadline = Instant::now() + DEADLINE;
        loop {
            if server.try_wait().expect("our child can be asked").is_some() {
                self.server = None;
                return false;
            }
            if answers(self.port).unwrap_or(false) {
                return true;
            }
            assert!(
                Instant::now() < deadline,
                "redis-server does not answer: {}",
                self.log()
            );
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // An error says that it has ended, which is what we want.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Runs `redis-cli` on whatever listens on `port` and gives what it printed.
///
/// # Panics
/// When there is no `redis-cli`, or it fails.
pub fn redis_cli(port: u16, arguments: &[&str]) -> String {
    let output = Command::new(program("redis-cli", "redis-tools"))
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(arguments)
        .output()
        .expect("redis-cli runs");
    let printed = String::from_utf8_lossy(&output.stdout)
        .trim_end_matches('\n')
        .to_owned();
    assert!(
        output.status.success(),
        "redis-cli {arguments:?}: {printed} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    crate::seen(&printed);
    printed
}

/// Whether a server answers `PING` on `port` with anything but "still loading"; it may want a password first.
fn answers(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"PING\r\n")?;
    let mut reply = [0; 64];
    let length = stream.read(&mut reply)?;
    Ok(length > 0 && !reply.starts_with(b"-LOADING"))
}
