//! The outcome of one call: the verdict, the event that goes on, and the effects.

use djangobot_event::{Edit as Change, Event as Document, NewValue};
use serde_json::Value;

use crate::log::Level;
use crate::testing::Host;
use crate::testing::calls::event::CurrentEvent;
use crate::{Direction, Edit, Emission, Verdict};

/// The outcome of a plugin's call for an event.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The plugin's verdict.
    pub verdict: Verdict,
    /// The event that goes on, with the plugin's edits; `null` if it was dropped or replaced.
    pub event: Value,
    /// The events that were emitted, and those that replace the current event.
    pub emitted: Vec<EmittedEvent>,
    /// The answer to the event, if the plugin gave one.
    pub answer: Option<Value>,
    /// The messages that were sent to Slack.
    pub sent: Vec<Value>,
    /// The lines that were logged.
    pub logs: Vec<LogLine>,
    /// The host functions that were called, such as `event.get`, in order.
    pub calls: Vec<&'static str>,
    /// Whether the plugin was called: it is not if its manifest does not subscribe to the event.
    pub called: bool,
}

/// An event that the plugin made.
#[derive(Clone, Debug, PartialEq)]
pub struct EmittedEvent {
    /// Its kind.
    pub kind: String,
    /// Its body, an object.
    pub body: Value,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// The level.
    pub level: Level,
    /// The text.
    pub message: String,
}

/// The effects of a call besides its verdict.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) emitted: Vec<EmittedEvent>,
    pub(crate) sent: Vec<Value>,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) calls: Vec<&'static str>,
}

impl Outcome {
    pub(super) fn of(
        verdict: Verdict,
        current: &CurrentEvent,
        effects: Effects,
        host: &Host,
    ) -> Result<Self, String> {
        let mut emitted = effects.emitted;
        let mut answer = None;
        let event = match &verdict {
            Verdict::Keep => to_json(&current.document)?,
            Verdict::Modify(edits) => to_json(&edit(current, edits)?)?,
            Verdict::Drop(_) => Value::Null,
            Verdict::Defer(_) => to_json(&current.document)?,
            Verdict::Answer(_) if !host.is_answerable => {
                return Err("the event takes no answer; Host::answerable sets that".into());
            }
            Verdict::Answer(text) => {
                let message: Value = serde_json::from_str(text)
                    .map_err(|error| format!("the answer is not JSON: {error}"))?;
                if !message.is_object() {
                    return Err("the answer is not a JSON object".into());
                }
                answer = Some(message);
                Value::Null
            }
            Verdict::Replace(emissions) => {
                for emission in emissions {
                    if !host.may_emit(&emission.kind) {
                        return Err(format!(
                            "the manifest does not list {:?} under `emits`",
                            emission.kind
                        ));
                    }
                    emitted.push(read(emission)?);
                }
                Value::Null
            }
        };
        Ok(Outcome {
            verdict,
            event,
            emitted,
            answer,
            sent: effects.sent,
            logs: effects.logs,
            calls: effects.calls,
            called: true,
        })
    }

    #[cfg(feature = "manifest")]
    pub(super) fn passed_by(document: &Document) -> Result<Self, String> {
        Ok(Outcome {
            verdict: Verdict::Keep,
            event: to_json(document)?,
            emitted: Vec::new(),
            answer: None,
            sent: Vec::new(),
            logs: Vec::new(),
            calls: Vec::new(),
            called: false,
        })
    }

    /// The reason why the event was dropped, if it was.
    pub fn dropped(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Drop(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether the event goes on unchanged.
    pub fn kept(&self) -> bool {
        self.verdict == Verdict::Keep
    }
}

/// Reads an emission, whose body must be an object. If the body has a `type`, it is set to the kind.
pub(super) fn read(emission: &Emission) -> Result<EmittedEvent, String> {
    let mut body: Value = serde_json::from_str(&emission.body)
        .map_err(|error| format!("the body of {:?} is not JSON: {error}", emission.kind))?;
    let members = body
        .as_object_mut()
        .ok_or_else(|| format!("the body of {:?} is not an object", emission.kind))?;
    if let Some(value) = members.get_mut("type") {
        *value = emission.kind.as_str().into();
    }
    Ok(EmittedEvent {
        kind: emission.kind.clone(),
        body,
    })
}

fn edit(current: &CurrentEvent, edits: &[Edit]) -> Result<Document, String> {
    let changes = edits.iter().map(|edit| change(edit, current.direction));
    let changes: Vec<Change> = changes.collect::<Result<_, _>>()?;
    let mut edited = current.document.clone();
    edited.apply(&changes).map_err(|error| error.to_string())?;
    Ok(edited)
}

/// Translates an edit. Fields that decide where an event goes can't be edited, as in the real host.
fn change(edit: &Edit, direction: Direction) -> Result<Change, String> {
    let (Edit::Set(crate::Field { pointer, .. }) | Edit::Remove(pointer)) = edit;
    let key = pointer.split('/').nth(1).unwrap_or_default();
    let route: &[&str] = match direction {
        Direction::Inbound => &["type", "djangobot", "reply_channel"],
        Direction::Outbound => &["type", "djangobot", "reply_channel", "method", "id"],
    };
    if route.contains(&key) {
        return Err(format!(
            "{pointer} can't be edited, since it decides where the event goes; emit an event of another kind instead"
        ));
    }
    Ok(match edit {
        Edit::Set(field) => Change::Set {
            pointer: field.pointer.clone(),
            value: new_value(&field.value),
        },
        Edit::Remove(pointer) => Change::Remove {
            pointer: pointer.clone(),
        },
    })
}

fn new_value(value: &crate::Value) -> NewValue {
    match value {
        crate::Value::Null => NewValue::Null,
        crate::Value::Boolean(value) => NewValue::Bool(*value),
        crate::Value::Integer(value) => NewValue::Int(*value),
        crate::Value::BigInteger(digits) => NewValue::Json(digits.clone().into_bytes()),
        crate::Value::Number(value) => NewValue::Float(*value),
        crate::Value::Text(text) => NewValue::Text(text.clone()),
        crate::Value::Json(text) => NewValue::Json(text.clone().into_bytes()),
    }
}

fn to_json(document: &Document) -> Result<Value, String> {
    let mut text = Vec::new();
    document.write_json(&mut text);
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}
