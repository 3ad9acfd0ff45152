//! Outages of a host that runs: a connection that went deaf, a process that stood still, a silence before a late event.

use std::time::Duration;

use djangobot_tests::eventually;
use local_slack::{Connection, Options};

use super::{is_live, logged, said};
use crate::app::App;
use crate::deployment::Transport;

/// A Slack that soon holds an event for unacknowledged.
fn hasty() -> Options {
    Options {
        ack_timeout: Duration::from_secs(1),
        ..Options::default()
    }
}

/// The message `after` comes live and once, and no other comes.
async fn after_comes_live(app: &mut App, transport: Transport) {
    let event = app.next("slack.message").await;
    assert_eq!(said(&event).0, "after", "{transport:?}");
    assert!(is_live(&event), "{transport:?}: {event:#}");
    assert!(app.left("slack.message").is_empty());
}

async fn goes_deaf(transport: Transport) {
    let deployment = super::deployment(transport, hasty()).await;
    let control = &deployment.control;
    let mut app = deployment.app(&["slack.message"]).await;
    let bridge = deployment.bridge().await;
    deployment.say("before");
    assert_eq!(said(&app.next("slack.message").await).0, "before");
    assert_eq!(control.freeze(None), 1, "{transport:?}");
    for n in 0..5 {
        deployment.say(&n.to_string());
    }
    // The deaf connection is given up after up to 25 s, which is later than Slack gives anything again here.
    for n in 0..5 {
        let event = app.next("slack.message").await;
        assert_eq!(said(&event), (n.to_string(), 2), "{transport:?}");
        assert_eq!(event["djangobot"]["retry_reason"], "history");
    }
    logged(&bridge, "Slack's history was read").await;
    // Slack notices by now that nobody is at the other end: until then it may give the next event there first.
    let connections = control.connections();
    for deaf in connections.iter().filter(|connection| connection.frozen) {
        control.drop_connections(Some(deaf.id));
    }
    let are_gone = |connections: &[Connection]| connections.iter().all(|it| !it.frozen);
    control.wait_until(are_gone).await;
    deployment.say("after");
    after_comes_live(&mut app, transport).await;
}

#[tokio::test]
async fn messages_lost_on_a_deaf_connection_are_read_from_history_once_and_in_order() {
    tokio::join!(goes_deaf(Transport::Rtm), goes_deaf(Transport::SocketMode));
}

/// A little more than the minute from which on a time is an outage.
const OUTAGE: Duration = Duration::from_secs(62);

async fn stands_still(transport: Transport) {
    let deployment = super::deployment(transport, hasty()).await;
    let mut app = deployment.app(&["slack.message"]).await;
    let bridge = deployment.bridge().await;
    deployment.say("before");
    assert_eq!(said(&app.next("slack.message").await).0, "before");
    // Attempts that arrive would wait in the kernel's buffers and come live when it goes on.
    deployment.lose(5 * 4).await;
    bridge.freeze();
    for n in 0..5 {
        deployment.say(&n.to_string());
    }
    tokio::time::sleep(OUTAGE).await;
    deployment.nothing_is_given_again().await;
    bridge.thaw();
    for n in 0..5 {
        let event = app.next("slack.message").await;
        let (text, attempt) = said(&event);
        assert_eq!(text, n.to_string(), "{transport:?}");
        // RTM's socket has it all still.
        if transport != Transport::Rtm {
            assert_eq!(attempt, 2, "{transport:?}");
        }
    }
    // On RTM, the new connection that follows is one more time of some seconds in which nobody listened.
    eventually("the outage is logged with its length", async || {
        let lines = bridge.logs("nobody listened to Slack for");
        let mut seconds = lines.iter().filter_map(|line| line["seconds"].as_u64());
        seconds.any(|seconds| seconds >= 60).then_some(())
    })
    .await;
    logged(&bridge, "Slack's history was read").await;
    deployment.say("after");
    // A socket that stood still is made once more, and this may be said meanwhile.
    let event = app.next("slack.message").await;
    assert_eq!(said(&event).0, "after", "{transport:?}");
    assert!(
        is_live(&event) || transport != Transport::Http,
        "{transport:?}: {event:#}"
    );
    assert!(app.left("slack.message").is_empty());
}

#[tokio::test]
async fn messages_said_while_the_host_stood_still_arrive_once_and_in_order() {
    // No clock that a test can set makes a process believe that it stood still.
    tokio::join!(
        stands_still(Transport::Rtm),
        stands_still(Transport::SocketMode),
        stands_still(Transport::Http)
    );
}

/// Nothing comes for more than a minute, and then an event at Slack's third attempt: messages that Slack gave up
/// meanwhile are read.
async fn comes_late_after_a_silence(transport: Transport, silence_begins_with_the_session: bool) {
    let deployment = super::deployment(transport, hasty()).await;
    let mut app = deployment.app(&["slack.message"]).await;
    let mut bridge = deployment.bridge().await;
    let say = |text: &str| deployment.say(text);
    say("before");
    assert_eq!(said(&app.next("slack.message").await).0, "before");
    // A late event alone does not show an outage, nor does a silence.
    deployment.lose(2).await;
    say("late");
    assert_eq!(said(&app.next("slack.message").await), ("late".into(), 3));
    if silence_begins_with_the_session {
        // The hello is what came last.
        bridge.terminate().await;
        bridge = deployment.bridge().await;
    }
    tokio::time::sleep(OUTAGE).await;
    if !silence_begins_with_the_session {
        say("quiet");
        assert_eq!(said(&app.next("slack.message").await), ("quiet".into(), 1));
    }
    assert!(!deployment.history_was_read(), "{transport:?}");
    deployment.lose(2 * 4).await;
    say("lost 1");
    say("lost 2");
    deployment.nothing_is_given_again().await;
    assert!(!deployment.history_was_read(), "{transport:?}");
    deployment.lose(2).await;
    say("late again");
    for expect in [("late again", 3), ("lost 1", 2), ("lost 2", 2)] {
        let (text, attempt) = said(&app.next("slack.message").await);
        assert_eq!((&*text, attempt), expect, "{transport:?}");
    }
    logged(&bridge, "nobody listened to Slack for").await;
    logged(&bridge, "Slack's history was read").await;
    say("after");
    after_comes_live(&mut app, transport).await;
}

#[tokio::test]
async fn an_event_that_comes_late_after_a_silence_shows_an_outage() {
    tokio::join!(
        comes_late_after_a_silence(Transport::SocketMode, false),
        comes_late_after_a_silence(Transport::Http, true)
    );
}
