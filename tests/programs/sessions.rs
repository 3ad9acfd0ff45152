//! Sessions with Slack: each begins with a hello, whatever the transport; and the order of what comes over several
//! connections.

use djangobot_tests::eventually;
use local_slack::{Options, Reason};
use serde_json::json;

use crate::bridge::calls;
use crate::deployment::{Deployment, Transport};
use crate::faults::{roomy, take_numbers};

/// A deployment whose Slack has an app with Socket Mode switched on.
async fn deployment(transport: Transport) -> Deployment {
    let options = Options {
        socket_mode: true,
        ..Options::default()
    };
    Deployment::over(transport, options).await
}

#[tokio::test]
async fn each_session_begins_with_a_hello_over_every_transport() {
    for transport in [Transport::Rtm, Transport::SocketMode, Transport::Http] {
        let deployment = deployment(transport).await;
        let control = &deployment.control;
        let mut app = deployment.app(&["slack.hello"]).await;
        let bridge = deployment.bridge().await;
        let hello = app.next("slack.hello").await;
        assert_eq!(hello["type"], "slack.hello");
        assert_eq!(hello["djangobot"]["transport"], transport.name());
        assert!(
            hello["djangobot"]["team_id"]
                .as_str()
                .unwrap()
                .starts_with('T'),
            "{hello:#}"
        );
        assert_eq!(
            hello.get("num_connections").is_some(),
            transport == Transport::SocketMode,
            "{hello:#}"
        );

        // A connection that takes another's place is the same session, and one after nobody was there is a new one.
        if transport == Transport::SocketMode {
            let before = control.connections();
            control.disconnect(None, Reason::RefreshRequested);
            eventually("another connection is there", async || {
                let now = control.connections();
                (now.len() == 1 && now[0].id != before[0].id).then_some(())
            })
            .await;
            assert!(app.left("slack.hello").is_empty());
        }
        if transport != Transport::Http {
            control.drop_connections(None);
            let again = app.next("slack.hello").await;
            assert_ne!(again["djangobot"]["id"], hello["djangobot"]["id"]);
        }
        drop(bridge);
    }
}

/// A list is read again for a new session 20 s after it was read last, at the earliest.
#[tokio::test]
async fn a_connection_that_replaces_another_makes_the_roster_load_its_lists_again() {
    let of = async |transport: Transport| {
        let deployment = deployment(transport).await;
        let control = &deployment.control;
        let _bridge = deployment.bridge().await;
        match transport {
            Transport::Rtm => control.drop_connections(None),
            _ => control.disconnect(None, Reason::RefreshRequested),
        };
        for list in ["conversations.list", "users.list", "usergroups.list"] {
            calls(control, list, 2).await;
        }
    };
    tokio::join!(of(Transport::Rtm), of(Transport::SocketMode));
}

#[tokio::test]
async fn events_over_two_connections_arrive_in_order() {
    let deployment = deployment(Transport::SocketMode).await;
    let config = format!("{}\n[slack]\nconnections = 2\n", roomy(&deployment.redis));
    deployment.configure(&config);
    let control = &deployment.control;
    let bridge = deployment.bridge_with(&[]).await;
    bridge.metric_is("djangobot_slack_connections", 2.0).await;
    let count = 4000;
    for n in 0..count {
        control.event(&json!({"type": "numbered", "n": n, "channel": "C1", "event_ts": format!("{}.000001", 1000 + n)}));
    }
    let mut app = deployment.app(&["slack.numbered"]).await;
    let numbers = take_numbers(&mut app, "slack.numbered", count).await;
    let out_of_order = numbers.windows(2).filter(|it| it[0] > it[1]).count();
    assert_eq!(out_of_order, 0);
}
