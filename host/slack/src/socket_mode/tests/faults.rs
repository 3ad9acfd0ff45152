//! Connections that are lost, deaf, too many or asked to leave time and again, and a receiver that does not receive.

use futures_util::{FutureExt, SinkExt, StreamExt};
use local_slack::Answer;
use tokio_tungstenite::tungstenite::Message;

use super::*;

#[tokio::test]
async fn too_many_connections_are_left_at_once_and_with_an_alarm() {
    let (slack, mut mode, mut server) = one(Config {
        crowded: Duration::from_secs(3000),
        ..quick(1)
    })
    .await;
    server
        .send(&json!({"type": "disconnect", "reason": "too_many_websockets"}))
        .await;
    server.closed().await;
    let (reason, retry_in) = mode.disconnected().await;
    assert!(reason.contains("too many"), "{reason}");
    assert_eq!(retry_in, Duration::from_secs(3000));
    assert_eq!(slack.asked(), 1);
    assert_eq!((mode.health.alarms(), mode.health.open()), (1, 0));
}

#[tokio::test]
async fn a_connection_beyond_slacks_limit_is_left_without_a_hello() {
    let (slack, api) = Slack::start().await;
    let mut mode = SocketMode::start(&api, quick(1));
    let mut server = slack.accept().await;
    server
        .send(&json!({"type": "disconnect", "reason": "too_many_websockets"}))
        .await;
    server.closed().await;
    let (_, retry_in) = mode.disconnected().await;
    assert!(retry_in >= Duration::from_millis(50));
    let _server = slack.greet(1).await;
    mode.connected().await;
    assert_eq!(mode.health.alarms(), 1);
}

#[tokio::test]
async fn an_app_without_socket_mode_ends_it_with_a_sentence() {
    for greeted in [true, false] {
        let (slack, api) = Slack::start().await;
        let mut mode = SocketMode::start(&api, quick(1));
        let mut server = if greeted {
            slack.greet(1).await
        } else {
            slack.accept().await
        };
        server
            .send(&json!({"type": "disconnect", "reason": "link_disabled"}))
            .await;
        server.closed().await;
        let error = soon(&mut mode.task).await.unwrap().unwrap_err().to_string();
        assert!(error.contains("switch it on"), "{error}");
    }
}

#[tokio::test]
async fn an_error_that_can_not_be_retried_ends_all_connections_properly() {
    let (slack, api) = Slack::start().await;
    let mut mode = SocketMode::start(&api, quick(2));
    let mut first = slack.greet(1).await;
    let second = slack.greet(2).await;
    slack.refuse("token_revoked");
    drop(second);
    first.closed().await;
    let error = soon(&mut mode.task).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("token_revoked"), "{error}");
}

