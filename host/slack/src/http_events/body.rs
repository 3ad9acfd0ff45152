//! The content of Slack's requests: JSON for the Events API, forms for commands and interactions.

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use djangobot_event::Event;
use serde_json::{Map, Value};

use crate::envelope::Wrapping;
use crate::transport::{BadFrame, Origin};

/// The content of a request.
#[derive(Debug)]
pub(super) enum Content {
    /// An event.
    Event {
        event: Event,
        origin: Box<Origin>,
        accepts_payload: bool,
    },
    /// A challenge that Slack wants back, to know that the URL is the app's.
    Challenge(String),
    /// A check of the certificate, which wants nothing but an answer.
    SslCheck,
    /// A body that can't be read. The error is there where it was meant to be an event.
    Bad {
        error: Option<BadFrame>,
        sentence: String,
    },
}

/// Reads a body.
pub(super) fn read(headers: &HeaderMap, body: Bytes) -> Content {
    if is_form(headers) {
        read_form(&body)
    } else {
        read_json(body)
    }
}

/// Whether a body is a form, as its head says.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| {
            kind.trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
}

/// Whether a form or query says that Slack only looks at the certificate.
pub(super) fn is_ssl_check(form: &[u8]) -> bool {
    form_urlencoded::parse(form).any(|(key, value)| key == "ssl_check" && value == "1")
}

fn read_json(body: Bytes) -> Content {
    let payload = match Event::parse(body.clone()) {
        Ok(payload) => payload,
        Err(error) => return unreadable("the body", body, error),
    };
    if payload.text("/type").as_deref() == Some("url_verification") {
        return match payload.text("/challenge") {
            Some(challenge) => Content::Challenge(challenge.into_owned()),
            None => Content::Bad {
                error: None,
                sentence: "the url_verification has no challenge".into(),
            },
        };
    }
    opened(Wrapping::EventsApi, payload, false)
}

fn read_form(body: &[u8]) -> Content {
    let fields: Map<String, Value> = form_urlencoded::parse(body)
        .map(|(key, value)| (key.into_owned(), Value::String(value.into_owned())))
        .collect();
    if let Some(Value::String(payload)) = fields.get("payload") {
        let payload = Bytes::from(payload.clone());
        return match Event::parse(payload.clone()) {
            Ok(payload) => opened(Wrapping::Interactive, payload, true),
            Err(error) => unreadable("the form's payload", payload, error),
        };
    }
    if fields.contains_key("command") {
        let text = Bytes::from(Value::Object(fields).to_string());
        return match Event::parse(text.clone()) {
            Ok(command) => opened(Wrapping::SlashCommand, command, true),
            Err(error) => unreadable("the form", text, error),
        };
    }
    if is_ssl_check(body) {
        return Content::SslCheck;
    }
    Content::Bad {
        error: None,
        sentence: "the form has neither a payload nor a command, as Slack's have".into(),
    }
}

fn opened(wrapping: Wrapping, payload: Event, accepts_payload: bool) -> Content {
    let (event, origin) = wrapping.open(payload);
    Content::Event {
        event,
        origin: Box::new(origin),
        accepts_payload,
    }
}

fn unreadable(what: &str, raw: Bytes, error: djangobot_event::ParseError) -> Content {
    Content::Bad {
        sentence: format!("{what} is not a JSON object: {error}"),
        error: Some(BadFrame::Unreadable { raw, error }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::json;

    use super::*;

    fn asked(is_form: bool, body: &str) -> Content {
        let mut headers = HeaderMap::new();
        if is_form {
            let form = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";
            headers.insert(header::CONTENT_TYPE, form.parse().unwrap());
        }
        read(&headers, Bytes::copy_from_slice(body.as_bytes()))
    }

    fn event(is_form: bool, body: &str) -> (Value, Origin, bool) {
        match asked(is_form, body) {
            Content::Event {
                event,
                origin,
                accepts_payload,
            } => {
                let mut text = Vec::new();
                event.write_json(&mut text);
                (
                    serde_json::from_slice(&text).unwrap(),
                    *origin,
                    accepts_payload,
                )
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_is_an_event_or_a_challenge() {
        let (inner, origin, accepts) = event(
            false,
            r#"{"token":"hush","event":{"type":"message"},"event_id":"Ev1","team_id":"T1","event_time":5}"#,
        );
        assert_eq!((inner, accepts), (json!({"type": "message"}), false));
        assert_eq!(origin.event_id.as_deref(), Some("Ev1"));
        assert_eq!(origin.wrapper, Some(r#"{"event_time":5}"#.into()));

        let (limited, _, _) = event(
            false,
            r#"{"type":"app_rate_limited","minute_rate_limited":5}"#,
        );
        assert_eq!(limited["minute_rate_limited"], 5);

        let challenge = r#"{"type":"url_verification","challenge":"3eZ\u00e9","token":"hush"}"#;
        assert!(matches!(asked(false, challenge), Content::Challenge(text) if text == "3eZé"));
    }

    #[test]
    fn a_form_is_a_command_or_an_interaction() {
        let (command, origin, accepts) = event(
            true,
            "token=hush&command=%2Fdo&text=a+b%26%C3%A9%0A&team_id=T1&text=the+last+counts&empty=",
        );
        assert_eq!(
            command,
            json!({"command": "/do", "text": "the last counts", "team_id": "T1", "empty": ""})
        );
        assert_eq!(
            (origin.kind.as_deref(), origin.answerable, accepts),
            (Some("slash_commands"), true, true)
        );

        let (click, origin, accepts) = event(
            true,
            "payload=%7B%22type%22%3A%22view_submission%22%2C%22token%22%3A%22hush%22%7D",
        );
        assert_eq!(click, json!({"type": "view_submission"}));
        assert_eq!(
            (origin.kind, origin.answerable, accepts),
            (None, true, true)
        );
        assert!(matches!(
            asked(true, "ssl_check=1&token=hush"),
            Content::SslCheck
        ));
    }

    #[test]
    fn any_other_body_is_refused_with_a_sentence() {
        let check = |is_form, body, is_event, expect: &str| match asked(is_form, body) {
            Content::Bad { error, sentence } => {
                assert!(sentence.contains(expect), "{sentence}");
                assert_eq!(error.is_some(), is_event, "{body}");
            }
            other => panic!("{other:?}"),
        };
        check(false, "", true, "the body is not a JSON object");
        check(false, "[]", true, "the body is not a JSON object");
        check(false, "payload={}", true, "the body is not a JSON object");
        check(
            false,
            r#"{"type":"url_verification"}"#,
            false,
            "no challenge",
        );
        check(
            true,
            "payload=%7B",
            true,
            "the form's payload is not a JSON object",
        );
        check(true, "", false, "neither a payload nor a command");
        check(
            true,
            r#"{"event":{}}"#,
            false,
            "neither a payload nor a command",
        );
    }

    proptest! {
        #[test]
        fn no_body_is_too_odd_to_be_read(body in vec(any::<u8>(), 0..300), form in any::<bool>()) {
            asked(form, &String::from_utf8_lossy(&body));
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
            read(&headers, [b"command=", &body[..]].concat().into());
            read(&headers, [b"payload=", &body[..]].concat().into());
        }

        #[test]
        fn a_command_comes_whole_through_its_form(text in "\\PC{0,50}") {
            let form: String = form_urlencoded::Serializer::new(String::new())
                .append_pair("command", "/do").append_pair("text", &text).finish();
            prop_assert_eq!(event(true, &form).0, json!({"command": "/do", "text": text}));
        }
    }
}
