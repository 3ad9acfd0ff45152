//! Messages of an outage that is too long for Slack's redelivery are read from its history: over Socket Mode and HTTP as
//! over RTM.

mod outages;

use std::path::Path;
use std::time::Duration;

use djangobot_tests::eventually;
use local_slack::{Answer, Fault, Happening, Options, Outcome};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::bridge::Bridge;
use crate::deployment::{Deployment, Transport};

/// Slack's six minutes, after which it gives up, are a moment here; the host's clock is set by them.
const AWAY: u64 = 400;

/// A deployment whose Slack soon gives up an event that is not acknowledged.
async fn deployment(transport: Transport, options: Options) -> Deployment {
    let retry_delays = [0, 50, 100].map(Duration::from_millis);
    let options = Options {
        retry_delays,
        ..options
    };
    Deployment::over(transport, options).await
}

impl Deployment {
    /// Waits until Slack gives nothing again any more, and lets the time for that pass in the host's state.
    async fn slack_gives_up(&self) {
        self.nothing_is_given_again().await;
        age(self.folder.path(), AWAY);
    }

    async fn nothing_is_given_again(&self) {
        eventually("Slack has given up", async || {
            let all = self.control.deliveries();
            all.iter()
                .all(|it| it.outcome != Outcome::Open)
                .then_some(())
        })
        .await;
    }

    /// Lets so many of Slack's next attempts not arrive. Those of earlier events come to their end first: the app may
    /// have an event before Slack has its acknowledgement, and another attempt of it would count as one of these.
    async fn lose(&self, attempts: u64) {
        self.nothing_is_given_again().await;
        self.control.fault(Fault {
            happening: Happening::Lose,
            times: attempts,
            spare: 0,
            probability: None,
            seed: 0,
        });
    }

    fn history_was_read(&self) -> bool {
        !self.control.calls(Some("conversations.history")).is_empty()
    }
}

