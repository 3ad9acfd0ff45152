//! Against WebSocket servers that do what Slack does, and what it should not.

mod faults;
mod server;

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::testing::soon;
use crate::transport::{AnswerError, Frame};
use crate::{BadFrame, rtm};

use server::{Server, Slack};

/// Socket Mode under test; dropping it ends it.
struct SocketMode {
    incoming: mpsc::Receiver<Incoming>,
    cancel: CancellationToken,
    health: Arc<Health>,
    task: JoinHandle<Result<(), Fatal>>,
}

/// Short waits, so that a test of ten reconnects takes a moment.
fn quick(connections: usize) -> Config {
    Config {
        connections,
        each: rtm::Config {
            backoff_first: Duration::from_millis(1),
            backoff_max: Duration::from_millis(20),
            ..rtm::Config::default()
        },
        stagger: Duration::from_millis(1),
        crowded: Duration::from_millis(50),
        ..Config::default()
    }
}

/// A connection is soon held for dead.
fn impatient(connections: usize) -> Config {
    let mut config = quick(connections);
    config.each.ping_every = Duration::from_millis(100);
    config.each.silence = Duration::from_millis(800);
    config
}

/// Waits that a test would never see the end of.
fn patient(connections: usize) -> Config {
    Config {
        each: rtm::Config {
            backoff_first: Duration::from_secs(3600),
            ..rtm::Config::default()
        },
        ..quick(connections)
    }
}

impl SocketMode {
    fn start(api: &WebApi, config: Config) -> Self {
        SocketMode::with_room(api, config, 64)
    }

    fn with_room(api: &WebApi, config: Config, room: usize) -> Self {
        let (out, incoming) = mpsc::channel(room);
        let cancel = CancellationToken::new();
        let health = Arc::clone(&config.health);
        let session = Session {
            self_id: "U1".into(),
            ..Session::default()
        };
        let task = tokio::spawn(run(api.clone(), session, config, out, cancel.clone()));
        SocketMode {
            incoming,
            cancel,
            health,
            task,
        }
    }

    /// The next message; further connections of a session say nothing of interest to most tests.
    async fn next(&mut self) -> Incoming {
        loop {
            match self.any().await {
                Incoming::Refreshed => {}
                other => return other,
            }
        }
    }

    async fn any(&mut self) -> Incoming {
        soon(self.incoming.recv()).await.expect("it lives")
    }

    async fn connected(&mut self) {
        match self.next().await {
            Incoming::Connected(session) => assert_eq!(session.self_id, "U1"),
            other => panic!("{other:?}"),
        }
        let hello = self.frame().await.event.unwrap();
        assert_eq!(hello.text("/type").as_deref(), Some("hello"));
    }

    async fn disconnected(&mut self) -> (String, Duration) {
        match self.next().await {
            Incoming::Disconnected { reason, retry_in } => (reason, retry_in),
            other => panic!("{other:?}"),
        }
    }

    async fn frame(&mut self) -> Frame {
        match self.next().await {
            Incoming::Frame(frame) => frame,
            other => panic!("{other:?}"),
        }
    }

    /// The next frame, which is an event of this number; it is acknowledged.
    async fn numbered(&mut self, number: i64) {
        let frame = self.frame().await;
        assert_eq!(number_of(&frame), number);
        frame.ack.unwrap().confirm();
    }
}

impl Drop for SocketMode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn number_of(frame: &Frame) -> i64 {
    let number = frame.event.as_ref().unwrap().field("n");
    number.and_then(|number| number.as_i64()).unwrap()
}

/// An envelope with an event of this number; its id is `E` and the number.
fn numbered(number: i64) -> serde_json::Value {
    json!({
        "envelope_id": format!("E{number}"), "type": "events_api", "accepts_response_payload": false,
        "payload": {"type": "event_callback", "event_id": format!("Ev{number}"), "event": {"type": "message", "n": number}},
    })
}

/// One connection, and Slack's end of it.
async fn one(config: Config) -> (Slack, SocketMode, Server) {
    let (slack, api) = Slack::start().await;
    let mut mode = SocketMode::start(&api, config);
    let server = slack.greet(1).await;
    mode.connected().await;
    (slack, mode, server)
}

