//! A program under test: its lines as they come, its end, what it costs.

use std::fs;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::patience::DEADLINE;

/// A running program, whose output is read all the time. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    pid: u32,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    /// How many lines [`Program::line`] has passed.
    passed: usize,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// The lines of both streams, in the order in which they came.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<(Stream, String)>>,
    /// Told of each line and of each stream's end.
    news: Notify,
}

impl Program {
    /// Starts `command`, with its input and output as pipes.
    ///
    /// # Panics
    /// When it can't be started, or outside of a Tokio runtime.
    pub fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let name = format!("{command:?}");
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let readers = vec![
            tokio::spawn(read(stdout, Stream::Stdout, Arc::clone(&output))),
            tokio::spawn(read(stderr, Stream::Stderr, Arc::clone(&output))),
        ];
        let pid = child.id().expect("a new child has a pid");
        let stdin = child.stdin.take();
        Self {
            name,
            pid,
            child,
            stdin,
            output,
            readers,
            passed: 0,
        }
    }

    /// Waits for the next line, of either stream, that contains `part`, and gives it.
    ///
    /// Lines before it are passed over, and not looked at again.
    ///
    /// # Panics
    /// When the program ends or [`DEADLINE`] passes without one, with all that it wrote.
    pub async fn line(&mut self, part: &str) -> String {
        self.line_within(part, DEADLINE).await
    }

    /// As [`Program::line`], with a deadline of its own.
    ///
    /// # Panics
    /// As [`Program::line`].
    pub async fn line_within(&mut self, part: &str, deadline: Duration) -> String {
        match timeout(deadline, self.find(part)).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!(
                "{} ended without a line with {part:?}; it wrote:\n{}",
                self.name,
                self.output()
            ),
            Err(_) => panic!(
                "{} wrote no line with {part:?} in {deadline:?}; it wrote:\n{}",
                self.name,
                self.output()
            ),
        }
    }

    /// Writes a line to its input.
    ///
    /// # Panics
    /// When it has closed its input.
    pub async fn write_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("the input is open");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap_or_else(|error| panic!("{} reads no input: {error}", self.name));
        stdin.flush().await.expect("a pipe can be flushed");
    }

    /// Ends its input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// All that it wrote so far, both streams, line by line as they came.
    pub fn output(&self) -> String {
        self.output.text(|_| true)
    }

    /// All that it wrote to its standard output so far.
    pub fn stdout(&self) -> String {
        let text = self.output.text(|stream| stream == Stream::Stdout);
        crate::seen(&end_of(&text));
        text
    }

    /// All that it wrote to its standard error so far.
    pub fn stderr(&self) -> String {
        let text = self.output.text(|stream| stream == Stream::Stderr);
        crate::seen(&end_of(&text));
        text
    }

    /// Sends SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// When it has not ended before [`DEADLINE`].
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exit().await
    }

    /// Sends SIGINT, as Ctrl-C does, and waits for the end.
    ///
    /// # Panics
    /// When it has not ended before [`DEADLINE`].
    pub async fn interrupt(&mut self) -> ExitStatus {
        self.signal(Signal::INT);
        self.exit().await
    }

    /// Kills it (SIGKILL), and waits for the end.
    pub async fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.exit().await
    }

    /// Stops it where it stands (SIGSTOP), until [`Program::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end, and for the last of its output.
    ///
    /// # Panics
    /// When it has not ended before [`DEADLINE`], with all that it wrote.
    pub async fn exit(&mut self) -> ExitStatus {
        self.exit_within(DEADLINE).await
    }

    /// As [`Program::exit`], with a deadline of its own.
    ///
    /// # Panics
    /// As [`Program::exit`].
    pub async fn exit_within(&mut self, deadline: Duration) -> ExitStatus {
        let Ok(status) = timeout(deadline, self.child.wait()).await else {
            panic!("{} has not ended; it wrote:\n{}", self.name, self.output());
        };
        for reader in &mut self.readers {
            // A grandchild may hold the pipe open; what the program itself wrote is there at once.
            let _ = timeout(Duration::from_secs(1), reader).await;
        }
        self.readers.clear();
        status.expect("our child can be waited for")
    }

    /// Its end, if it has come; does not wait for the last of its output.
    ///
    /// # Panics
    /// When the system does not know our child.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child can be asked")
    }

    /// The CPU time that it has used so far, in user and kernel mode (`/proc/PID/stat`, fields 14 and 15).
    ///
    /// # Panics
    /// When it has ended.
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc("stat");
        // The second field is the program's name in parentheses, which may hold anything.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
    }

    /// The memory that it holds now, in bytes (`/proc/PID/statm`, field 2).
    ///
    /// # Panics
    /// When it has ended.
    pub fn resident_memory(&self) -> u64 {
        let pages: u64 = self
            .proc("statm")
            .split_whitespace()
            .nth(1)
            .and_then(|field| field.parse().ok())
            .expect("statm has the form that proc(5) says");
        pages * page_size() as u64
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid))
            .unwrap_or_else(|error| panic!("{} has ended: {error}", self.name))
    }

    /// Sends a signal, if it has not ended.
    ///
    /// # Panics
    /// When it can't be signalled.
    pub fn signal(&self, signal: Signal) {
        // An id is given up with the child's status, and may be another's then.
        if self.child.id().is_some() {
            let pid = i32::try_from(self.pid)
                .ok()
                .and_then(Pid::from_raw)
                .expect("a pid is a positive i32");
            kill_process(pid, signal)
                .unwrap_or_else(|error| panic!("{} can't be signalled: {error}", self.name));
        }
    }

    /// The next line with `part`, or `None` when both streams have ended without one.
    async fn find(&mut self, part: &str) -> Option<String> {
        loop {
            let news = self.output.news.notified();
            // In this order: what a stream wrote before its end is there once it has ended.
            let ended = self.readers.iter().all(JoinHandle::is_finished);
            {
                let lines = self.output.lines();
                let found = lines[self.passed..]
                    .iter()
                    .position(|(_, line)| line.contains(part));
                if let Some(at) = found {
                    self.passed += at + 1;
                    return Some(lines[self.passed - 1].1.clone());
                }
                self.passed = lines.len();
            }
            if ended {
                return None;
            }
            // The bound is for the end of a stream: a reader's task is finished a moment after its last notification.
            let _ = timeout(Duration::from_millis(50), news).await;
        }
    }
}

impl Output {
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<(Stream, String)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self, wanted: impl Fn(Stream) -> bool) -> String {
        self.lines()
            .iter()
            .filter(|(stream, _)| wanted(*stream))
            .map(|(_, line)| format!("{line}\n"))
            .collect()
    }
}

async fn read(pipe: impl AsyncRead + Unpin, stream: Stream, output: Arc<Output>) {
    let mut lines = BufReader::new(pipe).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        output.lines().push((
            stream,
            String::from_utf8_lossy(&line)
                .trim_end_matches('\r')
                .to_owned(),
        ));
        output.news.notify_one();
    }
    output.news.notify_one();
}

/// The last lines of a program's output, for a failure to show.
fn end_of(text: &str) -> Vec<&str> {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].to_vec()
}
