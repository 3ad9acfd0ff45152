//! One connection to the app, and one request after another on it, signed.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::delivery::http::request::{Content, Endpoint, Target, headers};

/// Longer answers, in bytes, are not read.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// The app's answer.
#[derive(Debug)]
pub(crate) struct AppResponse {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The app has forbidden to try again.
    pub(crate) no_retry: bool,
}

/// There was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestError {
    NoTarget,
    Connection,
    Timeout,
}

impl RequestError {
    /// As `X-Slack-Retry-Reason` names it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            RequestError::NoTarget | RequestError::Connection => "connection_failed",
            RequestError::Timeout => "http_timeout",
        }
    }
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection that is kept for the next request; the requests drive it.
#[derive(Default)]
pub(crate) struct Line {
    open: Option<OpenConnection>,
}

/// An open connection to the app.
struct OpenConnection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

impl Line {
    /// Posts to the app's URL, and waits for the answer as long as Slack does.
    pub(crate) async fn post(
        &mut self,
        endpoint: &Endpoint,
        content: &Content,
        retry: Option<(u32, &str)>,
    ) -> Result<AppResponse, RequestError> {
        let target = endpoint.target().ok_or(RequestError::NoTarget)?;
        let headers = headers(&endpoint.secret, content, retry);
        let exchange = self.exchange(&target, content, &headers);
        let outcome = tokio::time::timeout(endpoint.timeout, exchange).await;
        if !matches!(outcome, Ok(Ok(_))) {
            self.open = None;
        }
        outcome.unwrap_or(Err(RequestError::Timeout))
    }

    async fn exchange(
        &mut self,
        target: &Target,
        content: &Content,
        headers: &[(&'static str, String)],
    ) -> Result<AppResponse, RequestError> {
        let reused = self.is_open(target).await;
        match self.once(target, content, headers).await {
            // The app closed the connection just before the request was begun.
            Err(error) if reused && error.as_ref().is_none_or(hyper::Error::is_canceled) => {
                self.open = None;
                let again = self.once(target, content, headers).await;
                again.map_err(|_| RequestError::Connection)
            }
            outcome => outcome.map_err(|_| RequestError::Connection),
        }
    }

    /// Whether there is an open connection to this target.
    async fn is_open(&mut self, target: &Target) -> bool {
        let Some(OpenConnection {
            target: to, driver, ..
        }) = &mut self.open
        else {
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
    ) -> Result<AppResponse, Option<hyper::Error>> {
        if self.open.is_none() {
            let stream = TcpStream::connect(&target.authority).await;
            let stream = stream.map_err(|_| None)?;
            stream.set_nodelay(true).ok();
            let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(Some)?;
            self.open = Some(OpenConnection {
                target: target.clone(),
                sender,
                driver: Box::pin(driver),
            });
        }
        let Some(OpenConnection { sender, driver, .. }) = &mut self.open else {
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
            Ok(AppResponse {
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
            // The rest of the answer is already buffered when the connection ends.
            _ = &mut *driver, if !is_over => is_over = true,
        }
    }
}

/// Sends a request and cuts the connection without waiting for the answer.
pub(crate) async fn post_and_leave(
    endpoint: &Endpoint,
    content: &Content,
    retry: Option<(u32, &str)>,
) {
    let Some(target) = endpoint.target() else {
        return;
    };
    let mut request = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n",
        target.path,
        target.authority,
        content.body.len()
    );
    for (name, value) in headers(&endpoint.secret, content, retry) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    // It does not matter whether the app is there: no answer is read.
    if let Ok(mut stream) = TcpStream::connect(&target.authority).await {
        stream.write_all(request.as_bytes()).await.ok();
        stream.write_all(&content.body).await.ok();
        stream.flush().await.ok();
        // A moment in which the app can begin to work on it.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
