//! Over real connections: the router serves on loopback, and requests come from an HTTP client.

use hmac::{Hmac, Mac};
use reqwest::{RequestBuilder, Response};
use serde_json::json;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::testing::soon;
use crate::{AnswerError, api};

const SECRET: &str = "a secret";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// The handler at work.
struct Http {
    incoming: mpsc::Receiver<Incoming>,
    counts: Arc<Counts>,
    address: std::net::SocketAddr,
    client: reqwest::Client,
    _task: AbortOnDropHandle<()>,
}

fn config() -> Config {
    Config {
        signing_secrets: vec![SECRET.into()].into(),
        ..Config::default()
    }
}

impl Http {
    async fn start(config: Config) -> Self {
        let (out, incoming) = mpsc::channel(1);
        let counts = Arc::clone(&config.counts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(config, out);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(api::tls(false).unwrap())
            .no_proxy()
            .build()
            .unwrap();
        Http {
            incoming,
            counts,
            address,
            client,
            _task: AbortOnDropHandle::new(serving),
        }
    }

    fn unsigned(&self, path: &str, kind: &str, body: &str) -> RequestBuilder {
        self.client
            .post(format!("http://{}{path}", self.address))
            .header(header::CONTENT_TYPE, kind)
            .body(body.to_owned())
    }

    fn signed(&self, path: &str, kind: &str, body: &str) -> RequestBuilder {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())
            .unwrap()
            .chain_update(format!("v0:{now}:{body}"));
        let signature = format!("v0={:x}", mac.finalize().into_bytes());
        self.unsigned(path, kind, body)
            .header("X-Slack-Request-Timestamp", now)
            .header("X-Slack-Signature", signature)
    }

    /// Sends a request, does something with the frame that comes out, and gives the answer.
    async fn ask<T>(
        &mut self,
        request: RequestBuilder,
        then: impl FnOnce(Frame) -> T,
    ) -> (Response, T) {
        let taking = async {
            match self.incoming.recv().await.unwrap() {
                Incoming::Frame(frame) => then(frame),
                other => panic!("{other:?}"),
            }
        };
        let (response, done) = soon(async { tokio::join!(request.send(), taking) }).await;
        (response.unwrap(), done)
    }

    /// The status and words of the answer to what is not handed out.
    async fn refused(&mut self, request: RequestBuilder) -> (u16, String) {
        let response = soon(request.send()).await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert!(self.incoming.try_recv().is_err(), "{text}");
        (status, text)
    }
}

/// The head of a request whose headers could be Slack's, with `more` in it.
fn forged(more: &str) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let digits = "0".repeat(64);
    format!(
        "POST /slack/events HTTP/1.1\r\nhost: x\r\nx-slack-request-timestamp: {now}\r\nx-slack-signature: v0={digits}\r\n{more}\r\n\r\n"
    )
}

/// Sends `bytes` on a connection of its own, and gives that with the first line of the answer.
async fn exchanged(http: &Http, bytes: &[u8]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(http.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = [0; 12];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    (stream, String::from_utf8(answer.to_vec()).unwrap())
}

fn event() -> String {
    json!({"type": "event_callback", "event_id": "Ev1", "event": {"type": "message"}}).to_string()
}

fn confirm(frame: Frame) -> Frame {
    let Frame { ack, .. } = frame;
    ack.unwrap().confirm();
    Frame { ack: None, ..frame }
}

#[tokio::test]
async fn an_event_is_answered_once_it_is_acknowledged() {
    let mut http = Http::start(config()).await;
    for path in PATHS {
        let request = http.signed(path, JSON, &event());
        let (response, frame) = http.ask(request, confirm).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().await.unwrap(), "");
        assert_eq!(frame.origin.event_id.as_deref(), Some("Ev1"));
        assert_eq!((frame.origin.attempt, frame.origin.retry_reason), (1, None));
        assert_eq!(
            frame.event.unwrap().raw(),
            br#"{"type":"message"}"#.as_slice()
        );
    }
}

#[tokio::test]
async fn a_retry_is_known_by_its_headers() {
    let mut http = Http::start(config()).await;
    let request = http
        .signed(PATHS[0], JSON, &event())
        .header("X-Slack-Retry-Num", "2")
        .header("X-Slack-Retry-Reason", "http_timeout");
    let (_, frame) = http.ask(request, confirm).await;
    assert_eq!(frame.origin.attempt, 3);
    assert_eq!(frame.origin.retry_reason.as_deref(), Some("http_timeout"));
}

#[tokio::test]
async fn an_answer_is_the_body_of_the_response() {
    let mut http = Http::start(config()).await;
    let request = http.signed(PATHS[1], FORM, "command=%2Fdo&text=it");
    let (response, done) = http
        .ask(request, |frame| {
            assert!(frame.origin.answerable);
            frame
                .ack
                .unwrap()
                .answer(json!({"text": "x".repeat(30_000)}).to_string().into())
        })
        .await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        response.headers()["content-type"],
        "application/json; charset=utf-8"
    );
    assert!(response.text().await.unwrap().len() > 30_000);

    let request = http.signed(PATHS[0], JSON, &event());
    let (response, done) = http
        .ask(request, |frame| frame.ack.unwrap().answer("{}".into()))
        .await;
    assert_eq!(done, Err(AnswerError::NotAccepted));
    assert_eq!(
        (response.status().as_u16(), response.text().await.unwrap()),
        (200, String::new())
    );
}