/// Lets `seconds` pass since the host was there last.
fn age(folder: &Path, seconds: u64) {
    let database = Connection::open(folder.join(".djangobot/state.db")).unwrap();
    for key in ["events_safe_until", "events_listened_until"] {
        let query = "SELECT value FROM facts WHERE key = ?1";
        let kept: Vec<u8> = database
            .query_row(query, [key], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        let moment = u64::from_le_bytes(kept.try_into().unwrap()) - seconds * 1_000_000;
        let changed = database.execute(
            "UPDATE facts SET value = ?2 WHERE key = ?1",
            rusqlite::params![key, moment.to_le_bytes()],
        );
        assert_eq!(changed.unwrap(), 1);
    }
}

/// The line that a host logs with these words, whenever it does.
async fn logged(bridge: &Bridge, part: &str) -> Value {
    eventually(part, async || bridge.logs(part).pop()).await
}

fn said(event: &Value) -> (String, u64) {
    let text = event["text"].as_str().unwrap().to_owned();
    (text, event["djangobot"]["attempt"].as_u64().unwrap())
}

/// Whether an event came from Slack itself. On a slow machine that need not be Slack's first attempt.
fn is_live(event: &Value) -> bool {
    event["djangobot"]["retry_reason"] != "history"
}

#[tokio::test]
async fn events_that_slack_gave_up_while_the_host_was_away_are_read_from_history_once_and_in_order()
{
    for transport in Transport::OF_APPS {
        let deployment = deployment(transport, Options::default()).await;
        let control = &deployment.control;
        let mut app = deployment
            .app(&["slack.message", "slack.reaction_added"])
            .await;
        let mut bridge = deployment.bridge().await;
        let thread = deployment.say("before");
        let before = app.next("slack.message").await;
        assert_eq!(said(&before), ("before".into(), 1), "{transport:?}");
        bridge.terminate().await;
        for n in 0..5 {
            deployment.say(&format!("missed {n}"));
        }
        control
            .say_in_thread("bob", "general", "a reply", Some(&thread))
            .unwrap();
        deployment.slack_gives_up().await;
        let mut bridge = deployment.bridge().await;
        for n in 0..5 {
            let event = app.next("slack.message").await;
            assert_eq!(said(&event), (format!("missed {n}"), 2), "{transport:?}");
            assert_eq!(event["channel_type"], before["channel_type"]);
            assert_eq!(event["djangobot"]["retry_reason"], "history");
        }
        let reply = app.next("slack.message").await;
        assert_eq!(said(&reply), ("a reply".into(), 2), "{transport:?}");
        // The log names the time of the outage, and the kinds of events that no history has.
        let line = logged(&bridge, "nobody listened to Slack for").await;
        let words = line["message"].as_str().unwrap();
        assert!(words.contains("slash commands"), "{line}");
        // The answers of Slack have its time in whole seconds.
        assert!(line["seconds"].as_u64().unwrap() + 2 >= AWAY, "{line}");
        logged(&bridge, "Slack's history was read").await;
        deployment.say("after");
        let after = app.next("slack.message").await;
        assert_eq!(said(&after), ("after".into(), 1), "{transport:?}");
        // Another time, nothing comes twice.
        bridge.terminate().await;
        age(deployment.folder.path(), AWAY);
        let bridge = deployment.bridge().await;
        logged(&bridge, "Slack's history was read").await;
        deployment.say("at last");
        assert_eq!(
            said(&app.next("slack.message").await).0,
            "at last",
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn history_is_not_read_where_slack_redelivers_or_the_settings_forbid_it() {
    let deployment = deployment(Transport::SocketMode, Options::default()).await;
    let mut app = deployment.app(&["slack.message"]).await;
    let mut bridge = deployment.bridge().await;
    deployment.say("before");
    app.next("slack.message").await;
    bridge.terminate().await;
    age(deployment.folder.path(), 30);
    let mut bridge = deployment.bridge().await;
    deployment.say("between");
    app.next("slack.message").await;
    bridge.terminate().await;
    deployment.configure("[slack.history]\nwhen = \"never\"\n");
    age(deployment.folder.path(), AWAY);
    let mut bridge = deployment.bridge().await;
    let line = logged(&bridge, "nobody listened to Slack for").await;
    let words = line["message"].as_str().unwrap();
    assert!(words.contains("not read from Slack's history"), "{line}");
    deployment.say("after");
    app.next("slack.message").await;
    let calls = deployment.control.calls(Some("conversations.history"));
    assert!(calls.is_empty(), "{calls:#?}");
    bridge.terminate().await;
    deployment.configure("[slack.history]\nwhen = \"always\"\n");
    let bridge = deployment.bridge().await;
    logged(&bridge, "Slack's history was read").await;
}

#[tokio::test]
async fn an_app_gets_no_kinds_of_events_from_history_that_it_is_not_subscribed_to() {
    let options = Options {
        subscriptions: Some(vec!["app_mention".into(), "reaction_added".into()]),
        ..Options::default()
    };
    let deployment = deployment(Transport::SocketMode, options).await;
    let control = &deployment.control;
    let bot = control.user_id("djangobot").unwrap();
    let mut app = deployment
        .app(&["slack.app_mention", "slack.message"])
        .await;
    let mut bridge = deployment.bridge().await;
    let ts = deployment.say(&format!("<@{bot}> hi"));
    let mention = app.next("slack.app_mention").await;
    let (team, general) = (&mention["djangobot"]["team_id"], &mention["channel"]);
    assert_eq!(
        mention["djangobot"]["id"],
        format!(
            "{}.app_mention.{}.{ts}",
            team.as_str().unwrap(),
            general.as_str().unwrap()
        )
    );
    let live: Vec<String> = mention.as_object().unwrap().keys().cloned().collect();
    bridge.terminate().await;
    let missed = format!("are you there, <@{bot}>?");
    deployment.say(&missed);
    deployment.say("not for it");
    let direct = format!("<@{bot}>, a direct message is no mention");
    control.say("alice", "djangobot", &direct).unwrap();
    deployment.slack_gives_up().await;
    let mut bridge = deployment.bridge().await;
    let mention = app.next("slack.app_mention").await;
    assert_eq!(said(&mention), (missed, 2));
    for key in live {
        // All keys of a live event are there, except those of the wrapper, which a history does not have.
        assert!(mention.get(&key).is_some(), "{key} is missing: {mention:#}");
    }
    logged(&bridge, "Slack's history was read").await;
    assert!(app.left("slack.app_mention").is_empty());
    assert!(app.left("slack.message").is_empty());
    // Named in the config, they come.
    bridge.terminate().await;
    deployment.configure("[slack.history]\nevents = [\"message.im\"]\n");
    control.say("alice", "djangobot", "psst").unwrap();
    deployment.slack_gives_up().await;
    let bridge = deployment.bridge().await;
    assert_eq!(said(&app.next("slack.message").await), (direct, 2));
    assert_eq!(said(&app.next("slack.message").await), ("psst".into(), 2));
    logged(&bridge, "Slack's history was read").await;
    assert!(app.left("slack.message").is_empty());
}

#[tokio::test]
async fn an_app_whose_history_slack_limits_reads_direct_messages_first_and_says_how_long_it_takes()
{
    let options = Options {
        history_per_minute: Some(40),
        ..Options::default()
    };
    let deployment = deployment(Transport::Http, options).await;
    let control = &deployment.control;
    let mut app = deployment.app(&["slack.message"]).await;
    let mut bridge = deployment.bridge().await;
    for place in ["random", "djangobot"] {
        control.say("alice", place, "before").unwrap();
        app.next("slack.message").await;
    }
    bridge.terminate().await;
    for n in 0..20 {
        control.say("alice", "random", &n.to_string()).unwrap();
    }
    control.say("alice", "djangobot", "me first").unwrap();
    deployment.slack_gives_up().await;
    let bridge = deployment.bridge().await;
    let line = logged(&bridge, "outside of its Marketplace").await;
    let words = line["message"].as_str().unwrap();
    assert!(words.contains("takes at least"), "{line}");
    assert_eq!(
        said(&app.next("slack.message").await),
        ("me first".into(), 2)
    );
    for n in 0..20 {
        let event = app.next("slack.message").await;
        assert_eq!(said(&event), (n.to_string(), 2));
    }
    // A live event does not wait for the conversations that are still to be read.
    deployment.say("live");
    assert_eq!(said(&app.next("slack.message").await), ("live".into(), 1));
    assert!(
        bridge
            .metric("djangobot_history_conversations_waiting")
            .await
            > 0.0
    );
}

#[tokio::test]
async fn live_events_do_not_wait_for_a_list_of_conversations_that_does_not_come() {
    let odd = [
        Answer {
            error: Some("fatal_error".into()),
            ..Answer::default()
        },
        Answer {
            body: Some(json!({"ok": true})),
            ..Answer::default()
        },
    ];
    for answer in odd {
        let deployment = Deployment::new().await;
        let control = &deployment.control;
        let mut bridge = deployment.bridge().await;
        let mut app = deployment.app(&["slack.message"]).await;
        deployment.say("zero");
        app.next("slack.message").await;
        bridge.terminate().await;
        control.answer(
            "users.conversations",
            Answer {
                times: 1_000,
                ..answer
            },
        );
        let bridge = deployment.bridge().await;
        deployment.say("live");
        assert_eq!(said(&app.next("slack.message").await), ("live".into(), 1));
        // The event came although Slack has not given the list, and is still asked for it.
        assert!(bridge.logs("Slack's history was read").is_empty());
        logged(&bridge, "wait no longer for Slack's history").await;
    }
}

#[tokio::test]
async fn a_conversation_whose_history_fails_for_ever_holds_up_no_other() {
    let deployment = deployment(Transport::SocketMode, Options::default()).await;
    let control = &deployment.control;
    let mut app = deployment.app(&["slack.message"]).await;
    let mut bridge = deployment.bridge().await;
    // A direct message is read before all others.
    let mut direct = String::new();
    for place in ["general", "djangobot"] {
        control.say("alice", place, "before").unwrap();
        let before = app.next("slack.message").await;
        before["channel"].as_str().unwrap().clone_into(&mut direct);
    }
    bridge.terminate().await;
    for place in ["djangobot", "general"] {
        control.say("alice", place, "missed").unwrap();
    }
    deployment.slack_gives_up().await;
    control.answer(
        "conversations.history",
        Answer {
            status: 500,
            contains: direct.clone(),
            probability: Some(1.0),
            ..Answer::default()
        },
    );
    let mut bridge = deployment.bridge().await;
    // Slack is tried for a minute or two.
    let patience = Duration::from_secs(240);
    bridge
        .line_within("this one is tried again after them", patience)
        .await;
    let missed = app.next("slack.message").await;
    assert_eq!(said(&missed), ("missed".into(), 2));
    assert_eq!(missed["channel_type"], "channel");
    control.clear_answers();
    let missed = app.next("slack.message").await;
    assert_eq!(said(&missed), ("missed".into(), 2));
    assert_eq!(missed["channel"], json!(direct));
    logged(&bridge, "Slack's history was read").await;
    assert!(app.left("slack.message").is_empty());
}
