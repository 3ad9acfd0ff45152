//! The upkeep against a real local Slack: loads, loads after reconnects, and ends.

use local_slack::{Answer, LocalSlack, Options};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A keeper at work on a workspace of its own.
struct Upkeep {
    slack: LocalSlack,
    keeper: Arc<RosterKeeper>,
    sessions: watch::Sender<Option<Session>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Upkeep {
    async fn start(between_loads: Duration) -> Upkeep {
        let slack = LocalSlack::start(Options::default()).await.unwrap();
        let token = djangobot_slack::Token::new(slack.token()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let keeper = Arc::new(RosterKeeper {
            roster: Roster::new(),
            api: WebApi::new(slack.api_url().parse().unwrap(), token).unwrap(),
            pacer: Pacer::new(f64::INFINITY),
            state: State::open(folder.path()).unwrap(),
            metrics: Metrics::new(),
            terminal: Terminal::default(),
            wait: HOUR,
            between_loads,
            ready: watch::Sender::new(false),
            loading: watch::Sender::new(true),
            complete: AtomicBool::new(false),
            changed: AtomicBool::new(false),
        });
        let (sessions, session) = watch::channel(None);
        let stop = CancellationToken::new();
        let task = tokio::spawn(keeper.clone().run(session, stop.clone()));
        Upkeep {
            slack,
            keeper,
            sessions,
            stop,
            task,
            _folder: folder,
        }
    }

    fn connect(&self) {
        let session = Session {
            self_id: "U0BOT".into(),
            team_id: "T1".into(),
            ..Session::default()
        };
        self.sessions.send_replace(Some(session));
    }

    /// Makes Slack's next list of conversations one with a single channel of this name.
    fn name_the_only_channel(&self, name: &str) {
        let channel = json!({"id": "C1", "name": name, "is_channel": true, "is_member": true});
        self.slack.control().answer(
            "conversations.list",
            Answer {
                body: Some(json!({"ok": true, "channels": [channel]})),
                ..Answer::default()
            },
        );
    }
}

/// Waits for what must come, and fails the test rather than hang it.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("it comes within a minute")
}

#[tokio::test]
async fn who_waits_for_the_load_finds_what_it_brought() {
    let upkeep = Upkeep::start(HOUR).await;
    upkeep.slack.control().answer(
        "users.list",
        Answer {
            delay_ms: 300,
            ..Answer::default()
        },
    );
    upkeep.connect();
    soon(upkeep.keeper.loaded()).await;
    assert!(upkeep.keeper.roster().find_user("alice").is_some());
    assert!(upkeep.keeper.knows_conversations());
    soon(upkeep.keeper.loaded()).await;
}

#[tokio::test]
async fn a_stop_lets_go_of_all_who_wait_for_the_roster() {
    for connects in [false, true] {
        let upkeep = Upkeep::start(HOUR).await;
        upkeep.slack.control().answer(
            "users.list",
            Answer {
                delay_ms: 3_600_000,
                ..Answer::default()
            },
        );
        if connects {
            upkeep.connect();
            soon(
                upkeep
                    .slack
                    .control()
                    .wait_for_calls("conversations.list", 1),
            )
            .await;
        }
        upkeep.stop.cancel();
        soon(async { tokio::join!(upkeep.keeper.ready(), upkeep.keeper.loaded()) }).await;
        soon(upkeep.task).await.unwrap();
    }
}

#[tokio::test]
async fn a_later_session_loads_what_came_about_before_it() {
    let upkeep = Upkeep::start(Duration::ZERO).await;
    for name in ["old", "new", "newer"] {
        upkeep.name_the_only_channel(name);
        upkeep.connect();
        soon(async {
            while upkeep.keeper.roster().find_conversation(name).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            upkeep.keeper.loaded().await;
        })
        .await;
        assert!(upkeep.keeper.knows_conversations());
    }
}

#[tokio::test]
async fn sessions_in_quick_succession_cost_no_load_each() {
    let upkeep = Upkeep::start(HOUR).await;
    let control = upkeep.slack.control();
    upkeep.connect();
    soon(upkeep.keeper.loaded()).await;
    assert!(upkeep.keeper.knows_conversations());
    for _ in 0..3 {
        upkeep.connect();
        soon(async {
            while upkeep.keeper.knows_conversations() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        // Time for a call to be made and answered.
        upkeep.keeper.api.auth_test().await.unwrap();
        soon(upkeep.keeper.loaded()).await;
    }
    assert_eq!(control.calls(Some("conversations.list")).len(), 1);
    assert!(
        !upkeep.keeper.knows_conversations(),
        "Slack is asked for names until the next load"
    );
}
