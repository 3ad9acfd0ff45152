//! Values between JavaScript and the interface.

use rquickjs::{Array, Coerced, Ctx, Exception, Function, IntoJs, Object, Result, Value};

use crate::bindings::djangobot::plugin::types::{
    Edit, Emission, Field, Value as HostValue, Verdict,
};

/// Whole numbers up to here are exact as a number of JavaScript.
const EXACT: i64 = 1 << 53;

/// A value of the event for the script. Whole numbers beyond 2^53 become a bigint.
pub(crate) fn to_script<'js>(ctx: &Ctx<'js>, value: Option<HostValue>) -> Result<Value<'js>> {
    Ok(match value {
        None => Value::new_undefined(ctx.clone()),
        Some(HostValue::Null) => Value::new_null(ctx.clone()),
        Some(HostValue::Boolean(value)) => Value::new_bool(ctx.clone(), value),
        Some(HostValue::Integer(value)) => integer(ctx, value)?,
        Some(HostValue::Number(value)) => Value::new_number(ctx.clone(), value),
        Some(HostValue::Text(text)) => text.into_js(ctx)?,
        Some(HostValue::Json(json)) => ctx.json_parse(json)?,
        Some(HostValue::BigInteger(digits)) => {
            let bigint: Function = ctx.globals().get("BigInt")?;
            bigint.call((digits,))?
        }
    })
}

/// A whole number for the script.
pub(crate) fn integer<'js>(ctx: &Ctx<'js>, value: i64) -> Result<Value<'js>> {
    match (-EXACT..=EXACT).contains(&value) {
        true => Ok(Value::new_number(ctx.clone(), value as f64)),
        false => Value::new_big_int(ctx.clone(), value),
    }
}

/// A scalar of the script for the event. The library has turned all else into JSON.
fn to_host<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<HostValue> {
    if let Some(text) = value.as_string() {
        return Ok(HostValue::Text(text.to_string()?));
    }
    if let Some(value) = value.as_int() {
        return Ok(HostValue::Integer(value.into()));
    }
    if let Some(number) = value.as_float() {
        let whole = number as i64;
        let is_whole = whole as f64 == number && (-EXACT..=EXACT).contains(&whole);
        return Ok(match is_whole {
            true => HostValue::Integer(whole),
            false => HostValue::Number(number),
        });
    }
    if let Some(value) = value.as_bool() {
        return Ok(HostValue::Boolean(value));
    }
    if value.is_null() {
        return Ok(HostValue::Null);
    }
    if value.is_big_int() {
        let Coerced(digits) = value.get::<Coerced<String>>()?;
        return Ok(digits
            .parse()
            .map_or(HostValue::BigInteger(digits), HostValue::Integer));
    }
    Err(Exception::throw_type(
        ctx,
        "the value of an edit is not JSON",
    ))
}

/// The library's answer to an event: nothing, `{drop}`, `{answer}`, `{defer}`, `{replace: [[kind, body], ...]}` or
/// `{edits: [[pointer] | [pointer, scalar] | [pointer, json, true], ...]}`.
pub(crate) fn verdict<'js>(ctx: &Ctx<'js>, answer: Value<'js>) -> Result<Verdict> {
    let Some(answer) = answer.as_object() else {
        return Ok(Verdict::Keep);
    };
    if let Some(reason) = answer.get::<_, Option<String>>("drop")? {
        return Ok(Verdict::Drop(reason));
    }
    if let Some(answer) = answer.get::<_, Option<String>>("answer")? {
        return Ok(Verdict::Answer(answer));
    }
    if let Some(ms) = answer.get::<_, Option<u32>>("defer")? {
        return Ok(Verdict::Defer(ms));
    }
    if let Some(events) = answer.get::<_, Option<Array>>("replace")? {
        let emissions = events.iter::<Array>().map(|event| {
            let event = event?;
            Ok(Emission {
                kind: event.get(0)?,
                body: event.get(1)?,
            })
        });
        return Ok(Verdict::Replace(emissions.collect::<Result<_>>()?));
    }
    let edits: Array = answer.get("edits")?;
    let edits = edits.iter::<Array>().map(|edit| one_edit(ctx, &edit?));
    Ok(Verdict::Modify(edits.collect::<Result<_>>()?))
}

fn one_edit<'js>(ctx: &Ctx<'js>, edit: &Array<'js>) -> Result<Edit> {
    let pointer: String = edit.get(0)?;
    let value = match edit.len() {
        1 => return Ok(Edit::Remove(pointer)),
        2 => to_host(ctx, &edit.get::<Value>(1)?)?,
        _ => HostValue::Json(edit.get(1)?),
    };
    Ok(Edit::Set(Field { pointer, value }))
}

/// An object with these members.
pub(crate) fn object<'js>(
    ctx: &Ctx<'js>,
    members: impl IntoIterator<Item = (&'static str, Value<'js>)>,
) -> Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    for (name, value) in members {
        object.set(name, value)?;
    }
    Ok(object)
}
