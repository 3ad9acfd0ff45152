//! Answers to interactions that come after their acknowledgement: a POST to a `response_url` that Slack gave.

use bytes::Bytes;
use djangobot_event::Event;
use reqwest::{StatusCode, header};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::api::{ApiError, Failure, RESPONSE_URL, Refusal, WebApi, in_words, is_loopback, judge};

/// Addresses of one submission that are kept. A view has at most 100 blocks.
const MAX_URLS: usize = 100;

/// Of an answer to such a call, this is read at most: it is a word or an error's code.
const MAX_ANSWER: usize = 64 << 10;

/// A URL at which Slack takes answers to an interaction, five within half an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseUrl {
    /// The address. Anybody who has it may use it.
    #[serde(rename = "response_url")]
    pub url: String,
    /// The conversation where answers show, as far as Slack says it.
    #[serde(rename = "channel_id", skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// In a submitted view: the block and the element in which that conversation was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_id: Option<String>,
    /// See `block_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_id: Option<String>,
}

impl ResponseUrl {
    /// Those of a command or an interaction: its `response_url`, or the `response_urls` of a submitted view.
    pub(crate) fn all_of(event: &Event) -> Vec<Self> {
        if let Some(url) = event.text("/response_url").filter(|url| !url.is_empty()) {
            let channel = ["/channel/id", "/channel_id", "/container/channel_id"]
                .iter()
                .find_map(|pointer| event.text(pointer));
            return vec![ResponseUrl {
                url: url.into_owned(),
                channel: channel.map(|id| id.into_owned()),
                ..ResponseUrl::default()
            }];
        }
        let text = |nth: usize, key: &str| {
            let text = event.text(&format!("/response_urls/{nth}/{key}"));
            text.map(|text| text.into_owned())
        };
        (0..MAX_URLS)
            .map_while(|nth| {
                event.get(&format!("/response_urls/{nth}"))?;
                Some(ResponseUrl {
                    url: text(nth, "response_url").unwrap_or_default(),
                    channel: text(nth, "channel_id"),
                    block_id: text(nth, "block_id"),
                    action_id: text(nth, "action_id"),
                })
            })
            .filter(|address| !address.url.is_empty())
            .collect()
    }
}

impl WebApi {
    /// Posts `payload`, which is JSON, to a `response_url`, once. No token goes with it: the URL itself is the
    /// permission.
    ///
    /// Slack takes 5 answers within 30 minutes ("Handling user interaction"); its errors for those beyond are
    /// `used_url` and `expired_url`.
    ///
    /// # Errors
    /// The [`ApiError`] of the call, whose [`ApiError::class`] says what it means for the caller.
    pub async fn respond(&self, url: &str, payload: Bytes) -> Result<(), ApiError> {
        let fail = |failure| ApiError {
            method: RESPONSE_URL.to_owned(),
            channel: None,
            failure,
        };
        // An event is Slack's, but a mistake here would post a conversation to whoever asks for it.
        let is_safe = |url: &Url| url.scheme() == "https" || is_loopback(url);
        let url = Url::parse(url).ok().filter(is_safe).ok_or_else(|| {
            fail(Failure::Unsendable(
                "the response URL is not an https:// URL".into(),
            ))
        })?;
        let request = self
            .http()
            .post(url)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(payload);
        let mut response = request.send().await.map_err(|why| {
            let words = in_words(&why);
            fail(if why.is_connect() {
                Failure::Unreachable(words)
            } else {
                Failure::Interrupted(words)
            })
        })?;
        let mut body = Vec::new();
        while body.len() < MAX_ANSWER
            && let Some(chunk) = response
                .chunk()
                .await
                .map_err(|why| fail(Failure::Interrupted(in_words(&why))))?
        {
            body.extend_from_slice(&chunk);
        }
        outcome(response.status(), response.headers(), &body).map_err(fail)
    }
}

/// Slack says `ok`, in words or in JSON, or `{"ok": false, "error": ...}`, also with a status of 200; and where an
/// address is not good any more it may say why in words alone.
fn outcome(status: StatusCode, headers: &header::HeaderMap, body: &[u8]) -> Result<(), Failure> {
    let said = judge(status, headers, body);
    match said {
        Err(Failure::Unreadable(_)) if status.is_success() => Ok(()),
        Err(Failure::Status(status)) if (400..500).contains(&status) && status != 408 => {
            let code = std::str::from_utf8(body).map_or("", str::trim);
            let is_code = !code.is_empty()
                && code.len() < 80
                && code.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
            Err(match is_code {
                true => Failure::Refused(Box::new(Refusal {
                    code: code.to_owned(),
                    ..Refusal::default()
                })),
                false => Failure::Status(status),
            })
        }
        said => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_response_urls_are_read_in_words_and_in_json() {
        let check = |status: u16, body: &str, expect: Result<(), &str>| {
            let status = StatusCode::from_u16(status).unwrap();
            let outcome = outcome(status, &header::HeaderMap::new(), body.as_bytes());
            let error = |failure| ApiError {
                method: RESPONSE_URL.into(),
                channel: None,
                failure,
            };
            let code = outcome.map_err(|failure| error(failure).code().to_owned());
            assert_eq!(code, expect.map_err(str::to_owned), "{status} {body}");
        };
        check(200, "ok", Ok(()));
        check(200, "", Ok(()));
        check(200, r#"{"ok":true}"#, Ok(()));
        check(
            200,
            r#"{"ok":false,"error":"invalid_blocks"}"#,
            Err("invalid_blocks"),
        );
        check(
            404,
            r#"{"ok":false,"error":"expired_url"}"#,
            Err("expired_url"),
        );
        check(404, "used_url", Err("used_url"));
        check(500, r#"{"ok":false,"error":"no_text"}"#, Err("no_text"));
        check(404, "<html>", Err("http_status"));
        check(503, "busy", Err("http_status"));
        check(429, "", Err("ratelimited"));
    }

    #[test]
    fn the_addresses_of_an_interaction_are_found_wherever_slack_puts_them() {
        let check = |json: &str, expect: &[(&str, Option<&str>, Option<&str>)]| {
            let found = ResponseUrl::all_of(&Event::parse(json.to_owned()).unwrap());
            let found: Vec<_> = found
                .iter()
                .map(|it| {
                    (
                        it.url.as_str(),
                        it.channel.as_deref(),
                        it.block_id.as_deref(),
                    )
                })
                .collect();
            assert_eq!(found, expect, "{json}");
        };
        check(
            r#"{"response_url":"u","channel_id":"C1"}"#,
            &[("u", Some("C1"), None)],
        );
        check(
            r#"{"response_url":"u","channel":{"id":"C1"}}"#,
            &[("u", Some("C1"), None)],
        );
        check(
            r#"{"response_urls":[{"response_url":"u","channel_id":"C1","block_id":"b"},{"response_url":7},{"response_url":"v"}]}"#,
            &[("u", Some("C1"), Some("b")), ("v", None, None)],
        );
        for none in [
            r#"{"response_urls":[]}"#,
            r#"{"response_urls":"u"}"#,
            r#"{"response_url":""}"#,
            r#"{"response_url":null}"#,
        ] {
            check(none, &[]);
        }
    }
}
