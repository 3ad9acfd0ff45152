//! The arguments of a call, from its query string and its body, form or JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap};
use serde_json::{Map, Value};

use crate::http::HttpRequest;
use crate::speakers::web_api::refusal::Refusal;

/// Arguments that a form carries as JSON in a string.
const STRUCTURED: [&str; 8] = [
    "blocks",
    "attachments",
    "metadata",
    "icons",
    "outputs",
    "file_ids",
    "files",
    "view",
];

/// The user and the password of basic authentication (RFC 7617).
#[derive(Debug)]
pub(super) struct BasicAuth {
    pub(super) user: String,
    pub(super) password: String,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    values: Map<String, Value>,
    bearer: Option<String>,
    token: Option<String>,
    basic: Option<BasicAuth>,
    malformed: Option<&'static str>,
    warning: Option<&'static str>,
}

impl Arguments {
    /// Reads what came. The `Authorization` header beats a `token` argument.
    pub(super) fn read(request: &HttpRequest) -> Self {
        let mut arguments = Arguments::default();
        let query = request.head.uri.query().unwrap_or_default();
        arguments.form(query.as_bytes());
        let content_type =
            text_of(&request.head.headers, header::CONTENT_TYPE).to_ascii_lowercase();
        let has_charset = content_type.contains("charset=");
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json" if !request.body.is_empty() => {
                match serde_json::from_slice(&request.body) {
                    Ok(Value::Object(values)) => arguments.values.extend(values),
                    Ok(_) => arguments.malformed = Some("json_not_object"),
                    Err(_) => arguments.malformed = Some("invalid_json"),
                }
                if !has_charset {
                    arguments.warning = Some("missing_charset");
                }
            }
            "application/x-www-form-urlencoded" => {
                arguments.form(&request.body);
                if has_charset {
                    arguments.warning = Some("superfluous_charset");
                }
            }
            // SDKs label an empty body in several ways; without a body there is nothing to misread.
            _ if request.body.is_empty() => {}
            "application/json" | "" => arguments.form(&request.body),
            _ => arguments.malformed = Some("invalid_post_type"),
        }
        let in_arguments = arguments.values.remove("token");
        let authorization = text_of(&request.head.headers, header::AUTHORIZATION);
        arguments.bearer = authorization
            .strip_prefix("Bearer ")
            .map(|token| token.trim().to_owned());
        arguments.basic = authorization.strip_prefix("Basic ").and_then(basic);
        arguments.token = arguments.bearer.clone().or(match in_arguments {
            Some(Value::String(token)) => Some(token),
            _ => None,
        });
        arguments
    }

    fn form(&mut self, form: &[u8]) {
        for (key, text) in form_urlencoded::parse(form) {
            let read = STRUCTURED
                .contains(&&*key)
                .then(|| serde_json::from_str(&text).ok())
                .flatten();
            let value = read.unwrap_or_else(|| Value::String(text.into_owned()));
            self.values.insert(key.into_owned(), value);
        }
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The token of the header.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// Basic authentication, where the call has it.
    pub(super) fn basic(&self) -> Option<&BasicAuth> {
        self.basic.as_ref()
    }

    /// The error of a body that could not be read.
    pub(super) fn malformed(&self) -> Option<&'static str> {
        self.malformed
    }

    /// Remarks about how the body was labelled.
    pub(super) fn warnings(&self) -> Vec<&'static str> {
        self.warning.into_iter().collect()
    }

    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.values.clone())
    }

    /// An argument as it came; an empty string and null count as none.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            _ => true,
        })
    }

    /// An argument that is a string; a number is taken for one, since forms know no difference.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(Refusal::invalid(format!(
                "[ERROR] must be a string [json-pointer:/{key}]"
            ))),
        }
    }

    pub(super) fn required(&self, key: &str) -> Result<String, Refusal> {
        self.text(key)?.ok_or_else(|| Refusal::missing(key))
    }

    /// A switch: `true`, `1` and the like are on.
    pub(super) fn flag(&self, key: &str) -> bool {
        match self.get(key) {
            Some(Value::Bool(on)) => *on,
            Some(Value::Number(number)) => number.as_i64() != Some(0),
            Some(Value::String(text)) => matches!(text.as_str(), "1" | "true" | "True"),
            _ => false,
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            Refusal::invalid(format!("[ERROR] must be an integer [json-pointer:/{key}]"))
        })
    }
}

/// Reads what stands behind `Basic` (RFC 7617).
fn basic(encoded: &str) -> Option<BasicAuth> {
    let bytes = STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(BasicAuth {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn read(content_type: &str, query: &str, body: &str) -> Arguments {
        let request = hyper::Request::builder()
            .uri(format!("/api/x?{query}"))
            .header("content-type", content_type)
            .body(())
            .unwrap();
        Arguments::read(&HttpRequest {
            head: request.into_parts().0,
            body: Bytes::from(body.to_owned()),
        })
    }

    fn check(content_type: &str, query: &str, body: &str, expect: Value) {
        assert_eq!(read(content_type, query, body).to_json(), expect);
    }

    #[test]
    fn arguments_come_from_the_query_and_from_either_body() {
        const FORM: &str = "application/x-www-form-urlencoded";
        check("", "a=1&b=x%20y", "", json!({"a": "1", "b": "x y"}));
        check(FORM, "a=1", "a=2&c=%C3%A9", json!({"a": "2", "c": "é"}));
        check(
            "application/json",
            "",
            r#"{"a": [1, null]}"#,
            json!({"a": [1, null]}),
        );
        check(
            FORM,
            "",
            "blocks=%5B%7B%7D%5D&text=%5B1%5D",
            json!({"blocks": [{}], "text": "[1]"}),
        );
        check(FORM, "", "blocks=nonsense", json!({"blocks": "nonsense"}));
        check(FORM, "token=xoxb-1", "a=1", json!({"a": "1"}));
    }

    #[test]
    fn the_label_of_a_body_is_remarked_upon() {
        let check = |content_type: &str, body: &str, malformed: Option<&str>, warnings: &[&str]| {
            let arguments = read(content_type, "", body);
            assert_eq!(arguments.malformed(), malformed, "{content_type}");
            assert_eq!(arguments.warnings(), warnings, "{content_type}");
        };
        check("application/json", "{}", None, &["missing_charset"]);
        check("application/json; charset=utf-8", "{}", None, &[]);
        check(
            "application/x-www-form-urlencoded; charset=utf-8",
            "",
            None,
            &["superfluous_charset"],
        );
        check(
            "application/json; charset=utf-8",
            "{",
            Some("invalid_json"),
            &[],
        );
        check(
            "application/json; charset=utf-8",
            "[]",
            Some("json_not_object"),
            &[],
        );
        check("image/png", "x", Some("invalid_post_type"), &[]);
    }
}
