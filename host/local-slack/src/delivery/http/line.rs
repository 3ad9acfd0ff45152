//! One connection to the app, and one request after another on it, signed.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Content, timestamp};
use crate::core::Core;

/// Longer answers, in bytes, are not read.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;
const USER_AGENT: &str = "Slackbot 1.0 (+https://api.slack.com/robots)";

/// The app's request URL, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    authority: String,
    path: String,
}

impl Target {
    /// Reads a URL; `None` where it is none, or leads off this machine.
    pub(crate) fn read(url: &str) -> Option<Target> {
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

/// The app's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The app has forbidden to try again.
    pub(crate) no_retry: bool,
}

/// There was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    NoTarget,
    Connection,
    Timeout,
}

impl Refused {
    /// As `X-Slack-Retry-Reason` names it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Refused::NoTarget | Refused::Connection => "connection_failed",
            Refused::Timeout => "http_timeout",
        }
    }
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection that is kept for the next request; the requests drive it.
#[derive(Default)]
pub(crate) struct Line {
    open: Option<(Target, SendRequest<Full<Bytes>>, Driver)>,
}

/// The headers that Slack's requests have, beside those of HTTP itself.
fn headers(
    core: &Core,
    content: &Content,
    retry: Option<(u32, &str)>,
) -> Vec<(&'static str, String)> {
    let at = timestamp();
    let mut headers = vec![
        ("content-type", content.kind.to_owned()),
        ("user-agent", USER_AGENT.to_owned()),
        ("accept", "*/*".to_owned()),
        ("x-slack-request-timestamp", at.to_string()),
        (
            "x-slack-signature",
            signature(core.deliveries.http.secret(), at, &content.body),
        ),
    ];
    if let Some((number, reason)) = retry {
        headers.push(("x-slack-retry-num", number.to_string()));
        headers.push(("x-slack-retry-reason", reason.to_owned()));
    }
    headers
}

/// `v0=` and the hash of the version, the time and the body, in hex.
pub(crate) fn signature(secret: &str, at: u64, body: &[u8]) -> String {
    // Keys of any length are taken, so that this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(format!("v0:{at}:").as_bytes());
    mac.update(body);
    let hash = mac.finalize().into_bytes();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v0={hex}")
}

impl Line {
    /// Posts to the app's URL, and waits for the answer as long as Slack does.
    pub(crate) async fn post(
        &mut self,
        core: &Core,
        content: &Content,
        retry: Option<(u32, &str)>,
    ) -> Result<Answer, Refused> {
        let target = core.deliveries.http.target().ok_or(Refused::NoTarget)?;
        let exchange = self.exchange(core, &target, content, retry);
        let outcome = tokio::time::timeout(core.deliveries.ack_timeout(), exchange).await;
        if !matches!(outcome, Ok(Ok(_))) {
            self.open = None;
        }
        outcome.unwrap_or(Err(Refused::Timeout))
    }

    async fn exchange(
        &mut self,
        core: &Core,
        target: &Target,
        content: &Content,
        retry: Option<(u32, &str)>,
    ) -> Result<Answer, Refused> {
        let headers = headers(core, content, retry);
        let reused = self.is_open(target).await;
        match self.once(target, content, &headers).await {
            // The app closed the connection just before the request was begun.
            Err(error) if reused && error.as_ref().is_none_or(hyper::Error::is_canceled) => {
                self.open = None;
                let again = self.once(target, content, &headers).await;
                again.map_err(|_| Refused::Connection)
            }
            outcome => outcome.map_err(|_| Refused::Connection),
        }
    }

    /// Whether there is a connection to this target that was not closed meanwhile.
    async fn is_open(&mut self, target: &Target) -> bool {
        let Some((to, _, driver)) = &mut self.open else {
            return false;
        };
        let is_over = tokio::select! {
            biased;
            _ = driver => true,
            () = std::future::ready(()) => false,
        };
        if is_over || to != target {
            self.open = None;
        }
        self.open.is_some()
    }

    /// Makes one request; without an error of HTTP where no connection could be had.
    async fn once(
        &mut self,
        target: &Target,
        content: &Content,
        headers: &[(&'static str, String)],
    ) -> Result<Answer, Option<hyper::Error>> {
        if self.open.is_none() {
            let stream = TcpStream::connect(&target.authority).await;
            let stream = stream.map_err(|_| None)?;
            stream.set_nodelay(true).ok();
            let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(Some)?;
            self.open = Some((target.clone(), sender, Box::pin(driver)));
        }
        let Some((_, sender, driver)) = &mut self.open else {
            return Err(None);
        };
        let mut request = Request::post(&target.path).header(header::HOST, &target.authority);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(content.body.clone()));
        let request = request.map_err(|_| None)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(Some)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await;
            Ok(Answer {
                status: head.status.as_u16(),
                body: body.map_err(|_| None)?.to_bytes(),
                no_retry: head
                    .headers
                    .get("x-slack-no-retry")
                    .is_some_and(|value| value == "1"),
            })
        };
        let (outcome, is_over) = driven(driver, answered).await;
        if is_over {
            self.open = None;
        }
        outcome
    }
}

/// Drives a connection until `answered` is there; whether the connection is over.
async fn driven<T>(driver: &mut Driver, answered: impl Future<Output = T>) -> (T, bool) {
    let mut is_over = false;
    tokio::pin!(answered);
    loop {
        tokio::select! {
            answered = &mut answered => return (answered, is_over),
            // What has come on the connection is still in the answer's hands.
            _ = &mut *driver, if !is_over => is_over = true,
        }
    }
}

/// Sends a request and cuts the connection without waiting for the answer.
pub(super) async fn post_and_leave(core: &Core, content: &Content, retry: Option<(u32, &str)>) {
    let Some(target) = core.deliveries.http.target() else {
        return;
    };
    let mut request = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n",
        target.path,
        target.authority,
        content.body.len()
    );
    for (name, value) in headers(core, content, retry) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    // An app that is not there notices as little as one that is cut off.
    if let Ok(mut stream) = TcpStream::connect(&target.authority).await {
        stream.write_all(request.as_bytes()).await.ok();
        stream.write_all(&content.body).await.ok();
        stream.flush().await.ok();
        // A moment in which the app can begin to work on it.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