#[tokio::test]
async fn slack_is_to_send_unacknowledged_events_again() {
    let mut http = Http::start(Config {
        answer_within: Duration::from_millis(300),
        ..config()
    })
    .await;
    let request = http.signed(PATHS[0], JSON, &event());
    let (response, ()) = http.ask(request, drop).await;
    assert_eq!(response.status(), 503);
    assert!(!response.headers().contains_key("x-slack-no-retry"));

    let request = http.signed(PATHS[0], JSON, &event());
    let (response, late) = http.ask(request, |frame| frame).await;
    assert_eq!(response.status(), 503);
    late.ack.unwrap().confirm();

    // Nobody takes the first of these two, so that there is no room for the second.
    let both = [(); 2].map(|()| http.signed(PATHS[0], JSON, &event()).send());
    for response in soon(futures_util::future::join_all(both)).await {
        assert_eq!(response.unwrap().status(), 503);
    }
    assert_eq!(http.counts.of(Outcome::Unanswered), 4);

    http.incoming.close();
    let response = soon(http.signed(PATHS[0], JSON, &event()).send()).await;
    assert_eq!(response.unwrap().status(), 503);
}

#[tokio::test]
async fn nothing_comes_out_that_slack_did_not_sign() {
    let mut http = Http::start(config()).await;
    for path in PATHS {
        for (kind, body) in [
            (JSON, event()),
            (
                JSON,
                r#"{"type":"url_verification","challenge":"c"}"#.into(),
            ),
            (FORM, "command=%2Fdo".into()),
            (FORM, "payload={}".into()),
            (JSON, "rubbish".into()),
        ] {
            let bare = http.unsigned(path, kind, &body);
            let (status, text) = http.refused(bare).await;
            assert_eq!(status, 401, "{text}");
            assert!(text.contains("not from Slack"), "{text}");

            let mut forged = http.signed(path, kind, &body).build().unwrap();
            *forged.body_mut() = Some(format!("{body} ").into());
            let forged = RequestBuilder::from_parts(http.client.clone(), forged);
            let (status, text) = http.refused(forged).await;
            assert_eq!(status, 401, "{text}");
            assert!(text.contains("signature is wrong"), "{text}");
        }
    }
    assert_eq!(http.counts.of(Outcome::Unsigned), 15);
    assert_eq!(http.counts.of(Outcome::Refused), 15);
}

#[tokio::test]
async fn slacks_checks_of_the_url_and_the_certificate_are_answered() {
    let mut http = Http::start(config()).await;
    let challenge = r#"{"type":"url_verification","challenge":"3eZbrw1aB","token":"hush"}"#;
    let request = http.signed(PATHS[0], JSON, challenge);
    assert_eq!(http.refused(request).await, (200, "3eZbrw1aB".into()));

    let request = http.unsigned(PATHS[1], FORM, "ssl_check=1&token=hush");
    assert_eq!(http.refused(request).await, (200, String::new()));
    let request = http.signed(PATHS[1], FORM, "ssl_check=1&token=hush");
    assert_eq!(http.refused(request).await, (200, String::new()));
    let url = format!("http://{}{}", http.address, PATHS[1]);
    let request = http.client.get(format!("{url}?ssl_check=1"));
    assert_eq!(http.refused(request).await, (200, String::new()));
    let request = http.client.get(url);
    assert_eq!(http.refused(request).await.0, 405);
}

