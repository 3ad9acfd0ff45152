//! All that takes part in a run: a local Slack, a Redis, the host, a worker and a sender of the app.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use djangobot_tests::environment::clock_library;
use djangobot_tests::{DEADLINE, Program, Redis, free_port, python};
use local_slack::{Control, LocalSlack, Options};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::evidence::{Notes, kinds_seen};
use crate::host::{Host, Setting};
use crate::plan::{Plan, Rights, Transport};

/// The local Slack's workspace.
pub(crate) const TEAM: &str = "T0LOCAL0001";
const TOKEN: &str = "xoxb-4711-faults";
const APP_TOKEN: &str = "xapp-4711-faults";
const SECRET: &str = "signed-with-this";
/// Messages that a channel of the layer holds: few, so that a worker that pauses is felt.
pub(crate) const CAPACITY: &str = "150";
/// Conversations with traffic.
pub(crate) const CONVERSATIONS: usize = 7;
/// How soon a host that ended by itself is started again.
const RESTART: Duration = Duration::from_millis(300);

/// The programs and services that take part in a run.
pub(crate) struct Stage {
    _slack: LocalSlack,
    pub(crate) control: Control,
    pub(crate) redis: Arc<Mutex<Redis>>,
    pub(crate) redis_folder: PathBuf,
    pub(crate) host: Arc<Mutex<Host>>,
    pub(crate) worker: Arc<Mutex<Program>>,
    pub(crate) sender: Arc<Mutex<Program>>,
    /// Names of reactions that Slack gave up, which no history has.
    pub(crate) given_up: Arc<Mutex<HashSet<String>>>,
    /// The ids of the conversations with traffic.
    pub(crate) conversations: Vec<String>,
    /// Those of them that are private channels.
    pub(crate) private: HashSet<String>,
    /// How the bot is mentioned.
    pub(crate) mention: String,
    pub(crate) rights: Rights,
    /// The demands of faults on the app, until it has met them.
    pub(crate) wishes: std::sync::Mutex<Vec<Wish>>,
    /// Where all lies that a run leaves.
    pub(crate) folder: PathBuf,
    supervisor: JoinHandle<()>,
}

/// A message that a fault needs.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// One to a conversation by the name that it has now.
    ByName { conversation: String, name: String },
    /// A call that Slack is going to fail at, known by its label.
    Poison {
        conversation: String,
        method: &'static str,
        label: String,
    },
}

impl Stage {
    /// Has the app send a message when it comes to it.
    pub(crate) fn wish(&self, wish: Wish) {
        self.wishes().push(wish);
    }

    /// The messages that the app is to send.
    pub(crate) fn take_wishes(&self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes())
    }

    fn wishes(&self) -> std::sync::MutexGuard<'_, Vec<Wish>> {
        self.wishes.lock().expect("nobody panics with the lock")
    }

    /// Starts all that `plan` needs, in `folder`.
    pub(crate) async fn set(plan: &Plan, folder: &Path) -> Stage {
        let port = free_port();
        let slack = LocalSlack::start(options(plan, port))
            .await
            .expect("the local Slack starts");
        let control = slack.control();
        let redis_folder = folder.join("redis");
        fs::create_dir(&redis_folder).expect("there is room for a folder");
        let redis = lasting_redis(&redis_folder);
        let (conversations, private) = conversations(&slack).await;
        let bot = control.user_id("djangobot").expect("the app has a bot");
        let clock = plan.moves_clock.then(|| {
            let library = clock_library();
            let missing = "there is no libfaketimeMT.so.1: run `cargo xtask setup`, or install it (Debian's package faketime)";
            (library.expect(missing), folder.join("clock"))
        });
        if let Some((_, file)) = &clock {
            fs::write(file, "+0\n").expect("the folder can be written");
        }
        fs::write(
            folder.join("djangobot.toml"),
            config(plan, port, &redis.url()),
        )
        .expect("the folder can be written");
        let mut host = Host::new(Setting {
            folder: folder.to_owned(),
            variables: variables(&slack),
            clock,
        });
        let mut worker = app("consumer.py", &redis, Some(&folder.join("handled.jsonl")));
        let mut sender = app("sender.py", &redis, None);
        worker.line("ready").await;
        sender.line("ready").await;
        // Nobody promises the events before the first RTM connection ever.
        host.start_and_connect().await;
        let host = Arc::new(Mutex::new(host));
        let supervisor = tokio::spawn(supervise(host.clone()));
        let stage = Stage {
            _slack: slack,
            control,
            redis: Arc::new(Mutex::new(redis)),
            redis_folder,
            host,
            worker: Arc::new(Mutex::new(worker)),
            sender: Arc::new(Mutex::new(sender)),
            given_up: Arc::default(),
            conversations,
            private,
            mention: format!("<@{bot}>"),
            rights: plan.rights,
            wishes: std::sync::Mutex::default(),
            folder: folder.to_owned(),
            supervisor,
        };
        if !plan.rights.names_events {
            stage.warm_up().await;
        }
        stage
    }

    /// Has each kind of event come live once, and waits until the host's disk knows of it.
    async fn warm_up(&self) {
        for conversation in &self.conversations {
            let said = format!("at first {}", self.mention);
            let said = self.control.say("alice", conversation, &said);
            said.expect("alice may write in all conversations");
        }
        let kinds = self.rights.in_history();
        let state = self.folder.join("state/state.db");
        until("the host has seen each kind of event", || {
            let seen = kinds_seen(&state);
            kinds.iter().all(|kind| seen.iter().any(|it| it == kind))
        })
        .await;
        let notes = self.folder.join("handled.jsonl");
        until("the worker has handled an event", || {
            !Notes::read(&notes).handled.is_empty()
        })
        .await;
    }

    /// Ends the host as an operator does; the rest stays.
    pub(crate) async fn close(&self) {
        self.supervisor.abort();
        self.host.lock().await.stop().await;
    }
}

