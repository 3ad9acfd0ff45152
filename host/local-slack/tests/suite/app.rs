//! An app of the tests' own: its side of HTTP, where each request is seen and answered by the test.

use std::convert::Infallible;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use local_slack::LocalSlack;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Bytes;

use crate::client::soon;

/// A server that ends with the test.
pub(crate) struct App {
    pub(crate) url: String,
    requests: mpsc::Receiver<Asked>,
    _server: JoinSet<()>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    answer: oneshot::Sender<Response<Full<Bytes>>>,
}

impl App {
    /// Starts it, and tells the local Slack of it.
    pub(crate) async fn start(slack: &LocalSlack) -> App {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/slack/events", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel(64);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                let service = service_fn(move |request| answer(sender.clone(), request));
                let http = hyper::server::conn::http1::Builder::new();
                let serving = http.serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    // The other side may cut it.
                    serving.await.ok();
                });
            }
        });
        slack.control().set_events_url(Some(&url)).unwrap();
        App {
            url,
            requests,
            _server: server,
        }
    }

    /// The next request.
    pub(crate) async fn asked(&mut self) -> Asked {
        soon(self.requests.recv()).await.unwrap()
    }

    /// The next request, answered with 200 and nothing.
    pub(crate) async fn take(&mut self) -> Asked {
        let mut asked = self.asked().await;
        let (nobody, _) = oneshot::channel();
        let answer = std::mem::replace(&mut asked.answer, nobody);
        answer.send(Response::default()).ok();
        asked
    }
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// A field of a form.
    pub(crate) fn field(&self, name: &str) -> String {
        let mut fields = form_urlencoded::parse(self.body.as_bytes());
        let found = fields.find(|(key, _)| key == name);
        found.unwrap().1.into_owned()
    }

    pub(crate) fn answer(self, status: u16, body: &str) {
        self.answer_with(status, body, &[]);
    }

    pub(crate) fn answer_with(self, status: u16, body: &str, headers: &[(&'static str, &str)]) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.to_owned()));
        // Slack may have given up.
        self.answer.send(response.body(body).unwrap()).ok();
    }
}

async fn answer(
    sender: mpsc::Sender<Asked>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::default());
    };
    let (answer, answered) = oneshot::channel();
    let asked = Asked {
        headers: head.headers,
        body: String::from_utf8(body.to_bytes().to_vec()).unwrap(),
        answer,
    };
    sender.send(asked).await.ok();
    // A request that the test lets go gets no answer.
    match answered.await {
        Ok(response) => Ok(response),
        Err(_) => std::future::pending().await,
    }
}
