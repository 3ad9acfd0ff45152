//! Loads against a real local Slack: large, limited, short of scopes, and while things change.

use std::sync::Mutex;

use local_slack::{Answer, Burst, Options};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::roster::tests::{apply, small, user};
use crate::testing::{slack, soon};

/// Loads all lists, as far as that goes; the numbers of what was read, and the warnings.
async fn load_all(
    roster: &Roster,
    api: &WebApi,
    pacer: &Pacer,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(Vec<usize>, Vec<Warning>), ApiError> {
    let (mut read, mut warnings) = (Vec::new(), Vec::new());
    for list in List::ALL {
        let loaded = roster.load(list, api, pacer, progress).await?;
        read.push(loaded.read);
        warnings.extend(loaded.warnings);
    }
    Ok((read, warnings))
}

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
    let note = |progress: Progress| seen.lock().unwrap().push(progress.read);
    let loading = async {
        load_all(&roster, &api, &pacer, &|_| {}).await?;
        roster.load(List::Users, &api, &pacer, &note).await
    };
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
    assert_eq!(counts.users, loaded.read);
    let pages = control.calls(Some("users.list"));
    assert_eq!(pages.len(), 2 * counts.users.div_ceil(999));
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
async fn entries_from_events_during_a_load_are_kept() {
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
    let called = async |method: &str| {
        soon(async {
            while control.calls(Some(method)).is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    let happening = async {
        called("conversations.list").await;
        apply(
            &roster,
            json!({"type": "channel_deleted", "channel": general}),
        );
        called("users.list").await;
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
    let loading = load_all(&roster, &api, &pacer, &quiet);
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
    let loaded = soon(roster.load(List::Users, &api, &Pacer::default(), &|_| {}))
        .await
        .unwrap();
    assert_eq!((loaded.read, roster.len().users), (2, 2));
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
    let error = soon(roster.load(List::Users, &api, &Pacer::default(), &|_| {}))
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
async fn cursors_that_go_round_end_a_load() {
    let (slack, api) = slack(Options::default()).await;
    let control = slack.control();
    // Each page names the other one; the one for "odd" is looked for first.
    for (asked, next) in [("odd", "even"), ("", "odd")] {
        let answer = Answer {
            times: u64::MAX,
            contains: asked.into(),
            body: Some(
                json!({"ok": true, "members": [], "response_metadata": {"next_cursor": next}}),
            ),
            ..Answer::default()
        };
        control.answer("users.list", answer);
    }
    let (roster, pacer) = (Roster::new(), Pacer::new(f64::INFINITY));
    let loading = roster.load(List::Users, &api, &pacer, &|_| {});
    let error = tokio::time::timeout(std::time::Duration::from_secs(300), loading)
        .await
        .expect("it ends")
        .unwrap_err();
    assert!(
        error.to_string().contains("it has too many pages"),
        "{error}"
    );
    assert_eq!(control.calls(Some("users.list")).len(), 5_000);
    let cursors = &control.calls(Some("users.list"))[1..4];
    let cursors: Vec<_> = cursors
        .iter()
        .map(|call| &call.arguments["cursor"])
        .collect();
    assert_eq!(cursors, ["odd", "even", "odd"]);
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
    soon(roster.load(List::Users, &api, &Pacer::new(f64::INFINITY), &note))
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
    soon(roster.load(List::Users, &api, &Pacer::default(), &|_| {}))
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
    let (_, warnings) = soon(load_all(&roster, &api, &Pacer::default(), &|_| {}))
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
    let what: Vec<_> = warnings.iter().map(|warning| warning.what).collect();
    assert_eq!(what, ["private channels", "group messages", "users"]);
    assert!(
        warnings[0].to_string().contains("groups:read"),
        "{}",
        warnings[0]
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
    for list in [List::Conversations, List::Users] {
        let error = soon(Roster::new().load(list, &api, &Pacer::default(), &|_| {}))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "token_revoked");
    }
}

#[tokio::test]
async fn an_odd_entry_costs_itself_and_not_its_list() {
    let (slack, api) = slack(Options::default()).await;
    let control = slack.control();
    let odd = [
        json!({"id": null, "name": "nobody"}),
        json!({"id": "", "name": "empty"}),
        json!({"name": "without"}),
        json!({"id": "X1", "name": 5}),
        json!(null),
        json!("X2"),
    ];
    let among = |good: Value| {
        let mut all = odd.to_vec();
        all.insert(3, good);
        json!(all)
    };
    for (method, key, good) in [
        (
            "conversations.list",
            "channels",
            json!({"id": "C1", "name": "general", "is_channel": true}),
        ),
        ("users.list", "members", user("U1", "alice", "")),
        (
            "usergroups.list",
            "usergroups",
            json!({"id": "S1", "handle": "ops", "name": "Operators"}),
        ),
    ] {
        let body = Some(json!({"ok": true, key: among(good)}));
        control.answer(
            method,
            Answer {
                body,
                ..Answer::default()
            },
        );
    }
    let roster = Roster::new();
    soon(load_all(&roster, &api, &Pacer::default(), &|_| {}))
        .await
        .unwrap();
    let counts = roster.len();
    assert_eq!(
        (counts.conversations, counts.users, counts.usergroups),
        (1, 1, 1)
    );
    assert!(roster.find_user("alice").is_some() && roster.find_conversation("general").is_some());
}

#[tokio::test]
async fn a_token_of_an_organisation_reads_the_lists_of_each_of_its_workspaces() {
    let (slack, api) = slack(Options {
        org_wide: true,
        ..Options::default()
    })
    .await;
    let roster = Roster::new();
    let (_, warnings) = soon(load_all(&roster, &api, &Pacer::default(), &|_| {}))
        .await
        .unwrap();
    assert_eq!(warnings, []);
    assert!(roster.find_user("alice").is_some() && roster.find_conversation("general").is_some());
    let control = slack.control();
    let teams: Vec<_> = control
        .calls(Some("users.list"))
        .iter()
        .map(|call| call.arguments["team_id"].clone())
        .collect();
    assert_eq!(teams, [Value::Null, json!(Options::default().team.id)]);
    assert_eq!(control.calls(Some("auth.teams.list")).len(), 2);
}

#[tokio::test]
async fn where_workspaces_are_not_listed_the_one_of_the_token_is_named() {
    let (slack, api) = slack(Options {
        org_wide: true,
        ..Options::default()
    })
    .await;
    let control = slack.control();
    for answer in [
        Answer {
            error: Some("unknown_method".into()),
            ..Answer::default()
        },
        Answer {
            body: Some(json!({"ok": true, "teams": []})),
            ..Answer::default()
        },
    ] {
        control.answer("auth.teams.list", answer);
        let roster = Roster::new();
        soon(roster.load(List::Users, &api, &Pacer::default(), &|_| {}))
            .await
            .unwrap();
        assert!(roster.find_user("alice").is_some());
    }
}
