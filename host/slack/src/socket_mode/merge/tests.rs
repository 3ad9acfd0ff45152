use djangobot_event::Event;

use super::*;
use crate::testing::soon;
use crate::transport::{Frame, Origin};

/// A frame with a number and, in seconds, a time.
fn frame(n: u64, at: Option<u64>) -> Incoming {
    let at = at.map_or(String::new(), |at| format!(r#","event_ts":"{at}.000001""#));
    Incoming::Frame(Frame {
        event: Ok(Event::parse(format!(r#"{{"n":{n}{at}}}"#)).unwrap()),
        origin: Origin::default(),
        ack: None,
        received: std::time::SystemTime::now(),
        arrived: std::time::Instant::now(),
    })
}

fn number(incoming: Option<Incoming>) -> i64 {
    match incoming {
        Some(Incoming::Frame(frame)) => {
            let n = frame.event.unwrap().get("/n").and_then(|n| n.as_i64());
            n.unwrap()
        }
        other => panic!("{other:?}"),
    }
}

struct Stage {
    merger: Merger,
    out: mpsc::Receiver<Incoming>,
    cancel: CancellationToken,
}

fn stage(room: usize) -> Stage {
    let (to, out) = mpsc::channel(room);
    let (merger, cancel) = (Merger::new(to), CancellationToken::new());
    tokio::spawn(merger.clone().run(cancel.clone()));
    Stage {
        merger,
        out,
        cancel,
    }
}

impl Stage {
    fn lane(&self) -> Lane {
        let lane = self.merger.lane();
        lane.open();
        lane
    }

    async fn next(&mut self) -> i64 {
        number(soon(self.out.recv()).await)
    }

    async fn numbers(&mut self, count: usize) -> Vec<i64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(self.next().await);
        }
        numbers
    }
}

#[tokio::test]
async fn events_of_one_connection_keep_slacks_order_whatever_their_times() {
    let mut stage = stage(2);
    let lane = stage.lane();
    for (n, at) in [(1, Some(7)), (2, None), (3, Some(5)), (4, Some(6))] {
        lane.push(frame(n, at), 1);
    }
    assert_eq!(stage.numbers(4).await, [1, 2, 3, 4]);
    assert!(lane.is_empty());
}

#[tokio::test]
async fn events_of_several_connections_go_by_time_once_all_have_read() {
    let mut stage = stage(64);
    let (a, b) = (stage.lane(), stage.lane());
    let mut rounds = stage.merger.rounds();
    a.push(frame(3, Some(3)), 1);
    a.push(frame(5, Some(5)), 1);
    a.push(frame(6, None), 1);
    soon(rounds.changed()).await.unwrap();
    let round = *rounds.borrow_and_update();
    a.has_read(round, false);
    assert!(stage.out.try_recv().is_err(), "the other has not read yet");
    // An event that waited in the other's socket.
    for n in [1, 2, 4, 9] {
        b.push(frame(n, Some(n)), 1);
    }
    b.has_read(round, false);
    assert_eq!(stage.numbers(6).await, [1, 2, 3, 4, 5, 6]);

    // An event that is newer than all that were there when the round began waits for the next one.
    soon(rounds.changed()).await.unwrap();
    let round = *rounds.borrow_and_update();
    a.push(frame(8, Some(8)), 1);
    a.has_read(round, false);
    b.has_read(round, false);
    assert_eq!(stage.numbers(2).await, [8, 9]);
}

#[tokio::test]
async fn nothing_overtakes_what_a_connection_had_no_room_to_read() {
    let mut stage = stage(64);
    let (a, b) = (stage.lane(), stage.lane());
    let mut rounds = stage.merger.rounds();
    a.push(frame(1, Some(1)), READ_AHEAD);
    b.push(frame(2, Some(2)), 1);
    b.push(frame(4, Some(4)), 1);
    assert!(!a.has_room());
    for leaves_some in [true, false] {
        soon(rounds.changed()).await.unwrap();
        let round = *rounds.borrow_and_update();
        b.has_read(round, false);
        if !leaves_some {
            a.push(frame(3, Some(3)), 1);
        }
        a.has_read(round, leaves_some);
        if leaves_some {
            assert_eq!(stage.next().await, 1);
            soon(a.moved()).await;
            assert!(a.has_room());
        }
    }
    assert_eq!(stage.numbers(3).await, [2, 3, 4]);
}

#[tokio::test]
async fn a_connection_that_ends_is_not_waited_for_and_what_it_brought_goes_on() {
    let mut stage = stage(64);
    let (a, b) = (stage.lane(), stage.lane());
    a.push(frame(1, Some(1)), 1);
    b.push(frame(2, Some(2)), 1);
    drop(a);
    drop(b);
    assert_eq!(stage.numbers(2).await, [1, 2]);
    let one = stage.lane();
    one.push(frame(3, None), 1);
    assert_eq!(stage.next().await, 3);
}

#[tokio::test]
async fn nothing_goes_on_before_its_session_and_a_late_one_holds_up_no_round() {
    let mut stage = stage(64);
    let a = stage.lane();
    let late = stage.merger.lane();
    late.push(frame(9, Some(9)), 1);
    a.push(frame(1, Some(1)), 1);
    assert_eq!(stage.next().await, 1);
    assert!(stage.out.try_recv().is_err());
    drop(a);
    late.open();
    assert_eq!(stage.next().await, 9);
}

#[tokio::test]
async fn it_ends_all_when_nobody_takes_anything_more() {
    let stage = stage(1);
    drop(stage.out);
    soon(stage.cancel.cancelled()).await;
}
