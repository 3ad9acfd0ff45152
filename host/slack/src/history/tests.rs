//! Against a real local Slack.

use local_slack::{Answer, Control, LocalSlack, Options};
use serde_json::json;

use super::*;
use crate::testing::{slack, soon};

async fn history() -> (LocalSlack, Control, WebApi, History) {
    let (slack, api) = slack(Options::default()).await;
    let history = History::new(api.clone(), Pacer::new(f64::INFINITY));
    let control = slack.control();
    (slack, control, api, history)
}

fn ts(text: &str) -> Ts {
    Ts::parse(text).unwrap()
}

fn texts(filled: &GapMessages) -> Vec<String> {
    let texts = filled.messages.iter().map(|message| message.text("/text"));
    texts.map(|text| text.unwrap().into_owned()).collect()
}

fn refused(code: &str) -> Answer {
    Answer {
        error: Some(code.into()),
        ..Answer::default()
    }
}

#[tokio::test]
async fn a_gap_is_filled_oldest_first_with_what_rtm_would_have_sent() {
    let (_slack, control, _, history) = history().await;
    let general = control.channel_id("general").unwrap();
    let known = control.say("alice", "general", "known").unwrap();
    for n in 0..5 {
        control
            .say("bob", "general", &format!("missed {n}"))
            .unwrap();
        control.say("bob", "random", "elsewhere").unwrap();
    }
    let known_again = control.say("alice", "general", "known again").unwrap();
    control.say("alice", "general", "later").unwrap();
    let gap = Gap {
        channel: &general,
        after: ts(&known),
        until: Some(ts(&known_again)),
        threads_since: None,
        at_most: 100,
    };
    let filled = soon(history.fill(&gap)).await.unwrap();
    assert!(filled.is_whole);
    let expect: Vec<_> = (0..5).map(|n| format!("missed {n}")).collect();
    assert_eq!(texts(&filled), expect);
    let first: Value = serde_json::from_slice(filled.messages[0].raw()).unwrap();
    assert_eq!(
        (
            &first["type"],
            &first["channel"],
            &first["user"],
            &first["event_ts"]
        ),
        (
            &json!("message"),
            &json!(general),
            &json!(control.user_id("bob")),
            &first["ts"]
        )
    );

    let open = Gap { until: None, ..gap };
    assert_eq!(soon(history.fill(&open)).await.unwrap().messages.len(), 7);
    let few = Gap { at_most: 3, ..gap };
    let filled = soon(history.fill(&few)).await.unwrap();
    assert_eq!((filled.messages.len(), filled.is_whole), (3, false));
}

#[tokio::test]
async fn many_pages_are_read_in_order() {
    let (_slack, control, _, history) = history().await;
    let general = control.channel_id("general").unwrap();
    let known = control.say("alice", "general", "known").unwrap();
    for n in 0..450 {
        control.say("bob", "general", &n.to_string()).unwrap();
    }
    let gap = Gap {
        channel: &general,
        after: ts(&known),
        until: None,
        threads_since: None,
        at_most: 1000,
    };
    let filled = soon(history.fill(&gap)).await.unwrap();
    let expect: Vec<_> = (0..450).map(|n| n.to_string()).collect();
    assert_eq!(texts(&filled), expect);
    assert_eq!(control.calls(Some(HISTORY)).len(), 3);
}

