//! Loads against a real local Slack: large, limited, short of scopes, and while things change.

use std::sync::Mutex;

use local_slack::{Answer, Burst, Options};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    roster::tests::{apply, small, user},
    testing::{slack, soon},
};

#[tokio::test]
async fn fifty_thousand_users_are_loaded_page_by_page_while_events_flow() {
    let (slack, api) = slack(Options {
        users: 50_000,
        channels: 2_500,
        ..Options::default()
    })
    .await;
    let control = slack.control();
    let (out, mut incoming) = tokio::sync::mpsc::channel(64);
    let cancel = CancellationToken::new();
    let rtm = tokio::spawn(crate::rtm::run(
        api.clone(),
        Default::default(),
        out,
        cancel.clone(),
    ));
    soon(control.wait_for_connections(1)).await;

    let roster = Roster::new();
    let seen = Mutex::new(Vec::new());
    let pacer = Pacer::new(f64::INFINITY);
    let note = |progress: Progress| seen.lock().unwrap().push(progress.users);
    let loading = roster.load(&api, &pacer, &note);
    let reading = async {
        let mut frames = 0;
        while frames < 5_000 {
            frames += u32::from(matches!(
                incoming.recv().await.unwrap(),
                crate::Incoming::Frame(_)
            ));
        }
    };
    let burst = control.burst(Burst {
        frames: 5_000,
        ..Burst::default()
    });
    let (loaded, _, ()) = soon(async { tokio::join!(loading, burst, reading) }).await;
    let loaded = loaded.unwrap();
    assert_eq!(loaded.warnings, []);

    let counts = roster.len();
    assert!(
        counts.users > 50_000 && counts.conversations > 2_500,
        "{counts:?}"
    );
    assert_eq!(counts.users, loaded.progress.users);
    let pages = control.calls(Some("users.list"));
    assert_eq!(pages.len(), counts.users.div_ceil(999));
    assert!(
        pages
            .iter()
            .all(|call| call.arguments["limit"].to_string().contains("999"))
    );
    assert!(seen.lock().unwrap().is_sorted());
    let alice = roster.find_user("alice").unwrap();
    assert_eq!(Some(alice.id().to_owned()), control.user_id("alice"));
    assert_eq!(
        roster
            .find_conversation("#general")
            .map(|it| it.id().to_owned()),
        control.channel_id("general")
    );
    cancel.cancel();
    rtm.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_events_bring_during_a_load_is_kept() {
    let (slack, api) = slack(Options::default()).await;
    let control = slack.control();
    let roster = Roster::new();
    let general = control.channel_id("general").unwrap();
    let alice = control.user_id("alice").unwrap();
    // The last page is under way when these come: what they say is newer than what the page will say.
    control.answer(
        "users.list",
        Answer {
            delay_ms: 200,
            ..Answer::default()
        },
    );
    control.answer(
        "conversations.list",
        Answer {
            delay_ms: 200,
            ..Answer::default()
        },
    );
    let happening = async {
        soon(async {
            while control.calls(Some("conversations.list")).is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        apply(
            &roster,
            json!({"type": "channel_deleted", "channel": general}),
        );
        apply(
            &roster,
            json!({"type": "team_join", "user": user("UNEW", "newcomer", "")}),
        );
        apply(
            &roster,
            json!({"type": "user_change", "user": user(&alice, "renamed", "")}),
        );
    };
    let (pacer, quiet) = (Pacer::default(), |_| {});
    let loading = roster.load(&api, &pacer, &quiet);
    let (loaded, ()) = soon(async { tokio::join!(loading, happening) }).await;
    loaded.unwrap();
    assert_eq!(roster.conversation(&general), None);
    assert_eq!(roster.find_user("newcomer").unwrap().id(), "UNEW");
    assert_eq!(roster.user(&alice).unwrap().name(), "renamed");
    assert!(roster.find_user("bob").is_some());
}

#[tokio::test]
async fn short_and_empty_pages_are_followed_to_the_empty_cursor() {
    let (slack, api) = slack(Options::default()).await;
    let page = |members: Value, cursor: &str| Answer {
        body: Some(
            json!({"ok": true, "members": members, "response_metadata": {"next_cursor": cursor}}),
        ),
        ..Answer::default()
    };
    slack
        .control()
        .answer("users.list", page(json!([user("U1", "one", "")]), "a=="));
    slack.control().answer("users.list", page(json!([]), "b=="));
    slack
        .control()
        .answer("users.list", page(json!([user("U2", "two", "")]), ""));
    let roster = Roster::new();
    let loaded = soon(roster.load(&api, &Pacer::default(), &|_| {}))
        .await
        .unwrap();
    assert_eq!((loaded.progress.users, roster.len().users), (2, 2));
    let calls = slack.control().calls(Some("users.list"));
    let cursors: Vec<_> = calls
        .iter()
        .map(|call| call.arguments["cursor"].clone())
        .collect();
    assert_eq!(cursors, [Value::Null, json!("a=="), json!("b==")]);

    for _ in 0..2 {
        slack
            .control()
            .answer("users.list", page(json!([]), "round and round"));
    }
    let error = soon(roster.load(&api, &Pacer::default(), &|_| {}))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the page itself"), "{error}");
    assert_eq!(
        roster.len().users,
        2,
        "a load that failed takes nothing away"
    );
}

#[tokio::test]
async fn a_429_in_mid_load_is_obeyed_and_told() {
    let (slack, api) = slack(Options::default()).await;
    slack.control().answer(
        "users.list",
        Answer {
            retry_after: Some(1),
            ..Answer::default()
        },
    );
    let waits = Mutex::new(Vec::new());
    let note = |progress: Progress| waits.lock().unwrap().push(progress.waiting);
    let roster = Roster::new();
    soon(roster.load(&api, &Pacer::new(f64::INFINITY), &note))
        .await
        .unwrap();
    let calls = slack.control().calls(Some("users.list"));
    assert_eq!(calls.len(), 2);
    assert!(calls[1].at - calls[0].at >= 1.0);
    assert!(
        waits
            .lock()
            .unwrap()
            .iter()
            .any(|wait| *wait > Duration::from_millis(500))
    );
}

#[tokio::test]
async fn a_page_that_fails_is_read_again() {
    let (slack, api) = slack(Options::default()).await;
    slack.control().answer(
        "users.list",
        Answer {
            error: Some("internal_error".into()),
            ..Answer::default()
        },
    );
    let roster = Roster::new();
    soon(roster.load(&api, &Pacer::default(), &|_| {}))
        .await
        .unwrap();
    assert!(roster.find_user("alice").is_some());
}

#[tokio::test]
async fn a_missing_scope_costs_its_own_part_only_and_is_a_warning() {
    let (slack, api) = slack(Options::default()).await;
    let control = slack.control();
    let roster = small();
    let missing = |needed: &str| json!({"ok": false, "error": "missing_scope", "needed": needed, "provided": "im:read"});
    let channel = json!({"id": "C2", "name": "random", "is_channel": true, "is_private": false, "is_member": false});
    let im = json!({"id": "D2", "is_im": true, "user": "U2"});
    for body in [
        missing("groups:read"),
        json!({"ok": true, "channels": [channel]}),
        missing("groups:read"),
        json!({"ok": true, "channels": [im]}),
        missing("mpim:read"),
    ] {
        control.answer(
            "conversations.list",
            Answer {
                body: Some(body),
                ..Answer::default()
            },
        );
    }
    control.set_scopes(&["channels:read", "im:read"]);
    let loaded = soon(roster.load(&api, &Pacer::default(), &|_| {}))
        .await
        .unwrap();
    let calls = control.calls(Some("conversations.list"));
    let types: Vec<_> = calls
        .iter()
        .map(|call| call.arguments["types"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "public_channel,private_channel,im,mpim",
            "public_channel",
            "private_channel",
            "im",
            "mpim"
        ]
    );
    let what: Vec<_> = loaded.warnings.iter().map(|warning| warning.what).collect();
    assert_eq!(what, ["private channels", "group messages", "users"]);
    assert!(
        loaded.warnings[0].to_string().contains("groups:read"),
        "{}",
        loaded.warnings[0]
    );
    assert_eq!(
        (
            roster.find_conversation("random").unwrap().id(),
            roster.im_of("U2").unwrap().id()
        ),
        ("C2", "D2")
    );
    assert_eq!(
        roster.conversation("C1"),
        None,
        "a public channel that is in no list is gone"
    );
    assert!(
        roster.conversation("G1").is_some() && roster.user("U1").is_some(),
        "what can't be listed stays"
    );
}

#[tokio::test]
async fn a_revoked_token_ends_a_load() {
    let (slack, api) = slack(Options::default()).await;
    slack.control().revoke(slack.token(), "token_revoked");
    let error = soon(Roster::new().load(&api, &Pacer::default(), &|_| {}))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "token_revoked");
}
