//! Slack's requests over HTTP, through the handler that serves them: nothing is handed out that Slack did not sign.
//!
//! The first byte of an input says of which kind the request is. Of one that is signed, the rest is the body; of another,
//! the time, the signature and the count of retries stand before it, each in a line.

use std::cell::RefCell;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use djangobot_event::Event;
use djangobot_slack::http_events::{Config, PATHS, router};
use djangobot_slack::{Frame, Incoming};
use hmac::{Hmac, Mac};
use local_slack::browser;
use serde_json::{Map, Value};
use sha2::Sha256;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tower::ServiceExt;
use url::{Host, Url};

use super::envelopes::check_origin;
use crate::{Target, json, pieces, proportion, samples};

pub(crate) const TARGET: Target = Target {
    name: "http",
    check,
    seeds,
    words: &[
        "payload=",
        "command=%2Fdo",
        "&text=",
        "&token=",
        "ssl_check=1",
        "%7B%22",
        "%22%3A",
        "+",
        "%",
        "v0=",
        "\n",
        "\"type\":\"url_verification\"",
        "\"challenge\":\"",
        "\"event\":{",
        "\"event_id\":",
        "\"token\":",
        "localhost",
        "127.0.0.1:80",
        "[::1]",
        "http://",
        "same-origin",
        "cross-site",
        "null",
    ],
    longest: 1024,
};

const SECRET: &str = "hunter2hunter2";
/// Bits of the first byte.
const FORM: usize = 1;
const UNSIGNED: usize = 2;
const GET: usize = 4;

