//! A plugin's answer: whatever its edits are, those that are allowed do not change where an event goes.
//!
//! The first byte of an input says in which direction the event goes; the rest is as in `edits`.

use djangobot_event::{Edit, Event, NewValue};
use djangobot_plugins::Direction;
use djangobot_plugins::fuzzing::check_place;

use super::edits;
use crate::{Target, json, pieces, proportion};

pub(crate) const TARGET: Target = Target {
    name: "places",
    check,
    seeds,
    words: &[
        "\0+/",
        "\0-/",
        "\n",
        "/type",
        "/djangobot",
        "/reply_channel",
        "/method",
        "/id",
        "/djangobot/hops",
        "~0",
        "~1",
        "{\"type\":\"x\"}",
    ],
    longest: 768,
};

fn seeds() -> Vec<Vec<u8>> {
    let event = r#"{"type":"message","method":"chat.postMessage","id":7,"djangobot":{"hops":1},"reply_channel":"a!b","text":"x"}"#;
    let edits = [
        "+/text\n\"y\"\0-/user",
        "+/type\n\"x\"\0+/djangobot/hops\n0\0-/reply_channel",
        "+/method\n\"x\"\0-/id\0+/id/x\n1\0+//type\n1",
        "+type\n1\0+\n{}\0-\0+/~1type\n1",
    ];
    let both = edits.iter().flat_map(|edits| [(0, edits), (1, edits)]);
    both.map(|(direction, edits)| {
        [&[direction][..], format!("{event}\0{edits}").as_bytes()].concat()
    })
    .collect()
}

fn check(input: &[u8]) {
    let (choice, rest) = pieces::choice(input);
    let (direction, kept): (_, &[&str]) = match choice & 1 {
        0 => (Direction::Inbound, &["type", "djangobot", "reply_channel"]),
        _ => (
            Direction::Outbound,
            &["type", "djangobot", "reply_channel", "method", "id"],
        ),
    };
    let mut parts = pieces::parts(rest);
    let Ok(before) = Event::parse(parts.next().unwrap_or_default().to_vec()) else {
        return;
    };
    let allowed: Vec<Edit> = parts
        .take(32)
        .filter_map(edits::edit_of)
        .map(|(pointer, value)| match value {
            Some(value) => Edit::Set {
                pointer: pointer.to_owned(),
                value: NewValue::Json(value.to_vec()),
            },
            None => Edit::Remove {
                pointer: pointer.to_owned(),
            },
        })
        .filter(|edit| check_place(direction, edit).is_ok())
        .collect();
    let mut after = before.clone();
    let outcome = proportion::bounded(input, 512, || after.apply(&allowed));
    if outcome.is_err() {
        assert_eq!(json::text(&after), json::text(&before), "all edits or none");
    }
    for key in kept {
        assert_eq!(after.field(key), before.field(key), "{key}: {allowed:?}");
    }
}
