//! Against a real local Slack, with connections that are dropped, frozen, closed and fed with rubbish.

use bytes::Bytes;
use futures_util::StreamExt;
use local_slack::{Answer, Burst, Control, Frame as Emitted, LocalSlack, Options};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::testing::{slack, soon};

/// An RTM connection under test; dropping it ends it.
struct Rtm {
    incoming: mpsc::Receiver<Incoming>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), Fatal>>,
}

/// Short waits, so that a test of ten reconnects takes a moment.
fn quick() -> Config {
    Config {
        ping_every: Duration::from_millis(100),
        silence: Duration::from_millis(500),
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        ..Config::default()
    }
}

impl Rtm {
    fn start(api: &WebApi, config: Config) -> Self {
        let (out, incoming) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        let task = tokio::spawn(run(api.clone(), config, out, cancel.clone()));
        Rtm {
            incoming,
            cancel,
            task,
        }
    }

    async fn next(&mut self) -> Incoming {
        soon(self.incoming.recv())
            .await
            .expect("the connection lives")
    }

    /// Goes on to the next connection, and gives why the one before was lost.
    async fn connected(&mut self) -> (Session, String) {
        let mut why = String::new();
        loop {
            match self.next().await {
                Incoming::Connected(session) => return (session, why),
                Incoming::Disconnected { reason, .. } => why = reason,
                Incoming::Frame(_)
                | Incoming::Deaf
                | Incoming::Expected(_)
                | Incoming::Refreshed => {}
            }
        }
    }

    async fn frame(&mut self) -> Result<Event, BadFrame> {
        loop {
            if let Incoming::Frame(frame) = self.next().await {
                return frame.event;
            }
        }
    }

    /// The next event of a type; those before it are thrown away.
    async fn event(&mut self, kind: &str) -> Event {
        loop {
            if let Ok(event) = self.frame().await
                && event.text("/type").as_deref() == Some(kind)
            {
                return event;
            }
        }
    }
}

impl Drop for Rtm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connected(config: Config) -> (LocalSlack, Control, Rtm) {
    let (slack, api) = slack(Options::default()).await;
    let mut rtm = Rtm::start(&api, config);
    rtm.connected().await;
    let control = slack.control();
    (slack, control, rtm)
}

#[tokio::test]
async fn a_session_begins_and_then_hello_and_events_come_in_their_order() {
    let (slack, api) = slack(Options::default()).await;
    let control = slack.control();
    let mut rtm = Rtm::start(&api, Config::default());
    let (session, _) = rtm.connected().await;
    let options = Options::default();
    assert_eq!(
        (session.self_name, session.team_id),
        (options.bot_name, options.team.id)
    );
    assert!(session.self_id.starts_with('U'));

    assert_eq!(
        rtm.frame().await.unwrap().text("/type").as_deref(),
        Some("hello")
    );
    let text = r#"{ "type":"a_new_type","n":18446744073709551615,"n":1.50,"é":"é" }"#;
    control.emit_frame(None, &Emitted::Text(Bytes::from(text)));
    assert_eq!(rtm.frame().await.unwrap().raw(), text.as_bytes());

    let ts = control.say("alice", "general", "good morning").unwrap();
    assert_eq!(rtm.event("message").await.text("/ts"), Some(ts.into()));
}

#[tokio::test]
async fn frames_of_our_own_do_not_come_out() {
    let (_slack, control, mut rtm) = connected(Config::default()).await;
    rtm.event("hello").await;
    for ours in [
        json!({"type": "pong", "reply_to": 1}),
        json!({"ok": true, "reply_to": 1, "ts": "1.2", "text": "x"}),
        json!({"ok": false, "reply_to": 1, "error": {"code": -1, "msg": "slow down"}}),
        json!({"type": "reconnect_url", "url": "wss://example.com"}),
    ] {
        control.emit(None, &ours);
    }
    control.emit(None, &json!({"type": "message", "reply_to": 3}));
    control.emit(None, &json!({"no": "type"}));
    assert_eq!(
        rtm.frame().await.unwrap().text("/type").as_deref(),
        Some("message")
    );
    assert_eq!(
        rtm.frame().await.unwrap().raw(),
        br#"{"no":"type"}"#.as_slice()
    );
}

