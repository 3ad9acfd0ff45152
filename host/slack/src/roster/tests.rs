//! Lookups, events, snapshots; and what is asked for in the background, against a real local Slack.

use djangobot_event::Event;
use local_slack::{Answer, Options};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::Pacer;
use crate::testing::{slack, soon};

pub(super) fn apply(roster: &Roster, event: Value) -> bool {
    roster.apply(&Event::from_value(&event).unwrap())
}

pub(super) fn user(id: &str, name: &str, display_name: &str) -> Value {
    json!({"id": id, "name": name, "real_name": "R", "profile": {"display_name": display_name}})
}

/// A roster with a few of each, all brought by events.
pub(super) fn small() -> Roster {
    let roster = Roster::new();
    roster.set_self("U0BOT");
    for user in [
        user("U1", "alice", "Ali"),
        user("U2", "bob", "alice"),
        user("U3", "carol", "Übel"),
    ] {
        assert!(apply(&roster, json!({"type": "team_join", "user": user})));
    }
    for event in [
        json!({"type": "channel_created", "channel": {"id": "C1", "name": "general"}}),
        json!({"type": "group_joined", "channel": {"id": "G1", "name": "secret", "is_group": true}}),
        json!({"type": "im_created", "user": "U1", "channel": {"id": "D1"}}),
        json!({"type": "mpim_open", "channel": {"id": "G2", "name": "mpdm-a--b-1", "is_mpim": true}}),
        json!({"type": "subteam_created", "subteam": {"id": "S1", "handle": "ops", "name": "Operators"}}),
        json!({"type": "bot_added", "bot": {"id": "B1", "name": "build"}}),
    ] {
        assert!(apply(&roster, event));
    }
    roster
}

/// Applies an event to the small roster and shows an entry of it.
fn check(event: Value, id: &str, expect: &str) {
    let roster = small();
    let is_new = apply(&roster, event.clone());
    assert!(is_new, "{event} brings something new");
    assert!(
        !apply(&roster, event.clone()),
        "{event} brings nothing new the second time"
    );
    let shown = match id.as_bytes()[0] {
        b'U' => roster.user(id).map(|it| format!("{it:?}")),
        b'S' => roster.usergroup(id).map(|it| format!("{it:?}")),
        b'B' => roster.bot(id).map(|it| format!("{it:?}")),
        _ => roster.conversation(id).map(|it| format!("{it:?}")),
    };
    assert_eq!(shown.unwrap_or_default(), expect, "{event}");
}