/// Waits until something is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "{what}: not so after {DEADLINE:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts the host again when it ends by itself, as an init system does.
async fn supervise(host: Arc<Mutex<Host>>) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut host = host.lock().await;
        if host.has_ended().await {
            tokio::time::sleep(RESTART).await;
            host.start();
        }
    }
}

/// How long the host may take to stop while neither layer nor disk takes anything, and a little more.
const SLOW_STOP: Duration = Duration::from_secs(12);

fn options(plan: &Plan, port: u16) -> Options {
    let is = |transport| plan.transport == transport;
    Options {
        token: Some(TOKEN.into()),
        app_token: Some(APP_TOKEN.into()),
        signing_secret: SECRET.into(),
        events_url: is(Transport::Http).then(|| format!("http://127.0.0.1:{port}/slack/events")),
        socket_mode: is(Transport::SocketMode),
        // The last attempt comes when all faults are lifted, also where a stop took its time, so that Slack itself gives
        // nothing up.
        retry_delays: [
            Duration::from_millis(200),
            Duration::from_secs(2),
            plan.length + SLOW_STOP,
        ],
        warning_time: Duration::from_secs(2),
        subscriptions: plan
            .rights
            .subscriptions
            .map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        history_per_minute: plan.rights.history_per_minute,
        users: 20,
        keep: 200_000,
        ..Options::default()
    }
}

/// A Redis that keeps what it answered over a SIGKILL. The kernel has what Redis wrote, so that there is no need to wait
/// for the disk; only a machine that fails would lose it.
fn lasting_redis(folder: &Path) -> Redis {
    let folder = folder.to_str().expect("a path of ours is text");
    Redis::with_args(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "no",
        "--auto-aof-rewrite-percentage",
        "0",
        "--dir",
        folder,
    ])
}

fn config(plan: &Plan, port: u16, redis: &str) -> String {
    let transport = plan.transport.name();
    let history = match plan.rights.names_events {
        true => format!("[slack.history]\nevents = {:?}\n", plan.rights.in_history()),
        false => String::new(),
    };
    format!(
        "state-dir = \"state\"\nlisten = \"127.0.0.1:{port}\"\nlog = \"info,djangobot::bridge::inbound=debug,djangobot::bridge::delivery=debug\"\nlog-format = \"json\"\n\
         [slack]\ntransport = \"{transport}\"\n\
         {history}\
         [layer]\nbackend = \"channels_redis.core.RedisChannelLayer\"\nconfig = {{ hosts = [\"{redis}\"], capacity = {CAPACITY} }}\n"
    )
}

fn variables(slack: &LocalSlack) -> Vec<(String, String)> {
    let variables = [
        ("DJANGOBOT_TOKEN", TOKEN.to_owned()),
        ("DJANGOBOT_APP_TOKEN", APP_TOKEN.to_owned()),
        ("DJANGOBOT_SIGNING_SECRET", SECRET.to_owned()),
        ("DJANGOBOT_SLACK_API_URL", slack.api_url()),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
}

/// A program of the app, in Python.
fn app(script: &str, redis: &Redis, records: Option<&Path>) -> Program {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults");
    let mut command = Command::new(python());
    command
        .arg(scripts.join(script))
        .arg(redis.url())
        .arg(CAPACITY)
        .args(records)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("DJANGO_SETTINGS_MODULE");
    Program::start(command)
}

/// The ids of some conversations that the bot is in, and those of them that are private.
async fn conversations(slack: &LocalSlack) -> (Vec<String>, HashSet<String>) {
    let query = "types=public_channel,private_channel&exclude_archived=true&limit=200";
    let list = call(slack, "users.conversations", query).await;
    let all = list["channels"].as_array().into_iter().flatten();
    let (mut ids, mut private) = (Vec::new(), HashSet::new());
    for conversation in all.take(CONVERSATIONS) {
        let id = conversation["id"].as_str().unwrap_or_default().to_owned();
        if conversation["is_private"] == true {
            private.insert(id.clone());
        }
        ids.push(id);
    }
    assert_eq!(ids.len(), CONVERSATIONS, "{list}");
    assert!(!private.is_empty() && private.len() < ids.len(), "{list}");
    (ids, private)
}

/// Calls a method of the Web API, as the bot, with form fields.
async fn call(slack: &LocalSlack, method: &str, fields: &str) -> Value {
    let mut stream = TcpStream::connect(slack.addr())
        .await
        .expect("the local Slack listens");
    let request = format!(
        "POST /api/{method} HTTP/1.0\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{fields}",
        fields.len()
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the local Slack reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("the local Slack answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{method}: {error}: {body}"))
}
