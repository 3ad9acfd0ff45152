//! Answers of plugins: translating a verdict, and refusing one that breaks a rule.

use std::time::Duration;

use djangobot_event::{CleanText, Edit, Event, NewValue};

use crate::runtime::abi::v1::bindings::djangobot::plugin::types;
use crate::runtime::guest::{self, Guest};
use crate::services::roster::Direction;
use crate::verdict::{self, Failure};

/// The longest reason of a drop, in bytes.
const MAX_REASON: usize = 1024;
/// The largest number of events that may replace one.
const MAX_REPLACEMENTS: usize = 64;
/// The longest pause after which an event is tried again.
const MAX_DEFERRAL: Duration = Duration::from_secs(60);
/// The cost of an edit in addition to its texts, in bytes of output: a million empty edits are not a small answer.
const EDIT_COST: usize = 32;

/// Translates an answer into the host's own types, and refuses one that breaks a rule.
///
/// # Errors
/// [`Failure::Answer`], with the rule.
pub(crate) fn verdict(
    guest: &mut Guest,
    answer: types::Verdict,
) -> Result<verdict::Verdict, Failure> {
    let limit = guest.owner.limits.output;
    let owner = guest.owner.clone();
    let Some(call) = &mut guest.call else {
        return Err(Failure::Answer("there was no call to answer".into()));
    };
    match answer {
        types::Verdict::Answer(_) if !call.is_answerable => Err(Failure::Answer(
            "it answered an event that takes no answer: only a slash command, a click, a shortcut or a dialog does (event.is-answerable)".into(),
        )),
        types::Verdict::Answer(text) => {
            let taken = call.take_output(text.len(), limit);
            let answer = taken.and_then(|()| Event::parse(text).map_err(|error| format!("the answer is not a JSON object: {error}")));
            answer
                .map(verdict::Verdict::Answer)
                .map_err(|why| Failure::Answer(why.into()))
        }
        types::Verdict::Defer(_) if !owner.manifest.defers => Err(Failure::Answer(
            "it deferred an event, and its manifest does not say `defers = true`".into(),
        )),
        types::Verdict::Defer(ms) => {
            let pause = Duration::from_millis(u64::from(ms)).min(MAX_DEFERRAL);
            Ok(verdict::Verdict::Defer(pause))
        }
        types::Verdict::Keep => Ok(verdict::Verdict::Keep),
        types::Verdict::Drop(reason) => {
            let reason = CleanText::within(&reason, MAX_REASON);
            Ok(verdict::Verdict::Drop(reason))
        }
        types::Verdict::Modify(edits) => {
            let edits = edits.into_iter().map(|edit| {
                let (edit, bytes) = edit_of(edit);
                call.take_output(bytes, limit)?;
                check_place(call.direction, &edit)?;
                Ok(edit)
            });
            edits
                .collect::<Result<_, String>>()
                .map(verdict::Verdict::Modify)
                .map_err(|why| Failure::Answer(why.into()))
        }
        types::Verdict::Replace(emissions) => {
            if emissions.len() > MAX_REPLACEMENTS || call.hops >= guest::MAX_HOPS {
                return Err(Failure::Answer(format!(
                    "it replaced one event by {}, or at the end of too long a chain (at most {MAX_REPLACEMENTS} events may \
                     replace one, in chains of {} at most)",
                    emissions.len(),
                    guest::MAX_HOPS
                ).into()));
            }
            let emissions = emissions.into_iter().map(|emission| {
                call.take_output(emission.kind.len() + emission.body.len(), limit)?;
                guest::emission(&owner, emission.kind, emission.body)
                    .map_err(|error| error.to_string())
            });
            emissions
                .collect::<Result<_, String>>()
                .map(verdict::Verdict::Replace)
                .map_err(|why| Failure::Answer(why.into()))
        }
    }
}

/// Translates an edit, and returns it with its cost in bytes of output.
fn edit_of(edit: types::Edit) -> (Edit, usize) {
    match edit {
        types::Edit::Remove(pointer) => {
            let bytes = EDIT_COST + pointer.len();
            (Edit::Remove { pointer }, bytes)
        }
        types::Edit::Set(types::Field { pointer, value }) => {
            let (value, bytes) = match value {
                types::Value::Null => (NewValue::Null, 0),
                types::Value::Boolean(value) => (NewValue::Bool(value), 0),
                types::Value::Integer(value) => (NewValue::Int(value), 0),
                types::Value::BigInteger(digits) => {
                    let bytes = digits.len();
                    (NewValue::Json(digits.into_bytes()), bytes)
                }
                types::Value::Number(value) => (NewValue::Float(value), 0),
                types::Value::Text(text) => {
                    let bytes = text.len();
                    (NewValue::Text(text), bytes)
                }
                types::Value::Json(text) => {
                    let bytes = text.len();
                    (NewValue::Json(text.into_bytes()), bytes)
                }
            };
            let bytes = EDIT_COST + pointer.len() + bytes;
            (Edit::Set { pointer, value }, bytes)
        }
    }
}

/// Refuses an edit of a field that decides where an event goes: a plugin may change an event's content only.
///
/// # Errors
/// A clause that names the field.
pub fn check_place(direction: Direction, edit: &Edit) -> Result<(), String> {
    let pointer = match edit {
        Edit::Set { pointer, .. } | Edit::Remove { pointer } => pointer,
    };
    // A pointer has the escapes `~0` and `~1` alone, for `~` and `/`. None of these names has such a character, so that
    // there is no second spelling of them.
    let first = pointer.strip_prefix('/').unwrap_or(pointer);
    let first = first.split('/').next().unwrap_or_default();
    let kept: &[&str] = match direction {
        Direction::Inbound => &["type", "djangobot", "reply_channel"],
        Direction::Outbound => &["type", "djangobot", "reply_channel", "method", "id"],
    };
    match kept.contains(&first) {
        true => Err(format!(
            "a plugin can't edit /{first}, since it decides where the event goes; it can emit an event of another kind instead"
        )),
        false => Ok(()),
    }
}
