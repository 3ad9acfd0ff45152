//! Custody and ledger, without a bridge around them.

use super::*;
use crate::state::State;

fn admitted(ledger: &Ledger, id: &str) -> Option<Custody> {
    match ledger.admit(EventId::Given { id, said: None }, None) {
        Admission::New(custody) => Some(custody),
        Admission::Again => None,
    }
}

#[tokio::test]
async fn an_event_is_safe_when_all_its_parts_are() {
    let ledger = Ledger::default();
    let custody = admitted(&ledger, "Ev1").unwrap();
    let part = custody.part();
    let mut safe = custody.signal();
    custody.safe();
    assert!(safe.try_recv().is_err());
    assert!(
        admitted(&ledger, "Ev1").is_none(),
        "what is in custody is not new"
    );
    let later = part.signal();
    part.safe();
    assert!(safe.try_recv().is_ok());
    assert!(later.await.is_ok());
    assert!(admitted(&ledger, "Ev1").is_none(), "nor is what is safe");
}

#[test]
fn an_event_that_was_let_go_is_new_when_it_comes_again() {
    let ledger = Ledger::default();
    let custody = admitted(&ledger, "Ev1").unwrap();
    let (part, mut safe) = (custody.part(), custody.signal());
    custody.safe();
    drop(part);
    assert!(safe.try_recv().is_err());
    assert!(admitted(&ledger, "Ev1").is_some());
}

#[test]
fn what_came_live_and_what_history_has_are_the_same_but_live_events_never_are() {
    let is_new = |ledger: &Ledger, id| match ledger.admit(id, None) {
        Admission::New(custody) => {
            custody.safe();
            true
        }
        Admission::Again => false,
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
        said: Some(said),
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
fn the_mark_stays_before_what_is_not_safe_and_before_a_gap() {
    let ledger = Ledger::default();
    assert_eq!(ledger.safe_until(), 0);
    let minute = 60_000_000;
    let began = 100 * minute;
    ledger.begin(began);
    ledger.hear(began + 1);
    assert_eq!(ledger.safe_until(), began + 1);
    let (a, b) = (admitted(&ledger, "a").unwrap(), admitted(&ledger, "b"));
    ledger.hear(began + 20 * minute);
    a.safe();
    assert_eq!(ledger.safe_until(), began + 1, "b came then");
    // What is let go of may come again, and then counts from when it came first.
    drop(b);
    assert_eq!(ledger.safe_until(), began + 1);
    assert_eq!(ledger.overdue(began + minute), None);
    admitted(&ledger, "b").unwrap().safe();
    assert_eq!(ledger.safe_until(), began + 20 * minute);
    // A gap is read from before its begin, but not from before we listened at all.
    assert_eq!(
        ledger.freeze(Micros::MAX),
        began + 10 * minute,
        "Slack's retries come out of order"
    );
    assert_eq!(ledger.freeze(began + 1), began);
    ledger.hear(began + 30 * minute);
    assert_eq!(ledger.safe_until(), began + 1);
    ledger.thaw();
    assert_eq!(ledger.safe_until(), began + 30 * minute);
    drop(admitted(&ledger, "c"));
    let overdue = ledger.overdue(began + 41 * minute);
    assert_eq!(overdue, Some(began + 30 * minute), "Slack gave it up");
    assert_eq!(ledger.overdue(began + 41 * minute), None);
}

#[tokio::test]
async fn ids_are_remembered_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let state = State::open(folder.path()).unwrap();
        let journal = state.journal().unwrap();
        let (ledger, activity) = Ledger::open(&journal).await.unwrap();
        ledger.begin(7);
        ledger.hear(9);
        admitted(&ledger, "Ev1").unwrap().safe();
        drop(admitted(&ledger, "Ev2"));
        ledger.hear(11);
        let stopped = CancellationToken::new();
        stopped.cancel();
        ledger.keep(journal, activity, stopped).await;
    }
    let state = State::open(folder.path()).unwrap();
    let (ledger, _) = Ledger::open(&state.journal().unwrap()).await.unwrap();
    assert_eq!((ledger.safe_until(), ledger.heard()), (9, 11));
    assert!(admitted(&ledger, "Ev1").is_none());
    assert!(admitted(&ledger, "Ev2").is_some());
}
