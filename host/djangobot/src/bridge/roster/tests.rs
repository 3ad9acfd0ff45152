//! The upkeep against a real local Slack: loads, loads after reconnects, and ends.

use local_slack::{Answer, LocalSlack, Options};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::team::Team;

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
    async fn start(pauses: Pauses) -> Upkeep {
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
            pauses,
            ready: watch::Sender::new(false),
            listings: watch::Sender::default(),
            is_over: AtomicBool::new(false),
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
        self.keeper.session_began();
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

/// Nothing is loaded a second time, unless a name is missed.
fn rarely() -> Pauses {
    Pauses {
        asked: Duration::from_millis(50),
        stale: HOUR,
        regular: HOUR,
    }
}

impl RosterKeeper {
    /// Waits until all lists were loaded, well or badly.
    async fn loaded(&self) {
        let mut listings = self.listings.subscribe();
        soon(listings.wait_for(|it| it.iter().all(Listing::has_ended)))
            .await
            .unwrap();
    }

    async fn search_user(&self, name: &str) -> Search<djangobot_slack::roster::User> {
        soon(self.search(List::Users, |roster| roster.find_user(name))).await
    }

    async fn search_channel(&self, name: &str) -> Search<djangobot_slack::roster::Conversation> {
        soon(self.search(List::Conversations, |roster| roster.find_conversation(name))).await
    }
}

#[tokio::test]
async fn a_search_during_the_first_load_finds_the_names_that_it_brings() {
    let upkeep = Upkeep::start(rarely()).await;
    upkeep.slack.control().answer(
        "users.list",
        Answer {
            delay_ms: 300,
            ..Answer::default()
        },
    );
    upkeep.connect();
    let found = upkeep.keeper.search_user("alice").await;
    assert!(matches!(found, Search::Found(_)), "{found:?}");
}

#[tokio::test]
async fn a_stop_releases_all_who_wait_for_the_roster() {
    for connects in [false, true] {
        let upkeep = Upkeep::start(rarely()).await;
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
        let search = upkeep.keeper.search_user("nobody");
        let (_, found) = soon(async { tokio::join!(upkeep.keeper.ready(), search) }).await;
        assert!(matches!(found, Search::Unlisted(_)), "{found:?}");
        soon(upkeep.task).await.unwrap();
    }
}

#[tokio::test]
async fn a_later_session_loads_names_that_changed_before_it() {
    let upkeep = Upkeep::start(Pauses {
        stale: Duration::ZERO,
        ..rarely()
    })
    .await;
    for name in ["old", "new", "newer"] {
        upkeep.name_the_only_channel(name);
        upkeep.connect();
        soon(async {
            while upkeep.keeper.roster().find_conversation(name).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_name_that_a_plugin_misses_is_loaded_for_a_later_call() {
    use djangobot_plugins::Roster as _;
    let upkeep = Upkeep::start(Pauses {
        stale: Duration::ZERO,
        ..rarely()
    })
    .await;
    let control = upkeep.slack.control();
    let team = Team::of(upkeep.keeper.roster().clone());
    upkeep.connect();
    upkeep.keeper.loaded().await;
    control.add_channel("newchan");
    control.add_user("zoe", "Zoe Zimmer");
    soon(async {
        while team.find_conversations("#newchan").is_empty() || team.find_users("@zoe").is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let calls = || control.calls(Some("usergroups.list")).len();
    assert_eq!(calls(), 1, "no user group was missed");
    assert!(team.usergroup("S0NOBODY1").is_none());
    soon(control.wait_for_calls("usergroups.list", 2)).await;
}

#[tokio::test]
async fn the_roster_is_loaded_again_at_regular_times() {
    let upkeep = Upkeep::start(Pauses {
        regular: Duration::from_millis(50),
        ..rarely()
    })
    .await;
    upkeep.connect();
    upkeep.keeper.loaded().await;
    upkeep.slack.control().add_channel("made-later");
    soon(async {
        while upkeep
            .keeper
            .roster()
            .find_conversation("made-later")
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn sessions_in_quick_succession_share_one_load() {
    let upkeep = Upkeep::start(rarely()).await;
    let control = upkeep.slack.control();
    upkeep.connect();
    upkeep.keeper.loaded().await;
    for _ in 0..3 {
        upkeep.connect();
        // Time for a call to be made and answered.
        upkeep.keeper.api.auth_test().await.unwrap();
    }
    assert_eq!(control.calls(Some("conversations.list")).len(), 1);
}

#[tokio::test]
async fn a_new_name_is_found_by_a_load_and_an_absent_one_is_refused() {
    let upkeep = Upkeep::start(rarely()).await;
    let control = upkeep.slack.control();
    upkeep.connect();
    upkeep.keeper.loaded().await;
    control.add_channel("newchan");
    control.rename_channel("random", "renamed").unwrap();
    control.add_user("zoe", "Zoe Zimmer");
    for name in ["newchan", "renamed"] {
        let found = upkeep.keeper.search_channel(name).await;
        assert!(matches!(found, Search::Found(_)), "{name}: {found:?}");
    }
    for name in ["zoe", "Zoe Zimmer"] {
        let found = upkeep.keeper.search_user(name).await;
        assert!(matches!(found, Search::Found(_)), "{name}: {found:?}");
    }
    let found = upkeep.keeper.search_channel("random").await;
    assert!(matches!(found, Search::Absent), "{found:?}");
    let found = upkeep.keeper.search_user("nobody").await;
    assert!(matches!(found, Search::Absent), "{found:?}");
}

#[tokio::test]
async fn many_searches_for_missing_names_share_one_load() {
    let upkeep = Upkeep::start(Pauses {
        asked: Duration::from_millis(500),
        ..rarely()
    })
    .await;
    let control = upkeep.slack.control();
    upkeep.connect();
    upkeep.keeper.loaded().await;
    let searches = (0..50).map(|n| {
        let keeper = upkeep.keeper.clone();
        tokio::spawn(async move { keeper.search_channel(&format!("nowhere-{n}")).await })
    });
    for search in searches.collect::<Vec<_>>() {
        let found = search.await.unwrap();
        assert!(matches!(found, Search::Absent), "{found:?}");
    }
    let lists = control.calls(Some("conversations.list")).len();
    assert!(lists <= 3, "50 searches made {lists} calls");
    assert_eq!(
        control.calls(Some("users.list")).len(),
        1,
        "no user is missed"
    );
}

#[tokio::test]
async fn a_list_that_fails_affects_no_other_list_and_its_error_is_reported() {
    let upkeep = Upkeep::start(rarely()).await;
    upkeep.slack.control().answer(
        "conversations.list",
        Answer {
            error: Some("team_access_not_granted".into()),
            times: 100,
            ..Answer::default()
        },
    );
    upkeep.connect();
    upkeep.keeper.loaded().await;
    assert!(upkeep.keeper.roster().find_user("alice").is_some());
    let found = upkeep.keeper.search_channel("general").await;
    match found {
        Search::Unlisted(why) => assert!(why.contains("team_access_not_granted"), "{why}"),
        found => panic!("{found:?}"),
    }
}

#[tokio::test]
async fn unknown_ids_in_events_are_looked_up() {
    let upkeep = Upkeep::start(rarely()).await;
    let control = upkeep.slack.control();
    upkeep.connect();
    upkeep.keeper.loaded().await;
    let (channel, user) = (
        control.add_channel("newchan"),
        control.add_user("zoe", "Zoe"),
    );
    let message = json!({"type": "message", "channel": channel, "user": user, "text": "hi"});
    upkeep.keeper.apply(&Event::from_value(&message).unwrap());
    soon(async {
        while upkeep
            .keeper
            .roster()
            .find_conversation("newchan")
            .is_none()
            || upkeep.keeper.roster().find_user("zoe").is_none()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(control.calls(Some("conversations.list")).len(), 1);
}