#[tokio::test]
async fn a_wrong_token_is_fatal_at_the_first_call() {
    for (code, expect) in [
        ("invalid_auth", "copy it again"),
        ("not_allowed_token_type", "app-level token"),
        ("missing_scope", "add it to the app"),
        ("team_disabled", "team_disabled"),
    ] {
        let (slack, api) = Slack::start().await;
        slack.refuse(code);
        let mut mode = SocketMode::start(&api, quick(1));
        let error = soon(&mut mode.task).await.unwrap().unwrap_err().to_string();
        assert!(error.contains(code) && error.contains(expect), "{error}");
        assert_eq!(slack.asked(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_can_not_be_had_for_now_leaves_the_others_and_comes_later() {
    let refused = |code: &str| Answer {
        error: Some(code.into()),
        ..Answer::default()
    };
    let page = |status| Answer {
        status,
        body: Some(json!("<html>Who are you?</html>")),
        ..Answer::default()
    };
    for answer in [
        refused("org_login_required"),
        refused("accesslimited"),
        refused("a_new_error"),
        page(401),
        page(403),
        page(404),
        page(500),
        page(200),
    ] {
        let (slack, api) = Slack::start().await;
        let mut mode = SocketMode::start(&api, quick(2));
        let first = slack.greet(1).await;
        let mut second = slack.greet(2).await;
        mode.connected().await;
        second.send(&numbered(0)).await;
        mode.numbered(0).await;
        slack.answer(Answer {
            times: u64::MAX,
            ..answer.clone()
        });
        drop(first);
        slack.asked_times(4).await;
        second.send(&numbered(1)).await;
        mode.numbered(1).await;
        slack.open_again();
        let mut again = slack.greet(2).await;
        again.send(&numbered(2)).await;
        mode.numbered(2).await;
        assert!(!mode.task.is_finished(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_429_holds_all_connections_back() {
    let (slack, api) = Slack::start().await;
    slack.answer(Answer {
        times: u64::MAX,
        retry_after: Some(3000),
        ..Answer::default()
    });
    let mut mode = SocketMode::start(&api, quick(1));
    let (_, retry_in) = mode.disconnected().await;
    assert_eq!(retry_in, Duration::from_secs(3000));
}

#[tokio::test]
async fn a_server_that_says_no_hello_is_left() {
    let (slack, api) = Slack::start().await;
    let mut config = quick(1);
    config.each.opening = Duration::from_secs(3);
    let mut mode = SocketMode::start(&api, config);
    let mut server = slack.accept().await;
    // Reading answers pings.
    server.closed().await;
    let (reason, _) = mode.disconnected().await;
    assert!(reason.contains("hello within 3 s"), "{reason}");
    let _server = slack.greet(1).await;
    mode.connected().await;
}

#[tokio::test]
async fn a_server_that_says_something_else_than_hello_is_there() {
    let (slack, api) = Slack::start().await;
    let mut mode = SocketMode::start(&api, quick(1));
    let mut server = slack.accept().await;
    server.send(&numbered(1)).await;
    mode.connected().await;
    mode.numbered(1).await;
    assert_eq!(server.text().await, json!({"envelope_id": "E1"}));
}

#[tokio::test]
async fn a_half_open_connection_is_found_out_and_replaced_while_another_one_lives() {
    let (slack, api) = Slack::start().await;
    let mut mode = SocketMode::start(&api, impatient(2));
    // Nobody reads from it or writes to it, so that nothing is heard of it.
    let _frozen = slack.greet(1).await;
    let mut living = slack.greet(2).await;
    mode.connected().await;
    let rebuilt = slack.greet(3);
    let mut rebuilt = tokio::select! {
        rebuilt = rebuilt => rebuilt,
        () = living.pongs() => unreachable!(),
    };
    // Events that Slack sent on it may be lost.
    assert!(matches!(mode.next().await, Incoming::Deaf));
    living.send(&numbered(1)).await;
    mode.numbered(1).await;
    rebuilt.send(&numbered(2)).await;
    mode.numbered(2).await;
    assert_eq!(mode.health.strangers(), 1, "Slack still has the deaf one");
    assert_eq!(mode.health.open(), 2);
}

#[tokio::test]
async fn a_connection_that_is_cut_comes_again_time_and_again_and_none_is_leaked() {
    let (slack, mut mode, mut server) = one(quick(1)).await;
    for round in 0..10 {
        drop(server);
        server = slack.greet(1).await;
        mode.disconnected().await;
        mode.connected().await;
        server.send(&numbered(round)).await;
        mode.numbered(round).await;
        assert_eq!(mode.health.open(), 1);
    }
    assert_eq!(slack.asked(), 11);
}

#[tokio::test]
async fn a_storm_of_refreshes_makes_no_storm_of_connections() {
    let (slack, mut mode, mut old) = one(quick(1)).await;
    for round in 1..20 {
        for _ in 0..3 {
            old.send(&json!({"type": "disconnect", "reason": "refresh_requested"}))
                .await;
        }
        let mut new = slack.greet(2).await;
        new.send(&numbered(round)).await;
        mode.numbered(round).await;
        assert_eq!(
            new.text().await,
            json!({"envelope_id": format!("E{round}")})
        );
        old.closed().await;
        assert_eq!(mode.health.strangers(), 0);
        old = new;
    }
    assert_eq!(slack.asked(), 20);
    assert!(mode.incoming.recv().now_or_never().is_none(), "one session");
}

#[tokio::test]
async fn a_connection_that_slack_ends_before_the_new_one_is_there_is_a_loss() {
    let (slack, mut mode, mut old) = one(quick(1)).await;
    slack.refuse("internal_error");
    old.send(&json!({"type": "disconnect", "reason": "warning"}))
        .await;
    old.close().await;
    let (reason, _) = mode.disconnected().await;
    assert!(
        reason.contains("closed the connection with code 1000"),
        "{reason}"
    );
    slack.open_again();
    let _new = slack.greet(1).await;
    loop {
        if let Incoming::Connected(_) = mode.next().await {
            break;
        }
    }
}

#[tokio::test]
async fn a_connection_that_slack_asked_to_leave_is_not_a_failure_however_short_it_was() {
    let mut config = quick(1);
    // A failure would be waited out for longer than this test lives.
    config.each.backoff_first = Duration::from_millis(100);
    config.each.backoff_max = Duration::from_secs(3600);
    let (slack, mut mode, mut server) = one(config).await;
    for round in 0..8 {
        for reason in ["warning", "refresh_requested"] {
            server
                .send(&json!({"type": "disconnect", "reason": reason}))
                .await;
        }
        // Slack closes it, in order or not.
        match round % 2 {
            0 => server.close().await,
            _ => drop(server),
        }
        server = slack.greet(1).await;
        loop {
            match mode.next().await {
                Incoming::Disconnected { retry_in, .. } => {
                    assert!(retry_in <= Duration::from_secs(5), "{retry_in:?}");
                }
                Incoming::Connected(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            mode.frame().await.event.unwrap().text("/type").as_deref(),
            Some("hello")
        );
    }
}

#[tokio::test]
async fn acknowledgements_and_pings_go_out_while_nobody_takes_what_comes() {
    let (slack, api) = Slack::start().await;
    let mut mode = SocketMode::with_room(&api, impatient(1), 1);
    let mut server = slack.greet(1).await;
    mode.connected().await;
    let filler = "x".repeat(10_000);
    let envelope = move |n: i64| {
        json!({
            "envelope_id": format!("E{n}"), "type": "events_api",
            "payload": {"event": {"type": "message", "n": n, "text": filler}},
        })
    };
    let count = 5_000;
    server.send(&envelope(0)).await;
    let first = mode.frame().await.ack.unwrap();

    // More than is read ahead and fits into the sockets' buffers.
    let (mut sink, mut stream) = server.0.split();
    let sending = tokio::spawn(async move {
        for n in 1..=count {
            let message = Message::text(envelope(n).to_string());
            sink.send(message).await.unwrap();
        }
        sink
    });
    // Our pings come for longer than a silence, and then the acknowledgement.
    let mut next = async || soon(stream.next()).await.unwrap().unwrap();
    for _ in 0..12 {
        assert!(next().await.is_ping());
    }
    first.confirm();
    let ack = loop {
        if let Message::Text(text) = next().await {
            break text;
        }
    };
    assert_eq!(ack.as_str(), r#"{"envelope_id":"E0"}"#);
    assert!(!sending.is_finished(), "what nobody takes is not read");

    for n in 1..=count {
        mode.numbered(n).await;
    }
    let mut acked = 0;
    while acked < count {
        acked += i64::from(next().await.is_text());
    }
    let _sink = soon(sending).await.unwrap();
    assert_eq!(slack.asked(), 1, "it is still the first connection");
}

#[tokio::test]
async fn a_foreign_connection_is_reported() {
    let (slack, api) = Slack::start().await;
    let mut mode = SocketMode::start(&api, quick(1));
    let _server = slack.greet(5).await;
    mode.connected().await;
    assert_eq!((mode.health.reported(), mode.health.strangers()), (5, 4));
}
