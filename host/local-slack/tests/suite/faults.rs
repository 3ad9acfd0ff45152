//! Faults on demand: in calls of the Web API, on sockets, in what the app is given.

use local_slack::{Answer, Fault, Happening, Outcome, Reason, Storm};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::app::App;
use crate::client::{Rtm, SocketMode, call, hasty, http, soon, start, start_with};

fn fault(happening: Happening) -> Fault {
    Fault {
        happening,
        times: 1,
        spare: 0,
        probability: None,
        seed: 1,
    }
}

fn event(number: u64) -> Value {
    json!({"type": "team_join", "number": number})
}

/// The numbers of the next events on a connection, each acknowledged.
async fn numbers(app: &mut SocketMode, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let number = &app.take().await["payload"]["event"]["number"];
        numbers.push(number.as_u64().unwrap());
    }
    numbers
}

#[tokio::test]
async fn a_share_of_the_posts_is_carried_out_and_answered_with_an_error() {
    let slack = start().await;
    let control = slack.control();
    control.answer(
        "chat.postMessage",
        Answer {
            status: 500,
            perform: true,
            probability: Some(0.3),
            seed: 5,
            ..Answer::default()
        },
    );
    let mut refused = 0;
    for _ in 0..40 {
        let post = json!({"channel": "general", "text": "x"});
        refused += u32::from(call(&slack, "chat.postMessage", post).await["ok"] == false);
    }
    assert!((4..24).contains(&refused), "{refused}");
    let history = json!({"channel": control.channel_id("general"), "limit": 999});
    let history = call(&slack, "conversations.history", history).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 40);
}

#[tokio::test]
async fn a_body_breaks_off_after_the_call_was_carried_out() {
    let slack = start().await;
    let control = slack.control();
    let truncate = Answer {
        truncate: true,
        ..Answer::default()
    };
    control.answer("*", truncate);
    let request = http().post(format!("{}chat.postMessage", slack.api_url()));
    let request = request.bearer_auth(slack.token());
    let response = soon(
        request
            .form(&[("channel", "general"), ("text", "x")])
            .send(),
    );
    let response = response.await.unwrap();
    assert!(response.content_length() > Some(100));
    assert!(soon(response.bytes()).await.is_err());
    assert_eq!(control.calls(None)[0].answer["ok"], true);
    assert_eq!(call(&slack, "auth.test", json!({})).await["ok"], true);
}

#[tokio::test]
async fn a_handshake_is_refused_or_cut() {
    let slack = start().await;
    let control = slack.control();
    let url = call(&slack, "rtm.connect", json!({})).await["url"].clone();
    for answer in [
        Answer {
            status: 503,
            ..Answer::default()
        },
        Answer {
            hang_up: true,
            ..Answer::default()
        },
    ] {
        control.answer("websocket", answer);
        let refused = tokio_tungstenite::connect_async(url.as_str().unwrap());
        assert!(soon(refused).await.is_err());
    }
    let mut rtm = Rtm::open(url.as_str().unwrap()).await;
    assert_eq!(rtm.event().await["type"], "hello");
}

#[tokio::test]
async fn an_envelope_is_lost_doubled_delayed_or_overtaken() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    let mut app = SocketMode::connect(&slack).await;

    control.fault(fault(Happening::Lose));
    control.event(&event(1));
    let envelope = app.take().await;
    assert_eq!(envelope["retry_attempt"], 1);

    control.fault(fault(Happening::Duplicate));
    let number = control.event(&event(2));
    let (one, two) = (app.take().await, app.take().await);
    assert_eq!(one, two);
    assert_eq!(one["retry_attempt"], 0);
    assert_eq!(soon(control.settled(number)).await.attempts.len(), 1);

    control.fault(fault(Happening::Delay { ms: 20 }));
    control.event(&event(3));
    control.event(&event(4));
    assert_eq!(numbers(&mut app, 2).await, [4, 3]);

    control.fault(fault(Happening::Reorder));
    control.event(&event(5));
    control.event(&event(6));
    assert_eq!(numbers(&mut app, 2).await, [6, 5]);
    control.fault(fault(Happening::Reorder));
    control.event(&event(7));
    // None comes that could overtake it.
    assert_eq!(numbers(&mut app, 1).await, [7]);

    control.fault(fault(Happening::Garble));
    control.event(&event(8));
    let Some(Message::Text(text)) = app.socket().message().await else {
        panic!("no text frame came");
    };
    assert!(serde_json::from_str::<Value>(&text).is_err());
    assert_eq!(numbers(&mut app, 1).await, [8]);
    assert!(control.faults().is_empty());
}

#[tokio::test]
async fn an_acknowledgement_is_lost_or_late() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    let mut app = SocketMode::connect(&slack).await;
    for happening in [Happening::LoseAck, Happening::LateAck { ms: 110 }] {
        control.fault(fault(happening));
        let number = control.event(&event(1));
        assert_eq!(numbers(&mut app, 2).await, [1, 1]);
        let delivery = soon(control.settled(number)).await;
        assert_eq!(delivery.outcome, Outcome::Acknowledged);
        assert_eq!(delivery.attempts.len(), 2);
    }
    soon(control.wait_for_delivery(|one| one.attempts[0].late_acks == 1)).await;
}