#[test]
fn events_keep_users_and_groups_current() {
    let renamed = json!({"type": "user_change", "user": user("U1", "alice2", "Ali")});
    check(renamed, "U1", r#"User(U1 @alice2 "Ali")"#);
    let gone = json!({"type": "user_change", "user": {"id": "U1", "deleted": true}});
    check(gone, "U1", r#"User(U1 @alice "Ali" deleted)"#);
    let profile = json!({"type": "user_profile_changed", "user": {"id": "U1", "profile": {"display_name": "A"}}});
    check(profile, "U1", r#"User(U1 @alice "A")"#);
    check(
        json!({"type": "bot_changed", "bot": {"id": "B1", "name": "ci"}}),
        "B1",
        "Bot(B1 ci)",
    );
    let handle = json!({"type": "subteam_updated", "subteam": {"id": "S1", "handle": "oncall"}});
    check(handle, "S1", "Usergroup(S1 @oncall)");
    check(
        json!({"type": "subteam_updated", "subteam": {"id": "S1", "date_delete": 5}}),
        "S1",
        "",
    );
}

#[test]
fn events_keep_conversations_current() {
    let check = |event, expect| check(event, "C1", expect);
    let renamed = json!({"type": "channel_rename", "channel": {"id": "C1", "name": "all"}});
    check(renamed, "Conversation(C1 all Channel)");
    check(
        json!({"type": "channel_archive", "channel": "C1", "user": "U1"}),
        "Conversation(C1 general Channel archived)",
    );
    check(json!({"type": "channel_deleted", "channel": "C1"}), "");
    let joined = json!({"type": "channel_joined", "channel": {"id": "C1", "name": "general"}});
    check(joined, "Conversation(C1 general Channel member)");
    let joined = json!({"type": "member_joined_channel", "user": "U0BOT", "channel": "C1"});
    check(joined, "Conversation(C1 general Channel member)");
    check(
        json!({"type": "channel_convert_to_private", "channel": "C1"}),
        "Conversation(C1 general Private)",
    );

    let moved =
        json!({"type": "channel_id_changed", "old_channel_id": "C1", "new_channel_id": "C9"});
    super::tests::check(moved, "C9", "Conversation(C9 general Channel)");
    let left = json!({"type": "group_left", "channel": "G1"});
    super::tests::check(left, "G1", "Conversation(G1 secret Private)");
    let opened = json!({"type": "im_open", "user": "U2", "channel": "D2"});
    super::tests::check(opened, "D2", "Conversation(D2 U2 Im member)");
}

#[test]
fn events_that_say_nothing_of_the_roster_change_nothing() {
    let roster = small();
    let before = roster.snapshot().unwrap();
    for event in [
        json!({"type": "message", "channel": "C1", "user": "U1"}),
        json!({"type": "member_joined_channel", "user": "U1", "channel": "C1"}),
        json!({"type": "team_join"}),
        json!({"type": "team_join", "user": "U1"}),
        json!({"type": "team_join", "user": {"id": 5}}),
        json!({"type": "team_join", "user": {"id": ""}}),
        json!({"type": "im_created", "user": "", "channel": {}}),
        json!({"type": "channel_id_changed", "old_channel_id": "", "new_channel_id": ""}),
        json!({"type": "channel_archive", "channel": "C404"}),
        json!({"type": 5}),
        json!({}),
    ] {
        assert!(!apply(&roster, event.clone()), "{event}");
    }
    assert_eq!(roster.snapshot().unwrap(), before);
}

#[test]
fn names_are_found_with_their_marks_and_in_any_case() {
    let roster = small();
    let user = |name| {
        roster
            .find_user(name)
            .map(|user| user.id().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(
        (user("alice"), user("@alice"), user(" Alice ")),
        ("U1".into(), "U1".into(), "U1".into())
    );
    assert_eq!(
        (user("ali"), user("@üBEL"), user("nobody")),
        ("U1".into(), "U3".into(), String::new())
    );

    let channel = |name| {
        roster
            .find_conversation(name)
            .map(|it| it.id().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(
        (channel("general"), channel("#General"), channel("secret")),
        ("C1".into(), "C1".into(), "G1".into())
    );
    assert_eq!(
        (channel("U1"), channel("")),
        (String::new(), String::new()),
        "a direct message has no name"
    );

    assert_eq!(roster.im_of("U1").unwrap().id(), "D1");
    assert_eq!(roster.im_of("U2"), None);
    assert_eq!(roster.find_usergroup("@ops").unwrap().id(), "S1");
}

#[test]
fn an_active_account_goes_before_one_that_left_and_then_a_handle_before_other_names() {
    let roster = small();
    let found = |name| roster.find_user(name).map(|user| user.id().to_owned());
    assert_eq!(
        found("alice").as_deref(),
        Some("U1"),
        "bob is shown as alice"
    );
    apply(
        &roster,
        json!({"type": "user_change", "user": {"id": "U1", "deleted": true}}),
    );
    assert_eq!(
        found("alice").as_deref(),
        Some("U2"),
        "the one with this handle has left"
    );
    for (id, handle) in [("U4", "dave"), ("U5", "erin")] {
        let joined = user(id, handle, "boss");
        apply(&roster, json!({"type": "team_join", "user": joined}));
    }
    assert_eq!(found("boss"), None, "two are shown as boss");
    let both = roster.users_named("@Boss");
    let mut both: Vec<_> = both.iter().map(User::id).collect();
    both.sort_unstable();
    assert_eq!(both, ["U4", "U5"]);
    apply(
        &roster,
        json!({"type": "user_change", "user": {"id": "U4", "deleted": true}}),
    );
    assert_eq!(found("boss").as_deref(), Some("U5"));

    let real = |id, handle, display_name, real_name| {
        let profile = json!({"display_name": display_name, "real_name": real_name});
        let user = json!({"id": id, "name": handle, "profile": profile});
        apply(&roster, json!({"type": "team_join", "user": user}));
    };
    real("U6", "frank", "", "Grace Hopper");
    assert_eq!(found("@Grace Hopper").as_deref(), Some("U6"));
    real("U7", "gh", "grace hopper", "Someone");
    assert_eq!(found("Grace Hopper").as_deref(), Some("U7"));
    real("U8", "Grace Hopper", "", "");
    assert_eq!(found("Grace Hopper").as_deref(), Some("U8"));

    apply(&roster, json!({"type": "channel_archive", "channel": "C1"}));
    apply(
        &roster,
        json!({"type": "channel_created", "channel": {"id": "C2", "name": "general"}}),
    );
    assert_eq!(roster.find_conversation("general").unwrap().id(), "C2");
    apply(
        &roster,
        json!({"type": "channel_created", "channel": {"id": "C3", "name": "general"}}),
    );
    assert_eq!(roster.find_conversation("general"), None);
    assert_eq!(roster.conversations_named("#general").len(), 2);
}

#[test]
fn old_names_are_forgotten_and_ids_used_again() {
    let roster = Roster::new();
    for round in 0..300 {
        for id in 0..20 {
            let name = format!("n{}", (round * 7 + id) % 50);
            apply(
                &roster,
                json!({"type": "channel_rename", "channel": {"id": format!("C{id}"), "name": name}}),
            );
        }
    }
    for n in 0..50 {
        let id = (n + 50 * 7 - (299 * 7) % 50) % 50;
        let found = roster
            .find_conversation(&format!("n{n}"))
            .map(|it| it.id().to_owned());
        assert_eq!(found, (id < 20).then(|| format!("C{id}")), "n{n}");
    }
    assert_eq!(roster.len().conversations, 20);
}

#[test]
fn a_snapshot_brings_everything_back() {
    let roster = small();
    let snapshot = roster.snapshot().unwrap();
    let other = Roster::new();
    apply(
        &other,
        json!({"type": "team_join", "user": user("U1", "newer", "")}),
    );
    other.restore(&snapshot).unwrap();
    assert_eq!(other.len(), roster.len());
    assert_eq!(other.user("U2"), roster.user("U2"));
    assert_eq!(
        other.user("U1").unwrap().name(),
        "newer",
        "what an event brought before is newer"
    );
    assert_eq!(other.im_of("U1"), roster.im_of("U1"));
    assert_eq!(other.find_usergroup("ops"), roster.find_usergroup("ops"));

    assert!(matches!(
        other.restore(br#"{"version":3}"#),
        Err(SnapshotError::Version(3))
    ));
    assert!(matches!(
        other.restore(&snapshot[..20]),
        Err(SnapshotError::Unreadable(_))
    ));
}

#[tokio::test]
async fn wanted_ids_are_fetched_once_in_the_background() {
    let (slack, api) = slack(Options::default()).await;
    let control = slack.control();
    let roster = Roster::new();
    let alice = control.user_id("alice").unwrap();
    let general = control.channel_id("general").unwrap();
    for _ in 0..3 {
        for id in [&*alice, &general, "U404", "not an id", "", "X1"] {
            roster.want(id);
        }
    }
    control.answer(
        "users.info",
        Answer {
            retry_after: Some(0),
            ..Answer::default()
        },
    );
    let cancel = CancellationToken::new();
    let (pacer, stop) = (Pacer::default(), cancel.clone());
    let working = roster.fetch(&api, &pacer, stop);
    let watching = async {
        control.wait_for_calls("users.info", 3).await;
        control.wait_for_calls("conversations.info", 1).await;
        // An event that mentions what is not known asks for it, too.
        let random = control.channel_id("random").unwrap();
        apply(
            &roster,
            json!({"type": "channel_archive", "channel": random}),
        );
        control.wait_for_calls("conversations.info", 2).await;
        while roster.conversation(&random).is_none() {
            tokio::task::yield_now().await;
        }
        roster.want(&alice);
        roster.want("U404");
        cancel.cancel();
    };
    soon(async { tokio::join!(working, watching) }).await;
    assert_eq!(roster.user(&alice).unwrap().name(), "alice");
    assert_eq!(roster.conversation(&general).unwrap().name(), "general");
    let asked: Vec<_> = control
        .calls(Some("users.info"))
        .iter()
        .map(|call| call.arguments["user"].clone())
        .collect();
    assert_eq!(
        asked,
        [json!(alice), json!(alice), json!("U404")],
        "one 429, then each once"
    );
}

#[test]
fn wants_are_bounded() {
    let roster = Roster::new();
    for n in 0..10_000 {
        roster.want(&format!("U{n:05}"));
    }
    assert_eq!(roster.shared.missing.waiting(), missing::MAX_WAITING);
}