fn seeds() -> Vec<Vec<u8>> {
    let with = |choice: usize, body: &[u8]| [&[choice as u8][..], body].concat();
    let mut seeds = vec![
        with(0, br#"{"token":"hush","team_id":"T1","event_id":"Ev1","event":{"type":"message"},"event_time":5,"authorizations":[]}"#),
        with(0, br#"{"type":"url_verification","challenge":"3eZ","token":"hush"}"#),
        with(FORM, b"token=hush&command=%2Fdo&text=a+b%26%C3%A9%0A&team_id=T1&text=again"),
        with(FORM, b"payload=%7B%22type%22%3A%22view_submission%22%2C%22token%22%3A%22hush%22%7D"),
        with(FORM, b"ssl_check=1&token=hush"),
        with(FORM | UNSIGNED, b"1\nv0=00\n1\nssl_check=1"),
        with(UNSIGNED, b"1795345843\nv0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503\n2\n{}"),
        with(GET, b"ssl_check=1"),
    ];
    let pages: [&[u8]; 8] = [
        b"localhost:80",
        b"127.0.0.1:80\nhttp://127.0.0.1:80",
        b"[::1]\nhttp://evil.example",
        b"app.localhost\n\nsame-origin",
        b"[::ffff:127.0.0.1]:80\nnull\ncross-site",
        b"evil.example",
        b"localhost.evil.example:80\nhttp://localhost",
        b"me@localhost",
    ];
    seeds.extend(pages.iter().map(|page| with(GET | UNSIGNED, page)));
    let slacks = samples::of_slack();
    seeds.extend(slacks.iter().map(|payload| with(0, payload)));
    seeds
}

fn check(input: &[u8]) {
    let (choice, rest) = pieces::choice(input);
    if choice & (UNSIGNED | GET) == UNSIGNED | GET {
        check_page(rest);
    }
    let Some((request, body)) = request(choice, rest) else {
        return;
    };
    let (status, answer, frames) =
        proportion::bounded_by(256 * input.len() + (256 << 10), || served(request));
    assert!(!answer.contains(SECRET), "{answer}");
    if choice & (UNSIGNED | GET) != 0 {
        assert!(
            frames.is_empty(),
            "{frames:?} was handed out, and Slack did not sign it"
        );
        let is_ssl_check = status == StatusCode::OK && answer.is_empty();
        assert!(
            is_ssl_check || status.is_client_error(),
            "{status} {answer}"
        );
        return;
    }
    let text = json_of(&body);
    match frames.as_slice() {
        [] => assert!(
            [StatusCode::OK, StatusCode::BAD_REQUEST].contains(&status),
            "{status} {answer}"
        ),
        [frame] => {
            check_origin(&frame.origin);
            assert_eq!(
                frame.event.is_ok(),
                status == StatusCode::OK,
                "{status} {answer}"
            );
            let Ok(event) = &frame.event else {
                return;
            };
            assert!(event.field("token").is_none());
            let is_command = frame.origin.kind.as_deref() == Some("slash_commands");
            if is_command {
                let text = json::text(event);
                json::assert_same(
                    &serde_json::from_str(&text).expect("it is JSON"),
                    &form_of(&body),
                );
            } else if choice & FORM == 0 {
                assert!(text.is_some(), "only an object is an event");
            }
        }
        more => panic!("one request is {more:?}"),
    }
}

/// The request, and the body that Slack signs.
fn request(choice: usize, rest: &[u8]) -> Option<(Request<Body>, Vec<u8>)> {
    let kind = match choice & FORM {
        0 => "application/json",
        _ => "application/x-www-form-urlencoded",
    };
    let path = PATHS[choice / 8 % PATHS.len()];
    if choice & GET != 0 {
        let query = str::from_utf8(rest).ok()?;
        let request = Request::get(format!("{path}?{query}"))
            .body(Body::empty())
            .ok()?;
        return Some((request, Vec::new()));
    }
    let mut builder = Request::post(path).header("content-type", kind);
    let body = if choice & UNSIGNED != 0 {
        let mut lines = rest.splitn(4, |&byte| byte == b'\n');
        for name in [
            "x-slack-request-timestamp",
            "x-slack-signature",
            "x-slack-retry-num",
        ] {
            builder = builder.header(name, HeaderValue::from_bytes(lines.next()?).ok()?);
        }
        lines.next()?
    } else {
        let now = SystemTime::UNIX_EPOCH.elapsed().ok()?.as_secs();
        let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())
            .ok()?
            .chain_update(format!("v0:{now}:"))
            .chain_update(rest);
        builder = builder
            .header("x-slack-request-timestamp", now.to_string())
            .header(
                "x-slack-signature",
                format!("v0={:x}", mac.finalize().into_bytes()),
            );
        rest
    };
    // As a client says it: what is not signed is read only where it is short.
    builder = builder.header("content-length", body.len());
    Some((builder.body(Body::from(body.to_vec())).ok()?, body.to_vec()))
}

/// Whether `local-slack` and operators' pages take a request: nothing of a web page, nothing under a name that is not this
/// machine's. In each line a value: `Host`, `Origin`, `Sec-Fetch-Site`.
fn check_page(lines: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut said = Vec::new();
    for (name, line) in ["host", "origin", "sec-fetch-site"]
        .into_iter()
        .zip(lines.split(|&byte| byte == b'\n'))
    {
        let value = HeaderValue::from_bytes(line).ok();
        if let Some(value) = value.filter(|_| name == "host" || !line.is_empty()) {
            said.push((name, line));
            headers.insert(name, value);
        }
    }
    let of = |name| said.iter().find(|it| it.0 == name).map(|it| it.1);
    let (host, origin, site) = (of("host"), of("origin"), of("sec-fetch-site"));
    let refused = proportion::bounded(lines, 64, || browser::refusal(&headers));
    let is_of_this_machine = host.is_none_or(|host| {
        let url = str::from_utf8(host)
            .ok()
            .map(|host| format!("http://{}/", host.trim()));
        let url = url.and_then(|url| Url::parse(&url).ok());
        url.is_some_and(|url| match url.host() {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
            None => false,
        })
    });
    if refused.is_none() {
        assert!(is_of_this_machine, "{said:?}");
        assert!(
            site.is_none_or(|site| [&b"same-origin"[..], b"none"].contains(&site.trim_ascii())),
            "{said:?}"
        );
        let own = |origin: &[u8]| {
            let origin = origin.trim_ascii().to_ascii_lowercase();
            let host = host.unwrap_or_default().trim_ascii().to_ascii_lowercase();
            [&b"http://"[..], b"ws://"]
                .iter()
                .any(|scheme| origin == [scheme, host.as_slice()].concat())
        };
        assert!(origin.is_none_or(own), "{said:?}");
    }
}

/// How the request was answered, and what was handed out, each of which was acknowledged.
fn served(request: Request<Body>) -> (StatusCode, String, Vec<Frame>) {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            Builder::new_current_thread().enable_time().build().expect("a runtime")
        );
    }
    let (out, mut incoming) = mpsc::channel(4);
    let config = Config {
        signing_secrets: vec![SECRET.into()].into(),
        ..Config::default()
    };
    let router = router(config, out);
    let answered = async {
        let response = router.oneshot(request).await.expect("it can't fail");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        let body = String::from_utf8_lossy(&body.expect("it is short")).into_owned();
        (status, body)
    };
    let taken = async {
        let mut frames = Vec::new();
        while let Some(incoming) = incoming.recv().await {
            let Incoming::Frame(mut frame) = incoming else {
                panic!("the handler begins no session");
            };
            if let Some(ack) = frame.ack.take() {
                ack.confirm();
            }
            frames.push(frame);
        }
        frames
    };
    let ((status, answer), frames) =
        RUNTIME.with_borrow(|runtime| runtime.block_on(async { tokio::join!(answered, taken) }));
    (status, answer, frames)
}

fn json_of(body: &[u8]) -> Option<Event> {
    Event::parse(body.to_vec()).ok()
}

/// A form's fields, of which the last of a name counts, without tokens.
fn form_of(body: &[u8]) -> Value {
    let fields = form_urlencoded::parse(body);
    let mut fields: Map<String, Value> = fields
        .map(|(key, value)| (key.into_owned(), Value::String(value.into_owned())))
        .collect();
    for token in ["token", "bot_access_token"] {
        fields.remove(token);
    }
    Value::Object(fields)
}
