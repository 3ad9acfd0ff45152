//! A request to the app: where it goes, its body, and its headers with the signature.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use hmac::{Hmac, Mac};
use hyper::Uri;
use serde_json::Value;
use sha2::Sha256;

use crate::delivery::parcel::Parcel;
use crate::lock::lock;
use crate::state::ts::now_micros;

const USER_AGENT: &str = "Slackbot 1.0 (+https://api.slack.com/robots)";

/// Where requests to the app go, what they are signed with, and how long their answers are waited for.
#[derive(Debug)]
pub(crate) struct Endpoint {
    target: Mutex<Option<Target>>,
    pub(super) secret: String,
    pub(super) timeout: Duration,
}

impl Endpoint {
    pub(super) fn new(secret: &str, timeout: Duration) -> Self {
        Self {
            target: Mutex::default(),
            secret: secret.to_owned(),
            timeout,
        }
    }

    /// Where requests go from now on.
    pub(crate) fn aim(&self, target: Option<Target>) {
        *lock(&self.target) = target;
    }

    pub(super) fn target(&self) -> Option<Target> {
        lock(&self.target).clone()
    }

    pub(super) fn is_used(&self) -> bool {
        lock(&self.target).is_some()
    }
}

/// The app's request URL, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) authority: String,
    pub(super) path: String,
}

impl Target {
    /// Reads a URL; `None` where it is not a URL, or leads off this machine.
    pub(crate) fn read(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        let host = authority.host().trim_matches(['[', ']']);
        let address = host.parse::<std::net::IpAddr>().ok();
        let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        if uri.scheme_str() != Some("http") || !is_here || authority.as_str().contains('@') {
            return None;
        }
        let query = uri.query().map(|query| format!("?{query}"));
        let port = authority.port_u16().unwrap_or(80);
        Some(Target {
            authority: format!("{}:{port}", authority.host()),
            path: format!("{}{}", uri.path(), query.unwrap_or_default()),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// A body and its type.
pub(crate) struct Content {
    pub(crate) kind: &'static str,
    pub(crate) body: Bytes,
}

impl Content {
    pub(crate) fn json(body: Bytes) -> Self {
        let kind = "application/json";
        Content { kind, body }
    }

    pub(crate) fn form(fields: &[(&str, &str)]) -> Self {
        let mut form = Serializer::new(String::new());
        form.extend_pairs(fields);
        Content {
            kind: "application/x-www-form-urlencoded",
            body: Bytes::from(form.finish()),
        }
    }

    pub(crate) fn of(parcel: &Parcel) -> Self {
        match &*parcel.kind {
            "slash_commands" => {
                let fields: Value = serde_json::from_slice(&parcel.payload).unwrap_or_default();
                let fields = fields.as_object().into_iter().flatten();
                let fields: Vec<(&str, &str)> = fields
                    .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
                    .collect();
                Content::form(&fields)
            }
            "interactive" => {
                let payload = String::from_utf8_lossy(&parcel.payload);
                Content::form(&[("payload", &payload)])
            }
            _ => Content::json(parcel.payload.clone()),
        }
    }

    pub(crate) fn broken_off(self) -> Self {
        let half = self.body.len() / 2;
        Content {
            body: self.body.slice(..half),
            ..self
        }
    }
}

/// The headers of Slack's requests, apart from those of HTTP itself.
pub(super) fn headers(
    secret: &str,
    content: &Content,
    retry: Option<(u32, &str)>,
) -> Vec<(&'static str, String)> {
    let at = timestamp();
    let mut headers = vec![
        ("content-type", content.kind.to_owned()),
        ("user-agent", USER_AGENT.to_owned()),
        ("accept", "*/*".to_owned()),
        ("x-slack-request-timestamp", at.to_string()),
        ("x-slack-signature", signature(secret, at, &content.body)),
    ];
    if let Some((number, reason)) = retry {
        headers.push(("x-slack-retry-num", number.to_string()));
        headers.push(("x-slack-retry-reason", reason.to_owned()));
    }
    headers
}

/// `v0=` and the hash of the version, the time and the body, in hex.
pub(crate) fn signature(secret: &str, at: u64, body: &[u8]) -> String {
    // Keys of any length are allowed, so that this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(format!("v0:{at}:").as_bytes());
    mac.update(body);
    let hash = mac.finalize().into_bytes();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v0={hex}")
}

/// Seconds since 1970, as a request's timestamp has them.
fn timestamp() -> u64 {
    now_micros() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_slacks_example() {
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
            channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
            response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
            trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let expect = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let secret = "8f742231b10e8888abcd99yyyzzz85a5";
        assert_eq!(signature(secret, 1_531_420_618, body.as_bytes()), expect);
    }

    #[test]
    fn requests_go_to_this_machine_only() {
        let check = |url: &str, expect: Option<&str>| {
            let read = Target::read(url).map(|target| target.to_string());
            assert_eq!(read.as_deref(), expect, "{url}");
        };
        check(
            "http://127.0.0.1:8000/slack/events",
            Some("http://127.0.0.1:8000/slack/events"),
        );
        check("http://localhost?a=b", Some("http://localhost:80/?a=b"));
        check("http://[::1]:9", Some("http://[::1]:9/"));
        check("https://127.0.0.1/", None);
        check("http://example.com/", None);
        check("http://user@127.0.0.1/", None);
        check("127.0.0.1:8000", None);
        check("nonsense", None);
    }
}