#[tokio::test]
async fn a_connection_is_cut_silenced_or_disconnected_with_an_envelope_on_its_way() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    for happening in [
        Happening::Drop,
        Happening::Disconnect {
            reason: Reason::RefreshRequested,
        },
        Happening::Freeze { ms: 0 },
    ] {
        let mut app = SocketMode::connect(&slack).await;
        control.fault(fault(happening));
        let number = control.event(&event(1));
        if let Happening::Disconnect { .. } = happening {
            assert_eq!(app.envelope().await["type"], "events_api");
            assert_eq!(app.envelope().await["reason"], "refresh_requested");
        }
        if let Happening::Freeze { .. } = happening {
            assert!(control.connections()[0].frozen);
        }
        let mut next = SocketMode::connect(&slack).await;
        let taken = next.take().await;
        assert!(taken["retry_attempt"].as_u64() > Some(0));
        let delivery = soon(control.settled(number)).await;
        assert_eq!(delivery.outcome, Outcome::Acknowledged);
        control.drop_connections(None);
        soon(control.wait_until(<[_]>::is_empty)).await;
    }
    let mut app = SocketMode::connect(&slack).await;
    control.fault(fault(Happening::Freeze { ms: 30 }));
    control.event(&event(2));
    assert_eq!(numbers(&mut app, 1).await, [2]);
}

#[tokio::test]
async fn a_client_that_is_read_slowly_still_gets_through() {
    let slack = start().await;
    let control = slack.control();
    let mut app = SocketMode::connect(&slack).await;
    assert_eq!(control.read_slowly(None, Some(1000)), 1);
    let number = control.event(&event(1));
    app.take().await;
    let delivery = soon(control.settled(number)).await;
    // The acknowledgement has more bytes than one sip.
    assert!(delivery.attempts[0].latency_ms > Some(40.0), "{delivery:?}");
    control.read_slowly(None, None);
}

#[tokio::test]
async fn requests_meet_the_same_faults() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    let mut app = App::start(&slack).await;

    control.fault(fault(Happening::Duplicate));
    control.event(&event(1));
    for _ in 0..2 {
        let asked = app.take().await;
        assert_eq!(asked.json()["event"]["number"], 1);
        assert_eq!(asked.header("x-slack-retry-num"), "");
    }
    for happening in [
        Happening::LoseAck,
        Happening::Lose,
        Happening::Freeze { ms: 0 },
    ] {
        control.fault(fault(happening));
        control.event(&event(2));
        if happening != Happening::Lose {
            app.take().await;
        }
        let again = app.take().await;
        assert_eq!(again.header("x-slack-retry-num"), "1", "{happening:?}");
    }
    control.fault(fault(Happening::Garble));
    control.event(&event(3));
    let broken = app.asked().await;
    assert!(serde_json::from_str::<Value>(&broken.body).is_err());
    broken.answer(400, "");
    assert_eq!(app.take().await.json()["event"]["number"], 3);
    control.fault(fault(Happening::Reorder));
    control.event(&event(4));
    control.event(&event(5));
    for number in [5, 4] {
        assert_eq!(app.take().await.json()["event"]["number"], number);
    }
    control.fault(fault(Happening::Drop));
    control.event(&event(6));
    // The request whose connection was cut may have been seen or not; the next one is.
    loop {
        let asked = app.take().await;
        assert_eq!(asked.json()["event"]["number"], 6);
        if asked.header("x-slack-retry-num") == "1" {
            break;
        }
    }
}

#[tokio::test]
async fn a_storm_strikes_and_passes() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    let storm = Storm {
        blows: 12,
        every_ms: 2,
        freeze_ms: 1,
        seed: 3,
    };
    assert_eq!(control.storm(storm.clone()).await, 0);
    let storming = control.storm(storm);
    let client = async {
        let mut connections = 0;
        loop {
            let mut app = SocketMode::connect(&slack).await;
            connections += 1;
            app.socket().ended().await;
            if connections == 3 {
                return;
            }
        }
    };
    tokio::select! {
        struck = soon(storming) => assert!(struck > 0),
        () = soon(client) => {}
    }
}

#[tokio::test]
async fn a_fault_that_is_left_on_loses_nothing() {
    let slack = start_with(hasty()).await;
    let control = slack.control();
    for (happening, seed) in [
        (Happening::Lose, 1),
        (Happening::Duplicate, 2),
        (Happening::Reorder, 3),
    ] {
        control.fault(Fault {
            times: 0,
            probability: Some(0.1),
            seed,
            ..fault(happening)
        });
    }
    let app = SocketMode::connect(&slack).await;
    let traffic = local_slack::Traffic {
        events: 300,
        open: 20,
        ..Default::default()
    };
    let drive = async {
        let report = soon(control.traffic(traffic)).await;
        // Each attempt is lost by a chance of a tenth, and there are four.
        assert!(report.acknowledged >= 298, "{report:?}");
        assert!(report.retries > 0 && report.duplicates > 0, "{report:?}");
        control.drop_connections(None);
        report
    };
    let (report, taken) = tokio::join!(drive, app.take_all());
    assert_eq!(report.acknowledged + report.given_up, 300);
    let mut numbers: Vec<String> = taken
        .iter()
        .map(|one| one["payload"]["event"]["text"].as_str().unwrap()[..18].to_owned())
        .collect();
    assert!(!numbers.is_sorted());
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len() as u64, report.acknowledged);
}
