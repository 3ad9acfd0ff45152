//! Tests of custody and ledger, without a bridge around them.

use super::*;
use crate::state::State;

fn admitted(ledger: &Ledger, id: &str) -> Option<Custody> {
    match ledger.admit(
        EventId::Given {
            id,
            history_id: None,
        },
        None,
    ) {
        Admission::New(custody) => Some(custody),
        Admission::Duplicate => None,
    }
}

#[tokio::test]
async fn an_event_is_safe_when_all_its_parts_are() {
    let ledger = Ledger::default();
    let custody = admitted(&ledger, "Ev1").unwrap();
    let part = custody.add_part();
    let mut safe = custody.signal();
    custody.mark_safe();
    assert!(safe.try_recv().is_err());
    assert!(
        admitted(&ledger, "Ev1").is_none(),
        "what is in custody is not new"
    );
    let later = part.signal();
    part.mark_safe();
    assert!(safe.try_recv().is_ok());
    assert!(later.await.is_ok());
    assert!(admitted(&ledger, "Ev1").is_none(), "nor is what is safe");
}

#[test]
fn an_event_that_was_abandoned_is_new_when_it_comes_again() {
    let ledger = Ledger::default();
    let custody = admitted(&ledger, "Ev1").unwrap();
    let (part, mut safe) = (custody.add_part(), custody.signal());
    custody.mark_safe();
    drop(part);
    assert!(safe.try_recv().is_err());
    assert!(admitted(&ledger, "Ev1").is_some());
}

#[test]
fn a_live_event_and_its_copy_in_history_are_one_but_two_live_events_never_are() {
    let is_new = |ledger: &Ledger, id| match ledger.admit(id, None) {
        Admission::New(custody) => {
            custody.mark_safe();
            true
        }
        Admission::Duplicate => false,
    };
    let ledger = Ledger::default();
    assert!(is_new(&ledger, EventId::Live("a")));
    assert!(is_new(&ledger, EventId::Live("a")));
    assert!(!is_new(&ledger, EventId::History("a")));
    assert!(is_new(&ledger, EventId::History("b")));
    assert!(!is_new(&ledger, EventId::History("b")));
    assert!(!is_new(&ledger, EventId::Live("b")));
    let given = |id, said| EventId::Given {
        id,
        history_id: Some(said),
    };
    assert!(!is_new(&ledger, given("Ev1", "b")));
    assert!(is_new(&ledger, given("Ev2", "c")));
    assert!(!is_new(&ledger, EventId::History("c")));
    assert!(!is_new(&ledger, given("Ev2", "c")), "given again");
    assert!(
        is_new(&ledger, given("Ev3", "c")),
        "Slack says it is another"
    );
}

#[test]
fn the_safe_moment_stays_before_events_that_are_not_safe_and_before_a_gap() {
    let ledger = Ledger::default();
    assert_eq!(ledger.safe_until(), Ts::default());
    // Minutes and microseconds after we began to listen.
    let at = |minutes: u64, micros: u64| Ts::from_micros((100 + minutes) * 60_000_000 + micros);
    ledger.start_listening(at(0, 0));
    ledger.note_listening(at(0, 1));
    assert_eq!(ledger.safe_until(), at(0, 1));
    let (a, b) = (admitted(&ledger, "a").unwrap(), admitted(&ledger, "b"));
    ledger.note_listening(at(20, 0));
    a.mark_safe();
    assert_eq!(ledger.safe_until(), at(0, 1), "b came then");
    // An abandoned event may come again, and then counts from when it came first.
    drop(b);
    assert_eq!(ledger.safe_until(), at(0, 1));
    assert_eq!(ledger.take_overdue(at(1, 0)), None);
    admitted(&ledger, "b").unwrap().mark_safe();
    assert_eq!(ledger.safe_until(), at(20, 0));
    // A gap is read from before its begin, but not from before we listened at all.
    assert_eq!(
        ledger.open_gap(Ts::MAX),
        at(10, 0),
        "Slack's retries come out of order"
    );
    assert_eq!(ledger.open_gap(at(0, 1)), at(0, 0));
    ledger.note_listening(at(30, 0));
    assert_eq!(ledger.safe_until(), at(0, 1));
    ledger.close_gap();
    assert_eq!(ledger.safe_until(), at(30, 0));
    drop(admitted(&ledger, "c"));
    let overdue = ledger.take_overdue(at(41, 0));
    assert_eq!(overdue, Some(at(30, 0)), "Slack gave it up");
    assert_eq!(ledger.take_overdue(at(41, 0)), None);
}

#[tokio::test]
async fn ids_are_remembered_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let state = State::open(folder.path()).unwrap();
        let journal = state.journal().unwrap();
        let (ledger, activity) = Ledger::open(&journal).await.unwrap();
        ledger.start_listening(Ts::from_micros(7));
        ledger.note_listening(Ts::from_micros(9));
        admitted(&ledger, "Ev1").unwrap().mark_safe();
        drop(admitted(&ledger, "Ev2"));
        ledger.note_listening(Ts::from_micros(11));
        let stopped = CancellationToken::new();
        stopped.cancel();
        ledger.save_until(journal, activity, stopped).await;
    }
    let state = State::open(folder.path()).unwrap();
    let (ledger, _) = Ledger::open(&state.journal().unwrap()).await.unwrap();
    assert_eq!(
        (
            ledger.safe_until().micros(),
            ledger.listened_until().micros()
        ),
        (9, 11)
    );
    assert!(admitted(&ledger, "Ev1").is_none());
    assert!(admitted(&ledger, "Ev2").is_some());
}
