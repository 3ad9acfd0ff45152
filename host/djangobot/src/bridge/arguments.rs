//! The conversion of arguments from Python's types to those that Slack takes: `None` is left out, lists become texts
//! with commas, timestamps stay texts. A value that can't be converted is refused with a sentence.

use djangobot_event::BYTES_KEY;
use djangobot_slack::argument::{self, Argument, ArgumentType};
use djangobot_slack::method::Method;
use serde_json::{Map, Value};

use crate::bridge::reply::{SendFailure, kind};

/// Below this number of seconds (2^32, the year 2106), a double keeps all moments of six decimals apart. A float beyond
/// it may stand for several timestamps.
const LAST_EXACT: f64 = 4_294_967_296.0;
/// The most characters of a wrong value that a refusal repeats.
const MAX_SHOWN: usize = 40;

/// Converts the arguments of a call of `method` to those that Slack takes.
///
/// # Errors
///
/// Fails if a value can't be converted to the argument's type.
pub(super) fn convert(
    method: &Method,
    arguments: Map<String, Value>,
) -> Result<Map<String, Value>, SendFailure> {
    let mut converted = Map::with_capacity(arguments.len());
    for (name, value) in arguments {
        let known = argument::get(method.name, &name);
        if is_absent(&value, known) {
            continue;
        }
        if name == "token" {
            return Err(SendFailure::new(
                "invalid_arguments",
                "`token` is not allowed in messages, because djangobot calls Slack with its own token. Leave it out.",
            ));
        }
        if holds_bytes(&value) {
            return Err(SendFailure::new(
                "invalid_arguments",
                format!(
                    "`{name}` has bytes that are not UTF-8, which Slack does not take. Send them as a file, or as base64 text."
                ),
            ));
        }
        // A number in a text that people read is a mistake of the app.
        let is_said = name == "text";
        // An argument that the table does not have goes to Slack as it is: Slack knows best what a new one takes.
        let value = match known {
            Some(_) if is_said && value.is_number() => Err("must be a text; it is a number".into()),
            Some(argument) => of_type(argument.kind, value),
            None => Ok(value),
        };
        let value = value.map_err(|why| {
            let code = if is_said {
                "invalid_text"
            } else {
                "invalid_arguments"
            };
            SendFailure::new(code, format!("`{name}` of {} {why}.", method.name))
        })?;
        // A list or a layout of absent values has become empty.
        if !is_absent(&value, known) {
            converted.insert(name, value);
        }
    }
    Ok(converted)
}

/// Whether an argument means the same as an absent one.
fn is_absent(value: &Value, known: Option<Argument>) -> bool {
    let keeps_empty = known.is_none_or(|it| it.keeps_empty);
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() && !keeps_empty,
        // An empty layout is not absent: it removes all blocks.
        Value::Array(items) => items.is_empty() && !keeps_empty && known.is_some_and(is_list),
        _ => false,
    }
}

fn is_list(argument: Argument) -> bool {
    matches!(argument.kind, ArgumentType::Channels | ArgumentType::Users)
}

/// The value as Slack takes it, or the reason for which it is not of the type.
fn of_type(wanted: ArgumentType, value: Value) -> Result<Value, String> {
    match wanted {
        ArgumentType::Text | ArgumentType::Channel | ArgumentType::User => text(value),
        ArgumentType::Ts => timestamp(value),
        ArgumentType::Time => moment(value),
        ArgumentType::Int => integer(value),
        ArgumentType::Bool => boolean(value),
        ArgumentType::List => list(value).map(|texts| texts.join(",").into()),
        // They stay lists until their names are ids.
        ArgumentType::Channels | ArgumentType::Users => list(value).map(Value::from),
        ArgumentType::Layout => structure(value).map(without_nulls),
        ArgumentType::Json => structure(value),
    }
}

fn text(value: Value) -> Result<Value, String> {
    match value {
        Value::String(_) => Ok(value),
        Value::Number(number) if !number.is_f64() => Ok(number.to_string().into()),
        other => Err(format!("must be a text; it is {}", kind(&other))),
    }
}

