//! The host under test: started again whenever it ends, with all that its lives wrote.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use djangobot_tests::{Program, binary};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::time::sleep;

/// How long the host may take to end when it is told to, with calls of Slack under way.
const LAST_WORDS: Duration = Duration::from_secs(60);
/// A start at a full disk is in vain; so long after it, that may still be seen.
const LATELY: Duration = Duration::from_secs(5);

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By SIGKILL.
    Killed,
    /// By SIGTERM, with this code; `None` where it had to be killed after all.
    Stopped(Option<i32>),
    /// By itself, with this code; `None` for a signal.
    Itself(Option<i32>),
}

/// One process of the host, from its start to its end.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// Its output, line by line.
    pub(crate) log: String,
    pub(crate) end: End,
}

/// Where the host runs, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Its config file and its state are here.
    pub(crate) folder: PathBuf,
    /// In its environment.
    pub(crate) variables: Vec<(String, String)>,
    /// The library that moves its clock, and the file that says where to.
    pub(crate) clock: Option<(PathBuf, PathBuf)>,
}

/// The host: at most one process at a time.
#[derive(Debug)]
pub(crate) struct Host {
    setting: Setting,
    program: Option<Program>,
    pub(crate) lives: Vec<Life>,
    /// Bytes that its files may grow by, while the disk is as good as full.
    room: Option<u64>,
    /// When that ended.
    lifted: Option<Instant>,
    /// Whether it may end by itself just now, as it does when Slack bars it or its state can't be opened.
    pub(crate) may_end: bool,
    /// Ends by itself that it had no leave for.
    pub(crate) deserted: Vec<String>,
}

impl Host {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            setting,
            program: None,
            lives: Vec::new(),
            room: None,
            lifted: None,
            may_end: false,
            deserted: Vec::new(),
        }
    }

    /// Starts it where it does not run.
    pub(crate) fn start(&mut self) {
        if self.program.is_some() {
            return;
        }
        // A file that may not grow is an error to the host then, as a full disk is, and no signal.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        command
            .arg(binary("djangobot"))
            .current_dir(&self.setting.folder);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
            if is_proxy
                || name.starts_with("DJANGO")
                || ["VIRTUAL_ENV", "PYTHONPATH", "RUST_LOG"].contains(&&*name)
            {
                command.env_remove(&*name);
            }
        }
        command.envs(self.setting.variables.iter().cloned());
        if let Some((library, file)) = &self.setting.clock {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", file)
                .env("FAKETIME_CACHE_DURATION", "1")
                // Timers go by this one, and no clock that is set moves it.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME_DISABLE_SHM", "1");
        }
        self.program = Some(Program::start(command));
        self.apply_room();
    }

    /// Starts it, and waits until it knows who it is for Slack.
    ///
    /// # Panics
    /// When it does not, with all that it wrote.
    pub(crate) async fn start_and_connect(&mut self) {
        self.start();
        if let Some(program) = &mut self.program {
            program.line("the roster is loaded").await;
        }
    }

    /// Looks whether it ended by itself; true where it did, and is to be started again.
    pub(crate) async fn has_ended(&mut self) -> bool {
        let Some(status) = self.program.as_mut().and_then(Program::ended) else {
            return false;
        };
        let was_tight = self.lifted.is_some_and(|at| at.elapsed() < LATELY);
        let leave = self.may_end || self.room.is_some() || was_tight;
        self.bury(End::Itself(status.code())).await;
        if !leave {
            let last = self.lives.last().map_or("", |life| &life.log);
            let words = last
                .lines()
                .rev()
                .take(3)
                .collect::<Vec<_>>()
                .join("\n    ");
            self.deserted.push(format!("{status}:\n    {words}"));
        }
        true
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        if let Some(program) = &mut self.program {
            program.kill().await;
            self.bury(End::Killed).await;
        }
    }

    /// SIGTERM; it may take its time, as an operator gives it.
    pub(crate) async fn stop(&mut self) {
        let Some(program) = &mut self.program else {
            return;
        };
        if program.ended().is_none() {
            let _ = kill_process(pid(program), Signal::TERM);
        }
        let given_up = Instant::now() + LAST_WORDS;
        let code = loop {
            match program.ended() {
                Some(status) => break status.code(),
                None if Instant::now() > given_up => {
                    program.kill().await;
                    self.deserted
                        .push(format!("it did not end within {LAST_WORDS:?} of SIGTERM"));
                    break None;
                }
                None => sleep(Duration::from_millis(20)).await,
            }
        };
        self.bury(End::Stopped(code)).await;
    }

    /// While it is away: has so much time pass since it was there last.
    ///
    /// # Panics
    /// When its state can't be written.
    pub(crate) fn let_time_pass(&self, time: Duration) {
        assert!(self.program.is_none(), "it is there");
        let database = rusqlite::Connection::open(self.state().join("state.db"))
            .expect("the host has a state");
        for key in ["events_safe_until", "events_listened_until"] {
            let kept = "SELECT value FROM facts WHERE key = ?1";
            let kept = database.query_row(kept, [key], |row| row.get::<_, Vec<u8>>(0));
            let Some(moment) = kept.ok().and_then(|it| it.try_into().ok()) else {
                continue;
            };
            let moment = u64::from_le_bytes(moment).saturating_sub(time.as_micros() as u64);
            let change = "UPDATE facts SET value = ?2 WHERE key = ?1";
            database
                .execute(change, rusqlite::params![key, moment.to_le_bytes()])
                .expect("the host's state can be written");
        }
    }

    pub(crate) fn freeze(&self) {
        if let Some(program) = &self.program {
            program.freeze();
        }
    }

    pub(crate) fn thaw(&self) {
        if let Some(program) = &self.program {
            program.thaw();
        }
    }

    /// Lets its files grow by no more than `room` bytes, or as they like.
    pub(crate) fn limit(&mut self, room: Option<u64>) {
        self.lifted = self.room.and(Some(Instant::now()));
        self.room = room;
        self.apply_room();
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.setting.folder.join("state")
    }

    /// How many lives it has had, and how much it wrote in the one that it is in.
    pub(crate) fn activity(&self) -> usize {
        let log = self.program.as_ref().map(|program| program.stderr().len());
        log.unwrap_or_default() + self.lives.len()
    }

    fn apply_room(&self) {
        let Some(program) = &self.program else { return };
        let limit = self.room.map(|room| match room {
            0 => 0,
            room => longest_file(&self.state()) + room,
        });
        let limit = Rlimit {
            current: limit,
            maximum: None,
        };
        // One that has just ended has no limits.
        let _ = prlimit(Some(pid(program)), Resource::Fsize, limit);
    }

    async fn bury(&mut self, end: End) {
        let Some(mut program) = self.program.take() else {
            return;
        };
        program.exit().await;
        let log = program.stderr();
        let path = self.setting.folder.join("host.log");
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        // The log is for people; the checks read what is in memory.
        if let Ok(mut file) = file {
            let _ = writeln!(file, "{log}--- end: {end:?}");
        }
        self.lives.push(Life { log, end });
    }
}

fn pid(program: &Program) -> Pid {
    let pid = i32::try_from(program.pid()).ok();
    pid.and_then(Pid::from_raw)
        .expect("a pid is a positive i32")
}

fn longest_file(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .filter(|about| about.is_file())
        .map(|about| about.len())
        .max()
        .unwrap_or(0)
}