#[tokio::test]
async fn replies_are_found_in_threads_of_the_gap_and_in_older_ones_where_that_is_wanted() {
    let (_slack, control, _, history) = history().await;
    let general = control.channel_id("general").unwrap();
    let before = control.say("alice", "general", "before").unwrap();
    let old = control.say("alice", "general", "an old thread").unwrap();
    let quiet = control.say("alice", "general", "a quiet thread").unwrap();
    control
        .say_in_thread("bob", "general", "known", Some(&quiet))
        .unwrap();
    control
        .say_in_thread("bob", "general", "known", Some(&old))
        .unwrap();
    let known = control.say("alice", "general", "known").unwrap();
    let new = control.say("alice", "general", "a new thread").unwrap();
    control
        .say_in_thread("bob", "general", "to the new one", Some(&new))
        .unwrap();
    control
        .say_in_thread("bob", "general", "to the old one", Some(&old))
        .unwrap();
    let mut gap = Gap {
        channel: &general,
        after: ts(&known),
        until: None,
        threads_since: None,
        at_most: 100,
    };
    let filled = soon(history.fill(&gap)).await.unwrap();
    assert_eq!(texts(&filled), ["a new thread", "to the new one"]);
    assert_eq!(control.calls(Some(REPLIES)).len(), 1);

    gap.threads_since = Some(ts(&before));
    let filled = soon(history.fill(&gap)).await.unwrap();
    assert_eq!(
        texts(&filled),
        ["a new thread", "to the new one", "to the old one"]
    );
    assert_eq!(
        filled.messages[2].text("/thread_ts").as_deref(),
        Some(&*old)
    );
    assert!(filled.is_whole);
    assert_eq!(
        control.calls(Some(REPLIES)).len(),
        3,
        "the quiet one is not asked for"
    );
}

const KINDS: [ConversationKind; 4] = [
    ConversationKind::Channel,
    ConversationKind::Private,
    ConversationKind::Mpim,
    ConversationKind::Im,
];

#[tokio::test]
async fn the_bots_conversations_are_listed_with_those_that_are_hidden_from_it() {
    let (_slack, control, _, history) = history().await;
    let general = (
        control.channel_id("general").unwrap(),
        ConversationKind::Channel,
    );
    let joined = soon(history.joined(&KINDS)).await.unwrap();
    assert!(joined.conversations.contains(&general));
    assert!(joined.not_listed.is_empty());

    let none = soon(history.joined(&[ConversationKind::Mpim])).await;
    assert!(!none.unwrap().conversations.contains(&general));

    control.set_scopes(&["channels:read"]);
    let partly = soon(history.joined(&KINDS)).await.unwrap();
    assert!(partly.conversations.contains(&general));

    control.answer(CONVERSATIONS, refused("missing_scope"));
    // An odd entry costs itself.
    control.answer(
        CONVERSATIONS,
        Answer {
            body: Some(json!({"ok": true, "channels": [{"id": null}, 7, {"id": "C1"}]})),
            ..Answer::default()
        },
    );
    for _ in 0..3 {
        control.answer(CONVERSATIONS, refused("missing_scope"));
    }
    let partly = soon(history.joined(&KINDS)).await.unwrap();
    assert_eq!(
        partly.conversations,
        [("C1".to_owned(), ConversationKind::Channel)]
    );
    let hidden: Vec<_> = partly.not_listed.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(hidden, ["private_channel", "mpim", "im"]);
    control.answer(
        CONVERSATIONS,
        Answer {
            times: 9,
            ..refused("missing_scope")
        },
    );
    let error = soon(history.joined(&KINDS)).await.unwrap_err();
    assert!(matches!(error, HistoryError::NotPossible(_)), "{error}");
}

#[tokio::test]
async fn permanent_errors_of_history_differ_from_passing_ones() {
    let (_slack, control, _, history) = history().await;
    let gap = Gap {
        channel: "C404",
        after: ts("1.0"),
        until: None,
        threads_since: None,
        at_most: 10,
    };
    for code in ["missing_scope", "not_in_channel", "channel_not_found"] {
        control.answer(HISTORY, refused(code));
        match soon(history.fill(&gap)).await {
            Err(HistoryError::NotPossible(error)) => assert_eq!(error.code(), code),
            other => panic!("{other:?}"),
        }
    }
    for code in ["token_revoked", "token_expired"] {
        control.answer(HISTORY, refused(code));
        match soon(history.fill(&gap)).await {
            Err(HistoryError::Failed(error)) => assert_eq!(error.code(), code),
            other => panic!("{other:?}"),
        }
    }
    let general = control.channel_id("general").unwrap();
    control.answer(
        HISTORY,
        Answer {
            retry_after: Some(1),
            ..Answer::default()
        },
    );
    control.answer(HISTORY, refused("internal_error"));
    let gap = Gap {
        channel: &general,
        ..gap
    };
    soon(history.fill(&gap)).await.unwrap();
    assert_eq!(control.calls(Some(HISTORY)).len(), 8);
}
