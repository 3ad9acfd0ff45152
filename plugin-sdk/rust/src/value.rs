//! Conversions between the values of an event and Rust's types.

use serde::de::DeserializeOwned;

use crate::Value;

impl Value {
    /// The text, if it is a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text, if it is a string.
    pub fn into_text(self) -> Option<String> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// The whole number, if it is one that fits into 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// The nearest `f64`, if it is a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Integer(value) => Some(*value as f64),
            Value::Number(value) => Some(*value),
            Value::BigInteger(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The JSON text, if it is an array or an object.
    pub fn as_json(&self) -> Option<&str> {
        match self {
            Value::Json(text) => Some(text),
            _ => None,
        }
    }

    /// The value as a type of your own.
    ///
    /// # Errors
    /// The value has another type, or is a number that JSON does not have.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match self {
            Value::Json(text) | Value::BigInteger(text) => serde_json::from_str(text),
            other => T::deserialize(scalar(other)),
        }
    }
}

/// A value that is not JSON text, as a value of `serde_json`.
fn scalar(value: &Value) -> serde_json::Value {
    match value {
        Value::Null | Value::Json(_) | Value::BigInteger(_) => serde_json::Value::Null,
        Value::Boolean(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Number(value) => (*value).into(),
        Value::Text(value) => value.as_str().into(),
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Value::Text(value.clone())
    }
}

impl From<std::borrow::Cow<'_, str>> for Value {
    fn from(value: std::borrow::Cow<'_, str>) -> Self {
        Value::Text(value.into_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Boolean(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Integer(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Value::Integer(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Integer(value.into())
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        match i64::try_from(value) {
            Ok(value) => Value::Integer(value),
            Err(_) => Value::BigInteger(value.to_string()),
        }
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Number(value)
    }
}

/// `None` becomes `null`.
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Value::Text(text),
            other => Value::from(&other),
        }
    }
}

impl From<&serde_json::Value> for Value {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Boolean(*value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Value::Integer(value),
                (None, Some(value)) if number.is_f64() => Value::Number(value),
                _ => Value::BigInteger(number.to_string()),
            },
            serde_json::Value::String(text) => Value::Text(text.clone()),
            container => Value::Json(container.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_goes_in_and_comes_out_as_it_was() {
        for value in [
            json!(null),
            json!(true),
            json!(-5),
            json!(u64::MAX),
            json!(1.5),
            json!("a\"b"),
            json!([1, {"a": null}]),
            json!({"a": ["b"]}),
        ] {
            let back: serde_json::Value = Value::from(&value).parse().unwrap();
            assert_eq!(back, value);
            assert_eq!(Value::from(value.clone()), Value::from(&value));
        }
    }

    #[test]
    fn a_number_too_large_for_an_integer_is_its_digits() {
        assert_eq!(
            Value::from(u64::MAX),
            Value::BigInteger("18446744073709551615".into())
        );
        assert_eq!(Value::from(7u64), Value::Integer(7));
        assert_eq!(Value::from(u64::MAX).as_f64(), Some(u64::MAX as f64));
        assert_eq!(Value::from(None::<i64>), Value::Null);
    }

    #[test]
    fn a_value_of_another_type_says_so() {
        assert!(Value::from("five").parse::<u32>().is_err());
        assert_eq!(Value::from(5).parse::<u32>().unwrap(), 5);
        assert_eq!(Value::from("x").as_bool(), None);
        assert_eq!(Value::from("x").as_i64(), None);
    }
}