/// A message's timestamp. A float is accepted if it has all digits of one.
fn timestamp(value: Value) -> Result<Value, String> {
    match value {
        Value::String(_) => Ok(value),
        Value::Number(number) => match number.as_f64().and_then(exact) {
            Some(text) => Ok(text.into()),
            None => Err(format!(
                "must be the text that Slack gave, such as \"1602251441.001700\"; it is the number {number}, \
                 which has lost digits"
            )),
        },
        other => Err(format!(
            "must be the text that Slack gave, such as \"1602251441.001700\"; it is {}",
            kind(&other)
        )),
    }
}

/// The timestamp that was converted to the float `number`, if there is one.
fn exact(number: f64) -> Option<String> {
    let text = format!("{number:.6}");
    let is_exact =
        number.fract() != 0.0 && (0.0..LAST_EXACT).contains(&number) && text.parse() == Ok(number);
    is_exact.then_some(text)
}

/// A moment in Unix seconds, as a text or any number.
fn moment(value: Value) -> Result<Value, String> {
    match value {
        Value::String(_) => Ok(value),
        Value::Number(number) => Ok(match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.6}").into(),
            _ => number.to_string().into(),
        }),
        other => Err(format!(
            "must be Unix seconds, as a text or a number; it is {}",
            kind(&other)
        )),
    }
}

/// An integer, also as a text or as a float without a fraction, which Python's division gives.
fn integer(value: Value) -> Result<Value, String> {
    let whole = |number: f64| {
        let is_whole = number.fract() == 0.0 && number.abs() < LAST_EXACT;
        is_whole.then_some(number as i64)
    };
    let found = match &value {
        Value::Number(number) if !number.is_f64() => return Ok(value),
        Value::Number(number) => number.as_f64().and_then(whole),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let why = || format!("must be an integer; it is {}", shown(&value));
    found.map(Value::from).ok_or_else(why)
}

/// A boolean, also as 0 or 1, or as a text, which forms and environment variables give.
fn boolean(value: Value) -> Result<Value, String> {
    let found = match &value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match &*text.trim().to_ascii_lowercase() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    let why = || format!("must be True or False; it is {}", shown(&value));
    found.map(Value::from).ok_or_else(why)
}

/// The texts of a list, or of a text with commas.
fn list(value: Value) -> Result<Vec<String>, String> {
    let items = match value {
        Value::Array(items) => items,
        Value::String(text) => text.split(',').map(Value::from).collect(),
        number @ Value::Number(_) => vec![number],
        other => {
            return Err(format!(
                "must be a list of texts, or one text with commas; it is {}",
                kind(&other)
            ));
        }
    };
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item {
            // An app leaves items out by `None` or an empty text, as it does keys.
            Value::Null => {}
            Value::String(item) if item.trim().is_empty() => {}
            Value::String(item) => texts.push(item.trim().to_owned()),
            Value::Number(number) if !number.is_f64() => texts.push(number.to_string()),
            other => {
                return Err(format!(
                    "must be a list of texts; {} is in it",
                    kind(&other)
                ));
            }
        }
    }
    Ok(texts)
}

/// A dict or a list, or the JSON text of one, as `json.dumps` gives it.
fn structure(value: Value) -> Result<Value, String> {
    match value {
        Value::Object(_) | Value::Array(_) => Ok(value),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(read @ (Value::Object(_) | Value::Array(_))) => Ok(read),
            _ => {
                Err("must be a list or a dict, or the JSON text of one; it is another text".into())
            }
        },
        other => Err(format!("must be a list or a dict; it is {}", kind(&other))),
    }
}

/// Whether a value has bytes in it, in the form in which JSON has them.
fn holds_bytes(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(holds_bytes),
        Value::Object(fields) => {
            let is_bytes = fields.len() == 1 && fields.contains_key(BYTES_KEY);
            is_bytes || fields.values().any(holds_bytes)
        }
        _ => false,
    }
}

/// A layout without keys and items that are `None`: Slack may refuse `null` in a block.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let items = items.into_iter().filter(|item| !item.is_null());
            items.map(without_nulls).collect()
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            fields
                .map(|(name, value)| (name, without_nulls(value)))
                .collect()
        }
        other => other,
    }
}

/// A wrong value in the form in which a refusal repeats it.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let text: String = text.chars().take(MAX_SHOWN).collect();
            format!("the text {text:?}")
        }
        other => kind(other).to_owned(),
    }
}

#[cfg(test)]
mod tests;
