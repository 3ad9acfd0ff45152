//! Downloads from a real TLS server on loopback.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const FILE: &[u8] = b"\0asm and what follows";
const LIMIT: usize = 1000;

/// A server whose answer depends on the path, and a client that trusts it.
struct Server {
    base: Url,
    client: Downloader,
}

impl Server {
    async fn start() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        // It ends with the test's runtime.
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut request = vec![0; 4096];
                    let length = stream.read(&mut request).await.unwrap();
                    let request = String::from_utf8_lossy(&request[..length]).into_owned();
                    let path = request.split(' ').nth(1).unwrap();
                    let (answer, stays) = answer(path, port);
                    stream.write_all(&answer).await.unwrap();
                    stream.flush().await.unwrap();
                    if stays {
                        std::future::pending::<()>().await;
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        let mut roots = rustls::RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        Self {
            base: Url::parse(&format!("https://localhost:{port}/")).unwrap(),
            client: Downloader::trusting(roots, LIMIT, Duration::from_secs(3)).unwrap(),
        }
    }

    async fn get(&self, path: &str, promised: Option<Digest>) -> Result<Vec<u8>, String> {
        let url = self.base.join(path).unwrap();
        let got = self.client.get(&url, promised, &mut |_, _| {}).await;
        got.map_err(|error| error.to_string())
    }
}

/// The bytes of an answer, and whether the server then keeps the connection open and silent.
fn answer(path: &str, port: u16) -> (Vec<u8>, bool) {
    let with = |head: String, body: &[u8]| [head.as_bytes(), b"\r\n\r\n", body].concat();
    let length = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}");
    let to = |url: String| format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {url}");
    match path {
        "/file" => (with(length(FILE.len()), FILE), false),
        "/cut" => (with(length(FILE.len() + 7), FILE), false),
        "/silent" => (with(length(FILE.len() + 7), FILE), true),
        "/large" => (with(length(LIMIT + 1), &[0; LIMIT + 1]), false),
        "/endless" => (
            with(
                "HTTP/1.1 200 OK\r\nConnection: close".into(),
                &[0; 2 * LIMIT],
            ),
            true,
        ),
        "/moved" => (with(to("/file".into()), b""), false),
        "/round" => (with(to("/round".into()), b""), false),
        "/plain" => (
            with(to(format!("http://localhost:{port}/file")), b""),
            false,
        ),
        "/noise" => (b"220 mail.example.com ESMTP\r\n".to_vec(), false),
        _ => (
            with("HTTP/1.1 404 Not Found\r\nContent-Length: 0".into(), b""),
            false,
        ),
    }
}

#[tokio::test]
async fn a_file_comes_and_is_what_was_promised() {
    let server = Server::start().await;
    assert_eq!(
        server.get("file", Some(Digest::of(FILE))).await.unwrap(),
        FILE
    );
    assert_eq!(server.get("moved", None).await.unwrap(), FILE);
    let mut told = Vec::new();
    let url = server.base.join("file").unwrap();
    let mut progress = |received, expected| told.push((received, expected));
    server.client.get(&url, None, &mut progress).await.unwrap();
    let all = FILE.len() as u64;
    assert_eq!(told.first(), Some(&(0, Some(all))));
    assert_eq!(told.last(), Some(&(all, Some(all))));
}

#[tokio::test]
async fn each_failure_has_an_error_of_its_own() {
    let server = Server::start().await;
    let check = async |path: &str, expect: &[&str]| {
        let error = server
            .get(path, Some(Digest::of(b"other")))
            .await
            .unwrap_err();
        for part in expect {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    };
    let (found, promised) = (
        Digest::of(FILE).to_string(),
        Digest::of(b"other").to_string(),
    );
    check("file", &["not the expected file", &found, &promised]).await;
    let all = format!("{} bytes came of {}", FILE.len(), FILE.len() + 7);
    check("cut", &["not complete", &all, "try again"]).await;
    check("silent", &["too long"]).await;
    check("large", &["more than the 1000 bytes"]).await;
    check("endless", &["more than the 1000 bytes"]).await;
    check("round", &["from address to address"]).await;
    check("plain", &["plain http"]).await;
    check("noise", &["can't be downloaded"]).await;
    check("nowhere", &["404 Not Found"]).await;
}

#[tokio::test]
async fn a_server_that_is_not_trusted_or_not_there_is_not_used() {
    let (server, other) = (Server::start().await, Server::start().await);
    let url = server.base.join("file").unwrap();
    let error = other.client.get(&url, None, &mut |_, _| {}).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
    let error = server.client.get(&url, None, &mut |_, _| {}).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");

    let url = Url::parse("http://localhost/file").unwrap();
    let error = server.client.get(&url, None, &mut |_, _| {}).await;
    assert!(error.unwrap_err().to_string().contains("only https://"));
}