#[tokio::test]
async fn a_body_that_can_not_be_read_is_reported_to_both_sides() {
    let mut http = Http::start(config()).await;
    let request = http.signed(PATHS[0], JSON, r#"{"event":"#);
    let (response, frame) = http.ask(request, |frame| frame).await;
    assert_eq!(response.status(), 400);
    let text = response.text().await.unwrap();
    assert!(text.contains("not a JSON object"), "{text}");
    assert!(matches!(frame.event, Err(BadFrame::Unreadable { .. })));
    assert!(frame.ack.is_none());

    let request = http.signed(PATHS[0], FORM, "nothing=1");
    assert_eq!(http.refused(request).await.0, 400);
}

#[tokio::test]
async fn a_body_has_a_limit_whether_its_length_is_said_or_not() {
    let mut http = Http::start(Config {
        max_body_bytes: 1000,
        ..config()
    })
    .await;
    let long = format!(r#"{{"event":{{"text":"{}"}}}}"#, "x".repeat(1000));
    let request = http.signed(PATHS[0], JSON, &long);
    let (status, text) = http.refused(request).await;
    assert_eq!(
        (status, text.as_str()),
        (413, "the body is longer than 1000 bytes\n")
    );

    let head = forged("transfer-encoding: chunked");
    let chunked = format!("{head}{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    assert_eq!(exchanged(&http, chunked.as_bytes()).await.1, "HTTP/1.1 413");
}

#[tokio::test]
async fn bodies_that_never_come_take_no_room_and_those_that_wait_do() {
    let mut http = Http::start(Config {
        answer_within: Duration::from_secs(2),
        max_waiting_bytes: 4 << 10,
        ..config()
    })
    .await;
    let stalled = format!("{}{{", forged("content-length: 4000000"));
    assert_eq!(exchanged(&http, stalled.as_bytes()).await.1, "HTTP/1.1 408");

    // One that waits for its acknowledgement takes all the room that there is.
    let wide = format!("{}{}", event(), " ".repeat(3 << 10));
    let request = http.signed(PATHS[0], JSON, &wide);
    let (first, second) = (request.send(), http.signed(PATHS[0], JSON, &event()));
    let first = AbortOnDropHandle::new(tokio::spawn(first));
    let Some(Incoming::Frame(frame)) = soon(http.incoming.recv()).await else {
        panic!("no frame");
    };
    let (status, text) = http.refused(second).await;
    assert_eq!(status, 503);
    assert!(text.contains("more requests are waiting"), "{text}");
    drop(frame);
    drop(first);
}

#[tokio::test]
async fn a_request_at_another_path_gets_the_right_url_and_so_does_the_log() {
    let mut http = Http::start(config()).await;
    for path in ["/slack/event", "/", "/events", "/slack/actions?x=1"] {
        let request = http.signed(path, JSON, &event());
        let (status, text) = http.refused(request).await;
        assert_eq!(status, 404, "{text}");
        let asked = path.split('?').next().unwrap();
        let right = format!("https://{}/slack/events", http.address);
        assert!(
            text.contains(&format!("POST {asked}:")) && text.contains(&right),
            "{text}"
        );
    }
    assert_eq!(http.counts.of(Outcome::UnknownPath), 4);
}

#[tokio::test]
async fn a_request_is_named_by_its_signature() {
    let mut http = Http::start(config()).await;
    let closed = "payload=%7B%22type%22%3A%22view_closed%22%7D";
    let request = http.signed(PATHS[0], FORM, closed).build().unwrap();
    let mut named = Vec::new();
    for _ in 0..2 {
        let again = RequestBuilder::from_parts(http.client.clone(), request.try_clone().unwrap());
        let (_, frame) = http.ask(again, confirm).await;
        named.push(frame.origin.signature.unwrap());
    }
    assert_eq!(named[0], named[1]);
    let request = http.signed(PATHS[0], FORM, &format!("{closed}&x=1"));
    let (_, frame) = http.ask(request, confirm).await;
    assert_ne!(frame.origin.signature.unwrap(), named[0]);
    assert_eq!(http.counts.of(Outcome::Taken), 3);
}

#[tokio::test]
async fn a_request_whose_headers_are_not_slacks_is_refused_before_its_body_comes() {
    let http = Http::start(config()).await;
    let old = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() - 301;
    let unsigned =
        "POST /slack/events HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n".to_owned();
    let whole = forged("content-length: 4000000\r\nexpect: 100-continue");
    let without = |part: &str| whole.replace(part, "x-other");
    let time = whole
        .lines()
        .find(|line| line.contains("timestamp"))
        .unwrap();
    for (status, head) in [
        (401, unsigned.clone()),
        (
            401,
            unsigned.replace("content-length: 4000000", "transfer-encoding: chunked"),
        ),
        (
            401,
            unsigned.replace("host", &format!("content-type: {FORM}\r\nhost")),
        ),
        (401, without("x-slack-signature")),
        (401, without("x-slack-request-timestamp")),
        (401, whole.replace("v0=", "v1=")),
        (401, whole.replace("v0=0", "v0=")),
        (
            401,
            whole.replace(time, &format!("x-slack-request-timestamp: {old}")),
        ),
        (401, whole.replace(time, "x-slack-request-timestamp: soon")),
        (413, whole.replace("4000000", "4194305")),
        (413, whole.replace("4000000", "99999999999")),
    ] {
        let (_, answer) = exchanged(&http, head.as_bytes()).await;
        assert_eq!(answer, format!("HTTP/1.1 {status}"), "{head}");
    }
    // One that could be Slack's is asked for its body.
    assert_eq!(exchanged(&http, whole.as_bytes()).await.1, "HTTP/1.1 100");
}

#[tokio::test]
async fn bodies_that_come_slowly_give_way_to_those_of_slack() {
    let mut http = Http::start(Config {
        max_waiting_bytes: 16 << 10,
        ..config()
    })
    .await;
    let mut stalled = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(http.address).await.unwrap();
        let head = forged("content-length: 4000000");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Without an answer: it is not whole.
        stream.write_all(&[b'x'; 4 << 10]).await.unwrap();
        stalled.push(stream);
    }
    for _ in 0..3 {
        let wide = format!("{}{}", event(), " ".repeat(10 << 10));
        let request = http.signed(PATHS[0], JSON, &wide);
        let (response, _) = http.ask(request, confirm).await;
        assert_eq!(response.status(), 200);
    }
    assert_eq!(http.counts.of(Outcome::Taken), 3);
}