#[tokio::test]
async fn bad_frames_cost_themselves_and_not_the_connection() {
    let (_slack, control, mut rtm) = connected(Config {
        max_frame_bytes: 100_000,
        ..quick()
    })
    .await;
    rtm.event("hello").await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(40_000), "]".repeat(40_000));
    let bad: [&[u8]; 6] = [
        b"{\"type\":\"\xff\"}",
        b"",
        b"nonsense",
        b"[1]",
        b"{\"type\":",
        deep.as_bytes(),
    ];
    for bytes in bad {
        control.emit_frame(None, &Emitted::Text(Bytes::copy_from_slice(bytes)));
        match rtm.frame().await {
            Err(BadFrame::Unreadable { raw, .. }) => assert_eq!(raw, bytes),
            other => panic!("{other:?}"),
        }
    }
    control.emit_frame(None, &Emitted::Text(vec![b' '; 100_001].into()));
    assert!(matches!(
        rtm.frame().await,
        Err(BadFrame::TooLong {
            length: 100_001,
            limit: 100_000
        })
    ));
    control.emit_frame(
        None,
        &Emitted::Binary(Bytes::from_static(br#"{"type":"binary"}"#)),
    );
    rtm.event("binary").await;
    assert_eq!(
        control.calls(Some("rtm.connect")).len(),
        1,
        "it is still the first connection"
    );
}

#[tokio::test]
async fn a_frame_of_16_mb_is_an_event() {
    let (_slack, control, mut rtm) = connected(Config::default()).await;
    let text = "x".repeat((16 << 20) - 100);
    control.emit(None, &json!({"type": "large", "text": text}));
    assert_eq!(
        rtm.event("large")
            .await
            .text("/text")
            .map(|text| text.len()),
        Some(text.len())
    );
    assert_eq!(control.calls(Some("rtm.connect")).len(), 1);
}

#[tokio::test]
async fn a_dropped_connection_is_replaced_every_time() {
    let (_slack, control, mut rtm) = connected(quick()).await;
    for round in 2..8 {
        control.wait_for_connections(1).await;
        control.drop_connections(None);
        rtm.connected().await;
        control.emit(None, &json!({"type": "round", "n": round}));
        assert_eq!(control.calls(Some("rtm.connect")).len(), round);
    }
    assert!(
        soon(control.wait_until(|sockets| sockets.len() == 1))
            .await
            .len()
            == 1,
        "none is leaked"
    );
}

#[tokio::test]
async fn a_protocol_error_ends_the_connection_and_a_new_one_is_made() {
    let (_slack, control, mut rtm) = connected(quick()).await;
    control.emit_frame(None, &Emitted::Raw(Bytes::from_static(&[0xff, 0xff, 0xff])));
    let (_, why) = rtm.connected().await;
    assert!(why.contains("extension"), "{why}");
}

#[tokio::test]
async fn a_frozen_connection_is_found_out_and_rebuilt() {
    let (_slack, control, mut rtm) = connected(quick()).await;
    control.freeze(None);
    let (_, why) = rtm.connected().await;
    assert!(why.contains("nothing was heard for 0.5 s"), "{why}");
}

#[tokio::test]
async fn a_connection_without_a_hello_is_none_however_lively() {
    let (slack, api) = slack(Options::default()).await;
    let control = slack.control();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    control.answer(
        "rtm.connect",
        Answer {
            body: Some(json!({
                "ok": true,
                "url": url,
                "self": {"id": "U1", "name": "bot"},
                "team": {"id": "T1", "name": "Team", "domain": "team"},
            })),
            ..Answer::default()
        },
    );
    let config = Config {
        opening: Duration::from_secs(3),
        silence: Duration::from_secs(60),
        ..quick()
    };
    let mut rtm = Rtm::start(&api, config);
    let mute = async {
        let stream = listener.accept().await.unwrap().0;
        let mut server = tokio_tungstenite::accept_async(stream).await.unwrap();
        // Reading answers pings.
        while let Some(Ok(message)) = server.next().await {
            assert!(!message.is_text(), "{message}");
        }
    };
    let (first, ()) = tokio::join!(rtm.next(), soon(mute));
    match first {
        Incoming::Disconnected { reason, .. } => {
            assert!(reason.contains("hello within 3 s"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    rtm.connected().await;
    assert_eq!(
        rtm.frame().await.unwrap().text("/type").as_deref(),
        Some("hello")
    );
}

#[tokio::test]
async fn a_quiet_connection_is_kept_by_pings() {
    let (_slack, control, mut rtm) = connected(quick()).await;
    rtm.event("hello").await;
    for _ in 0..10 {
        soon(control.wait_for_frame(|frame| frame.kind == "ping")).await;
        control.clear_frames();
    }
    assert_eq!(control.calls(Some("rtm.connect")).len(), 1);
}

#[tokio::test]
async fn goodbye_is_handed_out_and_answered_with_a_new_connection_at_once() {
    for farewell in ["goodbye", "team_migration_started"] {
        let (_slack, control, mut rtm) = connected(Config {
            backoff_first: Duration::from_secs(3600),
            ..Config::default()
        })
        .await;
        let old = control.wait_for_connections(1).await[0].id;
        control.emit(None, &json!({"type": farewell}));
        rtm.event(farewell).await;
        match rtm.next().await {
            Incoming::Disconnected { retry_in, .. } => assert_eq!(retry_in, Duration::ZERO),
            other => panic!("{other:?}"),
        }
        rtm.connected().await;
        soon(control.wait_until(|sockets| sockets.len() == 1 && sockets[0].id != old)).await;
        let close = soon(control.wait_for_frame(|frame| frame.kind == "close")).await;
        assert_eq!(close.connection, old, "the old socket was closed properly");
    }
}

#[tokio::test]
async fn an_expired_url_leads_to_a_new_one() {
    let (slack, api) = slack(Options {
        url_lifetime: Duration::ZERO,
        ..Options::default()
    })
    .await;
    let mut rtm = Rtm::start(&api, quick());
    soon(slack.control().wait_for_calls("rtm.connect", 3)).await;
    loop {
        if let Incoming::Disconnected { reason, .. } = rtm.next().await {
            assert!(reason.contains("did not accept"), "{reason}");
            break;
        }
    }
}

#[tokio::test]
async fn an_error_that_can_not_be_retried_ends_it_with_a_sentence() {
    for (code, expect) in [
        ("invalid_auth", "copy it again"),
        ("token_revoked", "install the app again"),
        ("not_allowed_token_type", "use Socket Mode"),
        ("missing_scope", "add it to the app"),
    ] {
        let (slack, api) = slack(Options::default()).await;
        slack.control().answer(
            "rtm.connect",
            Answer {
                error: Some(code.into()),
                ..Answer::default()
            },
        );
        let mut rtm = Rtm::start(&api, quick());
        let error = soon(&mut rtm.task).await.unwrap().unwrap_err().to_string();
        assert!(
            error.contains("rtm.connect") && error.contains(code) && error.contains(expect),
            "{error}"
        );
        assert_eq!(slack.control().calls(Some("rtm.connect")).len(), 1);
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_later_ends_it_at_the_next_connect() {
    let (slack, control, mut rtm) = connected(quick()).await;
    control.revoke(slack.token(), "token_revoked");
    control.drop_connections(None);
    assert!(soon(&mut rtm.task).await.unwrap().is_err());
}

#[tokio::test]
async fn errors_that_may_pass_are_retried() {
    let (slack, api) = slack(Options::default()).await;
    let control = slack.control();
    let answer = |answer| control.answer("rtm.connect", answer);
    let passing = [
        "org_login_required",
        "accesslimited",
        "team_added_to_org",
        "access_denied",
    ];
    for code in passing {
        answer(Answer {
            error: Some(code.into()),
            ..Answer::default()
        });
    }
    for status in [401, 403, 404, 407] {
        answer(Answer {
            status,
            body: Some(json!("<html>Who are you?</html>")),
            ..Answer::default()
        });
    }
    answer(Answer {
        error: Some("migration_in_progress".into()),
        times: 2,
        ..Answer::default()
    });
    answer(Answer {
        status: 503,
        body: Some(json!("busy")),
        ..Answer::default()
    });
    answer(Answer {
        hang_up: true,
        ..Answer::default()
    });
    answer(Answer {
        error: Some("a_new_error".into()),
        ..Answer::default()
    });
    Rtm::start(&api, quick()).connected().await;
    assert_eq!(control.calls(Some("rtm.connect")).len(), 14);
}

#[tokio::test]
async fn a_429_on_connecting_is_obeyed() {
    let (slack, api) = slack(Options::default()).await;
    slack.control().answer(
        "rtm.connect",
        Answer {
            retry_after: Some(1),
            ..Answer::default()
        },
    );
    let mut rtm = Rtm::start(&api, quick());
    match rtm.next().await {
        Incoming::Disconnected { retry_in, .. } => assert_eq!(retry_in, Duration::from_secs(1)),
        other => panic!("{other:?}"),
    }
    rtm.connected().await;
    let calls = slack.control().calls(Some("rtm.connect"));
    assert!(calls[1].at - calls[0].at >= 1.0);
}

#[tokio::test]
async fn to_cancel_closes_the_socket_properly_even_when_nobody_reads() {
    let (_slack, control, mut rtm) = connected(Config::default()).await;
    for n in 0..1000 {
        control.emit(None, &json!({"type": "unread", "n": n}));
    }
    rtm.cancel.cancel();
    assert_eq!(soon(&mut rtm.task).await.unwrap(), Ok(()));
    soon(control.wait_for_frame(|frame| frame.kind == "close")).await;
    soon(control.wait_until(<[_]>::is_empty)).await;
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let (_slack, control, mut rtm) = connected(Config::default()).await;
    rtm.incoming.close();
    while rtm.incoming.recv().await.is_some() {}
    control.emit(None, &json!({"type": "unheard"}));
    assert_eq!(soon(&mut rtm.task).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_burst_comes_whole_and_in_order() {
    let (_slack, control, mut rtm) = connected(Config::default()).await;
    let frames = 20_000;
    let sending = control.burst(Burst {
        frames,
        ..Burst::default()
    });
    let reading = async {
        let mut last = String::new();
        for _ in 0..frames {
            let ts = rtm.event("message").await.text("/ts").unwrap().into_owned();
            assert!(last < ts, "{last} before {ts}");
            last = ts;
        }
    };
    soon(async { tokio::join!(sending, reading) }).await;
}
