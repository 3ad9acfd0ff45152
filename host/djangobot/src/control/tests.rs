//! Tests of both ends of a real socket.

use serde_json::json;

use super::*;

struct Host;

#[async_trait]
impl Control for Host {
    async fn plugins(&self) -> Value {
        json!([{"name": "a"}])
    }

    async fn reload(&self) -> Value {
        json!({"plugins": [], "error": "no"})
    }

    async fn propose(&self, proposal: Value) -> Value {
        json!({ "refused": proposal["name"] })
    }
}

/// Serves [`Host`] on `state` while `asking` goes on.
async fn with_a_host(state: &Path, asking: impl Future<Output = ()>) {
    let cancel = CancellationToken::new();
    let server = Server::bind(state).unwrap();
    let serving = server.serve(Arc::new(Host), cancel.clone());
    let asking = async {
        asking.await;
        cancel.cancel();
    };
    tokio::join!(serving, asking);
}

#[tokio::test]
async fn a_running_host_is_asked_and_its_socket_is_for_its_owner_and_goes_with_it() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join(SOCKET);
    assert!(plugins(state.path()).await.unwrap().is_none());
    with_a_host(state.path(), async {
        assert_eq!(
            plugins(state.path()).await.unwrap(),
            Some(json!([{"name": "a"}]))
        );
        let said = reload(state.path()).await.unwrap().unwrap();
        assert_eq!(said["error"], "no");
        let proposal = json!({"name": "sample"});
        let said = propose(state.path(), &proposal).await.unwrap().unwrap();
        assert_eq!(said["refused"], "sample");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    })
    .await;
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    assert!(plugins(state.path()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_socket_that_a_killed_host_left_is_not_a_host_and_the_next_host_replaces_it() {
    let state = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(state.path().join(SOCKET)).unwrap());
    assert!(plugins(state.path()).await.unwrap().is_none());
    with_a_host(state.path(), async {
        assert!(plugins(state.path()).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_state_folder_with_a_long_path_has_a_socket_too() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a".repeat(120)).join("b".repeat(120));
    std::fs::create_dir_all(&state).unwrap();
    with_a_host(&state, async {
        assert!(plugins(&state).await.unwrap().is_some());
    })
    .await;
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
}

#[tokio::test]
async fn a_host_that_sends_nonsense_or_hangs_up_is_reported_as_one_that_does_not_answer() {
    let check = async |said: &'static str| {
        let state = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(state.path().join(SOCKET)).unwrap();
        let answering = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
        };
        let (asked, ()) = tokio::join!(plugins(state.path()), answering);
        let error = asked.unwrap_err().to_string();
        assert!(error.contains("does not answer"), "{said}: {error}");
    };
    check("").await;
    check("hello\r\n\r\n").await;
    check("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n").await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n[").await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]").await;
}