#[tokio::test]
async fn envelopes_of_all_kinds_come_out_and_are_acknowledged_by_their_ids() {
    let (_slack, mut mode, mut server) = one(quick(1)).await;
    let check = async |mode: &mut SocketMode, server: &mut Server, envelope: serde_json::Value| {
        server.send(&envelope).await;
        let frame = mode.frame().await;
        let ack = frame.ack.unwrap();
        assert!(ack.deadline() > std::time::Instant::now());
        ack.confirm();
        let id = &envelope["envelope_id"];
        assert_eq!(server.text().await, json!({"envelope_id": id}));
        (frame.event.unwrap(), frame.origin)
    };
    let (event, origin) = check(&mut mode, &mut server, numbered(7)).await;
    // In which order `json!` writes keys depends on what else is built.
    let inner: serde_json::Value = serde_json::from_slice(event.raw()).unwrap();
    assert_eq!(inner, json!({"type": "message", "n": 7}));
    assert_eq!(origin.event_id.as_deref(), Some("Ev7"));
    assert_eq!(origin.envelope_id.as_deref(), Some("E7"));

    let command =
        json!({"type": "slash_commands", "envelope_id": "E\"2", "payload": {"command": "/do"}});
    let (event, origin) = check(&mut mode, &mut server, command).await;
    assert_eq!(event.raw(), br#"{"command":"/do"}"#.as_slice());
    assert_eq!(origin.kind.as_deref(), Some("slash_commands"));

    let click =
        json!({"type": "interactive", "envelope_id": "E3", "payload": {"type": "block_actions"}});
    let (event, origin) = check(&mut mode, &mut server, click).await;
    assert_eq!(event.text("/type").as_deref(), Some("block_actions"));
    assert_eq!(origin.kind, None);

    let limited = json!({
        "type": "events_api", "envelope_id": "E4", "payload": {"type": "app_rate_limited", "minute_rate_limited": 5},
    });
    let (event, _) = check(&mut mode, &mut server, limited).await;
    assert_eq!(event.text("/type").as_deref(), Some("app_rate_limited"));

    let unknown = json!({"type": "a_new_kind", "envelope_id": "E5", "payload": {"x": 1}});
    let (event, origin) = check(&mut mode, &mut server, unknown).await;
    assert_eq!(
        (event.raw().as_ref(), origin.kind.as_deref()),
        (br#"{"x":1}"#.as_slice(), Some("a_new_kind"))
    );
}

#[tokio::test]
async fn an_answer_goes_with_the_acknowledgement_where_slack_takes_one() {
    let (_slack, mut mode, mut server) = one(quick(1)).await;
    let mut ask = async |accepts: bool, answer: String| {
        server
            .send(&json!({
                "type": "slash_commands", "envelope_id": "E1", "accepts_response_payload": accepts,
                "payload": {"command": "/do"},
            }))
            .await;
        let frame = mode.frame().await;
        let ack = frame.ack.unwrap();
        assert_eq!(
            (ack.accepts_payload(), frame.origin.answerable),
            (accepts, accepts)
        );
        let result = ack.answer(answer.into());
        (result, server.text().await)
    };
    let answer = json!({"text": "yes"});
    assert_eq!(
        ask(true, answer.to_string()).await,
        (Ok(()), json!({"envelope_id": "E1", "payload": answer}))
    );
    let empty = json!({"envelope_id": "E1"});
    assert_eq!(
        ask(false, answer.to_string()).await,
        (Err(AnswerError::NotAccepted), empty.clone())
    );
    let (error, told) = ask(true, format!("\"{}\"", "x".repeat(20_000))).await;
    assert!(
        matches!(error, Err(AnswerError::TooLarge { length }) if length > 20_000),
        "{error:?}"
    );
    assert_eq!(told, empty);
}

#[tokio::test]
async fn a_frame_that_can_not_be_parsed_is_acknowledged_and_reported() {
    let (_slack, mut mode, mut server) = one(Config {
        each: rtm::Config {
            max_frame_bytes: 10_000,
            ..quick(1).each
        },
        ..quick(1)
    })
    .await;
    let long = format!(
        r#"{{"envelope_id":"E3","payload":{{"text":"{}"}}}}"#,
        "x".repeat(10_000)
    );
    for (raw, id) in [
        (r#"{"envelope_id":"E1","payload":{"text":"#, "E1"),
        (
            r#"{"envelope_id":"E2","type":"events_api","payload":[]}"#,
            "E2",
        ),
        (&long, "E3"),
    ] {
        server.send_text(raw).await;
        assert_eq!(server.text().await, json!({"envelope_id": id}));
        let frame = mode.frame().await;
        assert_eq!(frame.origin.envelope_id.as_deref(), Some(id));
        assert!(frame.ack.is_none());
        match frame.event {
            Err(BadFrame::Unreadable { .. }) => assert!(raw.len() < 10_000),
            Err(BadFrame::TooLong { length, limit }) => {
                assert_eq!((length, limit), (raw.len() as u64, 10_000));
            }
            Ok(event) => panic!("{event:?}"),
        }
    }
    server.send_text("rubbish").await;
    assert!(mode.frame().await.event.is_err());
    server.send(&numbered(4)).await;
    mode.numbered(4).await;
    assert_eq!(server.text().await, json!({"envelope_id": "E4"}));
}

#[tokio::test]
async fn pings_of_both_kinds_are_answered_and_stay_in_the_house() {
    let (_slack, mut mode, mut server) = one(patient(1)).await;
    server.send(&json!({"type": "ping", "id": 3})).await;
    assert_eq!(
        server.text().await,
        json!({"type": "pong", "id": 3, "reply_to": 3})
    );
    server.ping(b"Ping from applink").await;
    assert_eq!(server.pong().await, b"Ping from applink".as_slice());
    server.send(&json!({"type": "pong"})).await;
    server
        .send(&json!({"type": "hello", "num_connections": 1}))
        .await;
    server.send(&numbered(1)).await;
    mode.numbered(1).await;
}

#[tokio::test]
async fn an_envelope_that_nobody_acknowledges_is_not_acknowledged() {
    let (_slack, mut mode, mut server) = one(quick(1)).await;
    server.send(&numbered(1)).await;
    drop(mode.frame().await);
    server.send(&numbered(2)).await;
    mode.numbered(2).await;
    assert_eq!(server.text().await, json!({"envelope_id": "E2"}));
}

#[tokio::test]
async fn a_new_connection_is_there_before_an_old_one_is_closed() {
    for reason in ["warning", "refresh_requested", "a_new_reason"] {
        let (slack, mut mode, mut old) = one(patient(1)).await;
        old.send(&numbered(1)).await;
        let waiting = mode.frame().await.ack.unwrap();
        old.send(&json!({"type": "disconnect", "reason": reason}))
            .await;
        old.send(&numbered(2)).await;
        mode.numbered(2).await;
        assert_eq!(
            old.text().await,
            json!({"envelope_id": "E2"}),
            "the old one serves on"
        );

        let mut new = slack.greet(2).await;
        assert!(matches!(mode.any().await, Incoming::Refreshed));
        new.send(&numbered(3)).await;
        mode.numbered(3).await;
        assert_eq!(new.text().await, json!({"envelope_id": "E3"}));
        old.send(&numbered(4)).await;
        mode.numbered(4).await;
        assert_eq!(
            old.text().await,
            json!({"envelope_id": "E4"}),
            "and waits for what is outstanding"
        );
        waiting.confirm();
        assert_eq!(old.text().await, json!({"envelope_id": "E1"}));
        old.closed().await;
        new.send(&numbered(5)).await;
        mode.numbered(5).await;
        assert_eq!((mode.health.open(), mode.health.strangers()), (1, 0));
    }
}

#[tokio::test]
async fn to_stop_gives_what_is_handed_out_a_moment_to_be_acknowledged() {
    let (_slack, mut mode, mut server) = one(patient(1)).await;
    server.send(&numbered(1)).await;
    let waiting = mode.frame().await.ack.unwrap();
    mode.cancel.cancel();
    server.send(&numbered(2)).await;
    waiting.confirm();
    assert_eq!(server.text().await, json!({"envelope_id": "E1"}));
    server.closed().await;
    assert_eq!(soon(&mut mode.task).await.unwrap(), Ok(()));
    assert!(
        mode.incoming.recv().await.is_none(),
        "nothing more was taken"
    );
}

#[tokio::test]
async fn to_stop_does_not_wait_for_ever_for_who_acknowledges_nothing() {
    let (_slack, mut mode, mut server) = one(Config {
        drain: Duration::from_millis(10),
        ..patient(1)
    })
    .await;
    server.send(&numbered(1)).await;
    let waiting = mode.frame().await.ack.unwrap();
    mode.cancel.cancel();
    server.closed().await;
    assert_eq!(soon(&mut mode.task).await.unwrap(), Ok(()));
    waiting.confirm();
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let (_slack, mut mode, mut server) = one(patient(1)).await;
    mode.incoming.close();
    server.send(&numbered(1)).await;
    server.closed().await;
    assert_eq!(soon(&mut mode.task).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn several_connections_are_one_session() {
    let (slack, api) = Slack::start().await;
    let mut mode = SocketMode::start(&api, quick(3));
    let mut servers = Vec::new();
    for count in 1..=3 {
        servers.push(slack.greet(count).await);
    }
    mode.connected().await;
    for (number, server) in servers.iter_mut().enumerate() {
        server.send(&numbered(number as i64)).await;
        mode.numbered(number as i64).await;
        assert_eq!(
            server.text().await,
            json!({"envelope_id": format!("E{number}")})
        );
    }
    assert_eq!(
        (
            mode.health.open(),
            mode.health.reported(),
            mode.health.strangers()
        ),
        (3, 3, 0)
    );

    // Two are lost and come again: nobody else need know.
    drop(servers.drain(..2));
    servers.push(slack.greet(2).await);
    servers.push(slack.greet(3).await);
    servers[2].send(&numbered(9)).await;
    mode.numbered(9).await;

    slack.refuse("internal_error");
    servers.clear();
    mode.disconnected().await;
    slack.open_again();
    let _server = slack.greet(1).await;
    loop {
        match mode.next().await {
            Incoming::Connected(_) => break,
            Incoming::Disconnected { reason, .. } => {
                assert!(reason.contains("internal_error"), "{reason}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn events_of_several_connections_come_in_the_order_of_their_times() {
    let (slack, api) = Slack::start().await;
    let mut mode = SocketMode::with_room(&api, quick(2), 1);
    let mut servers = [slack.greet(1).await, slack.greet(2).await];
    mode.connected().await;
    while mode.health.open() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Nobody takes anything: one connection has much, the other has what was said before and in between.
    let count = 400_i64;
    for parity in [1, 0] {
        for n in (0..count).filter(|n| n % 2 == parity) {
            let mut envelope = numbered(n);
            let event = &mut envelope["payload"]["event"];
            event["event_ts"] = json!(format!("{}.000001", 1000 + n));
            event["filler"] = json!("x".repeat(if parity == 1 { 10_000 } else { 10 }));
            servers[parity as usize].send(&envelope).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut came = Vec::new();
    for _ in 0..count {
        let frame = mode.frame().await;
        came.push(number_of(&frame));
        frame.ack.unwrap().confirm();
    }
    // Events that were handed on before the other connection brought any can't be called back.
    let early = came.iter().position(|n| n % 2 == 0).unwrap();
    assert!(early < 10, "{came:?}");
    assert!(came[early..].is_sorted(), "{came:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_are_opened_one_at_a_time_and_not_while_slack_wants_none() {
    let turns = Turns::default();
    let stagger = Duration::from_millis(500);
    let began = Instant::now();
    let taken = async || {
        turns.mine(stagger).await;
        began.elapsed().as_millis()
    };
    let (a, b, c) = tokio::join!(taken(), taken(), taken());
    assert_eq!([a, b, c], [0, 500, 1000]);
    turns.hold(Duration::from_secs(30));
    assert_eq!(taken().await, 31_000);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(taken().await, 91_000, "after a rest there is no wait");
}
