//! Reading the current event: the interface `event`.
//!
//! There is one event at a time. Following a pointer costs as much as the event's entries on the way, and is charged to the
//! call.

use djangobot_event::{Budget, Event, OverBudget, Value};

use crate::runtime::abi::v1::bindings::djangobot::plugin as wit;
use crate::runtime::guest::Guest;
use crate::services::roster::Direction;
use crate::verdict::Failure;
use wit::types;

/// The cost of each pointer of a `select` in addition to following it.
const SELECT_STEPS: u64 = 5;
/// The largest size of all values that one `select` returns, in bytes.
const MAX_SELECTED: usize = 16 << 20;

impl types::Host for Guest {}

impl wit::event::Host for Guest {
    fn id(&mut self) -> wasmtime::Result<String> {
        self.count()?;
        Ok(self.call()?.id.to_string())
    }

    fn kind(&mut self) -> wasmtime::Result<String> {
        self.count()?;
        Ok(self.call()?.kind.to_string())
    }

    fn direction(&mut self) -> wasmtime::Result<types::Direction> {
        self.count()?;
        Ok(match self.call()?.direction {
            Direction::Inbound => types::Direction::Inbound,
            Direction::Outbound => types::Direction::Outbound,
        })
    }

    fn is_answerable(&mut self) -> wasmtime::Result<bool> {
        self.count()?;
        Ok(self.call()?.is_answerable)
    }

    fn get(&mut self, pointer: String) -> wasmtime::Result<Option<types::Value>> {
        self.count()?;
        let (event, budget) = self.event()?;
        let value = event
            .get_within(&pointer, budget)
            .map(|value| value.map(value_of));
        self.within_budget(value)
    }

    fn select(&mut self, pointers: Vec<String>) -> wasmtime::Result<Vec<Option<types::Value>>> {
        self.count()?;
        self.many("selected", "fields", pointers.len())?;
        let (event, budget) = self.event()?;
        let values = select(event, &pointers, budget);
        self.selected(values)
    }

    fn json(&mut self) -> wasmtime::Result<String> {
        self.count()?;
        let (event, budget) = self.event()?;
        let text = event.json_within(budget);
        let text = self.within_budget(text)?;
        String::from_utf8(text).map_err(wasmtime::Error::new)
    }
}

/// Why a `select` was ended.
pub(super) enum SelectError {
    OverBudget(OverBudget),
    TooLarge,
}

impl From<OverBudget> for SelectError {
    fn from(over: OverBudget) -> Self {
        Self::OverBudget(over)
    }
}

/// The values at `pointers`, in their order.
pub(super) fn select(
    event: &Event,
    pointers: &[String],
    budget: &mut Budget,
) -> Result<Vec<Option<types::Value>>, SelectError> {
    let mut values = Vec::with_capacity(pointers.len());
    // Each value may be as large as the event, so that ten thousand of them could fill the host's memory.
    let mut bytes = 0;
    for pointer in pointers {
        budget.spend(SELECT_STEPS)?;
        let value = event.get_within(pointer, budget)?.map(value_of);
        if let Some(types::Value::Text(text) | types::Value::Json(text)) = &value {
            bytes += text.len();
        }
        if bytes > MAX_SELECTED {
            return Err(SelectError::TooLarge);
        }
        values.push(value);
    }
    Ok(values)
}

impl Guest {
    /// Turns the end of a `select` into a trap.
    pub(super) fn selected<T>(&mut self, values: Result<T, SelectError>) -> wasmtime::Result<T> {
        match values {
            Ok(values) => Ok(values),
            Err(SelectError::OverBudget(over)) => self.within_budget(Err(over)),
            Err(SelectError::TooLarge) => Err(self.over(Failure::Budget(
                "it selected more than 16 MiB in one call of the host".into(),
            ))),
        }
    }

    /// Traps if one call of the host asks for too many things.
    pub(super) fn many(&mut self, did: &str, what: &str, count: usize) -> wasmtime::Result<()> {
        let limit = self.owner.limits.select();
        match count > limit {
            true => Err(self.over(Failure::Budget(format!(
                "it {did} {count} {what} in one call of the host, and at most {limit} are allowed (limits.host-calls)"
            )))),
            false => Ok(()),
        }
    }
}

fn value_of(value: Value<'_>) -> types::Value {
    match value {
        Value::Null => types::Value::Null,
        Value::Bool(value) => types::Value::Boolean(value),
        Value::Int(value) => types::Value::Integer(value),
        Value::UInt(value) => types::Value::BigInteger(value.to_string()),
        Value::Float(value) => types::Value::Number(value),
        Value::Text(text) => types::Value::Text(text.into_owned()),
        Value::Json(text) if !text.starts_with(['[', '{']) => {
            types::Value::BigInteger(text.into_owned())
        }
        Value::Json(text) => types::Value::Json(text.into_owned()),
    }
}
