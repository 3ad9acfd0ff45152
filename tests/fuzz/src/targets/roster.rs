//! The roster that events about users and conversations make, and the snapshot in which it outlives a restart.
//!
//! An input is events between zero bytes, or a snapshot.

use djangobot_event::Event;
use djangobot_slack::Roster;

use crate::{Target, pieces, proportion, samples};

pub(crate) const TARGET: Target = Target {
    name: "roster",
    check,
    seeds,
    words: &[
        "\"id\":",
        "\"name\":",
        "\"user\":",
        "\"channel\":",
        "\"type\":\"",
        "channel_joined",
        "im_created",
        "user_change",
        "bot_changed",
        "subteam_created",
        "channel_id_changed",
        "\"version\":1",
        "null",
    ],
    longest: 1024,
};

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = pieces::texts(samples::ROSTER_EVENTS.iter().copied());
    seeds.push(samples::ROSTER_EVENTS.join("\0").into_bytes());
    seeds.push(snapshot_of(&filled(
        seeds.last().map_or(&[], Vec::as_slice),
    )));
    seeds.extend(samples::of_slack());
    seeds
}

fn check(input: &[u8]) {
    let roster = proportion::bounded(input, 256, || filled(input));
    let saved = snapshot_of(&roster);
    let again = Roster::new();
    again.restore(&saved).expect("what was saved can be read");
    assert_eq!(again.len(), roster.len());
    assert_eq!(snapshot_of(&again), saved);

    let other = Roster::new();
    let restored = proportion::bounded(input, 256, || other.restore(input).is_ok());
    assert!(restored || other.is_empty(), "half a snapshot was taken");
}

/// A roster that has seen the events of `input`, each twice: then the second says nothing new.
fn filled(input: &[u8]) -> Roster {
    let roster = Roster::new();
    roster.set_self("U0");
    for text in pieces::parts(input) {
        if let Ok(event) = Event::parse(text.to_vec()) {
            roster.apply(&event);
            assert!(!roster.apply(&event), "the same event was news twice");
        }
    }
    roster
}

/// In an order of its own: the tables have none.
fn snapshot_of(roster: &Roster) -> Vec<u8> {
    let bytes = roster.snapshot().expect("a roster can be saved");
    let mut saved: serde_json::Value = serde_json::from_slice(&bytes).expect("it is JSON");
    for table in saved.as_object_mut().into_iter().flatten() {
        if let Some(entries) = table.1.as_array_mut() {
            entries.sort_by_key(ToString::to_string);
        }
    }
    saved.to_string().into_bytes()
}
