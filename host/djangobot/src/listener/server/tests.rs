//! Tests with connections of strangers, which are silent, slow or many, and with those of a proxy.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Extension;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// Long enough for anything that comes at all on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server. Its `/signed` answers when a permit is added to `let_go`, and counts the requests that wait there.
struct TestServer {
    address: SocketAddr,
    metrics: Metrics,
    waiting: Arc<AtomicU64>,
    let_go: Arc<Semaphore>,
    cancel: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl TestServer {
    async fn start(connections: usize, timers: Timers) -> Self {
        let (waiting, let_go) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, gate) = (waiting.clone(), let_go.clone());
        let signed = async move |Extension(on_signed): Extension<OnSigned>| {
            on_signed.tell();
            count.fetch_add(1, Ordering::Relaxed);
            gate.acquire().await.unwrap().forget();
            "signed"
        };
        let app = Router::new()
            .route("/", get(async || "here"))
            .route("/large", get(async || "x".repeat(64 << 20)))
            .route("/slow", get(async || std::future::pending::<()>().await))
            .route("/signed", get(signed));
        let limits = Limits {
            connections,
            timers,
        };
        let (metrics, cancel) = (Metrics::new(), CancellationToken::new());
        let serving = serve(listener, app, limits, metrics.clone(), cancel.clone());
        Self {
            address,
            metrics,
            waiting,
            let_go,
            cancel,
            task: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    async fn open(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until `count` requests have come to `/signed`.
    async fn signed(&self, count: u64) {
        let all = async {
            while self.waiting.load(Ordering::Relaxed) < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, all).await.unwrap();
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|it| it == line)
    }
}

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes()
}

/// Reads until `ends` has come or the connection ends, and returns all that was read.
async fn read(stream: &mut TcpStream, ends: &str) -> String {
    let mut answer = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&answer).ends_with(ends) {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Checks that the connection ends and nothing more comes on it.
async fn ends(stream: &mut TcpStream) {
    assert_eq!(read(stream, "\0").await, "");
}

async fn ask(stream: &mut TcpStream, path: &str, ends: &str) {
    stream.write_all(&request(path)).await.unwrap();
    let answer = read(stream, ends).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(ends),
        "{answer}"
    );
}

#[tokio::test]
async fn requests_follow_each_other_on_a_connection_also_before_their_answers() {
    let served = TestServer::start(10, Timers::default()).await;
    let mut stream = served.open().await;
    ask(&mut stream, "/", "here").await;
    stream.write_all(&request("/").repeat(3)).await.unwrap();
    let mut answers = String::new();
    while answers.matches("here").count() < 3 {
        let more = read(&mut stream, "here").await;
        assert!(!more.is_empty(), "{answers}");
        answers.push_str(&more);
    }
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3);
    // A head that comes byte by byte.
    for byte in request("/") {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert!(read(&mut stream, "here").await.ends_with("here"));
}

#[tokio::test]
async fn a_slow_head_and_an_answer_that_nobody_reads_end_the_connection_before_an_idle_one_ends() {
    let timers = Timers {
        head: Duration::from_millis(100),
        answer: Duration::from_millis(100),
        ..Timers::default()
    };
    let served = TestServer::start(10, timers).await;
    let mut idle = served.open().await;
    let mut used = served.open().await;
    ask(&mut used, "/", "here").await;
    let mut half = served.open().await;
    half.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap();
    ends(&mut half).await;
    // A slow head on a connection that has served a request before.
    let mut second = served.open().await;
    ask(&mut second, "/", "here").await;
    second.write_all(b"GET").await.unwrap();
    ends(&mut second).await;
    let mut deaf = served.open().await;
    deaf.write_all(&request("/large")).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let mut taken = Vec::new();
    let _ = timeout(PATIENCE, deaf.read_to_end(&mut taken))
        .await
        .unwrap();
    assert!(taken.len() < 64 << 20);
    ask(&mut idle, "/", "here").await;
    ask(&mut used, "/", "here").await;
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_at_last() {
    let timers = Timers {
        idle: Duration::from_millis(100),
        ..Timers::default()
    };
    let served = TestServer::start(10, timers).await;
    ends(&mut served.open().await).await;
}

#[tokio::test]
async fn if_there_are_too_many_connections_the_oldest_idle_one_is_closed_and_slacks_stay() {
    let served = TestServer::start(4, Timers::default()).await;
    let mut proven = served.open().await;
    served.let_go.add_permits(1);
    ask(&mut proven, "/signed", "signed").await;
    let mut waiting = served.open().await;
    waiting.write_all(&request("/signed")).await.unwrap();
    served.signed(2).await;
    let mut crowd = Vec::new();
    for number in 0..20 {
        let mut stream = served.open().await;
        if number % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        }
        crowd.push(stream);
        let mut late = served.open().await;
        ask(&mut late, "/", "here").await;
    }
    for stream in &mut crowd[..18] {
        ends(stream).await;
    }
    ask(&mut proven, "/", "here").await;
    served.let_go.add_permits(1);
    assert!(read(&mut waiting, "signed").await.ends_with("signed"));
    assert!(!served.shows("djangobot_http_connections_given_up_total 0"));
}

#[tokio::test]
async fn strangers_connections_are_closed_some_at_once_and_slacks_stay() {
    let connections = 2 * BATCHES;
    let served = TestServer::start(connections, Timers::default()).await;
    served.let_go.add_permits(2);
    let mut proven = [served.open().await, served.open().await];
    for stream in &mut proven {
        ask(stream, "/signed", "signed").await;
    }
    let mut crowd = Vec::new();
    for _ in 0..connections - 2 {
        crowd.push(served.open().await);
    }
    let mut late = served.open().await;
    ask(&mut late, "/", "here").await;
    for stream in &mut crowd[..2] {
        ends(stream).await;
    }
    assert!(served.shows("djangobot_http_connections_given_up_total 2"));
    for _ in 0..3 * connections {
        crowd.push(served.open().await);
    }
    for stream in &mut proven {
        ask(stream, "/", "here").await;
    }
}

#[tokio::test]
async fn a_new_connection_is_not_closed_for_the_next_one_while_strangers_keep_all_others_busy() {
    let served = TestServer::start(4, Timers::default()).await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut stranger = served.open().await;
        stranger.write_all(&request("/slow")).await.unwrap();
        strangers.push(stranger);
    }
    // Their requests have come.
    sleep(Duration::from_millis(200)).await;
    let mut first = served.open().await;
    let _silent = served.open().await;
    let _half = {
        let mut half = served.open().await;
        half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        half
    };
    ask(&mut first, "/", "here").await;
    for stranger in &mut strangers[..3] {
        ends(stranger).await;
    }
}

#[tokio::test]
async fn a_request_from_before_the_end_is_answered() {
    let served = TestServer::start(4, Timers::default()).await;
    let mut waiting = served.open().await;
    waiting.write_all(&request("/signed")).await.unwrap();
    let mut idle = served.open().await;
    served.signed(1).await;
    served.cancel.cancel();
    ends(&mut idle).await;
    served.let_go.add_permits(1);
    assert!(read(&mut waiting, "signed").await.ends_with("signed"));
    timeout(PATIENCE, served.task).await.unwrap().unwrap();
}
