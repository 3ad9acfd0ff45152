//! Plugins from an address: a real TLS server on loopback, whose certificate the command is told to trust.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Serves `file`, whole at `/file` and short of its last bytes at `/cut`. Gives the base of its addresses.
async fn serve(desk: &Desk, file: Vec<u8>) -> String {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    desk.write("ca.pem", cert.pem());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    // It ends with the test's runtime.
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let is_cut = request[..length].starts_with(b"GET /cut ");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
            let sent = &file[..file.len() - if is_cut { 100 } else { 0 }];
            stream
                .write_all(&[head.as_bytes(), sent].concat())
                .await
                .unwrap();
            let _ = stream.shutdown().await;
        }
    });
    base
}

async fn run(desk: &Desk, arguments: &[&str]) -> ExitReport {
    let mut command = desk.command(arguments);
    command
        .env("SSL_CERT_FILE", desk.file("ca.pem"))
        .env_remove("SSL_CERT_DIR");
    Djangobot::run(command).await
}

#[tokio::test]
async fn a_plugin_from_an_address_is_added_only_with_its_sha256() {
    let desk = Desk::new();
    desk.pack("sample.wasm", module(""), MANIFEST).await;
    desk.does(&["add", "sample.wasm", "--name", "local"]).await;
    let sha256 = desk.list().await[0]["sha256"].as_str().unwrap().to_owned();
    let base = serve(&desk, std::fs::read(desk.file("sample.wasm")).unwrap()).await;
    let (file, cut) = (format!("{base}/file"), format!("{base}/cut"));
    let wrong = "0".repeat(64);

    check_end(
        &run(&desk, &["add", &file]).await,
        2,
        &["needs a sha256", "--sha256"],
    );
    check_end(
        &run(&desk, &["add", &file, "--sha256", &wrong]).await,
        1,
        &["not the expected file", &sha256, &wrong],
    );
    check_end(
        &run(&desk, &["add", &cut, "--sha256", &sha256]).await,
        1,
        &["is not complete", "try again"],
    );
    let both = format!("{file}#sha256={sha256}");
    check_end(
        &run(&desk, &["add", &both, "--sha256", &wrong]).await,
        1,
        &["two different sha256"],
    );
    assert_eq!(desk.list().await.len(), 1);

    let ended = run(&desk, &["add", &both]).await;
    check_end(&ended, 0, &[]);
    let added = &desk.list().await[1];
    assert_eq!(
        (&added["sha256"], &added["source"]),
        (&sha256.clone().into(), &file.clone().into())
    );
    check_end(&run(&desk, &["update", "sample"]).await, 0, &[]);
}

#[tokio::test]
async fn another_file_at_the_address_is_taken_when_its_sha256_is_given() {
    let desk = Desk::new();
    desk.pack("one.wasm", module("one"), MANIFEST).await;
    desk.pack(
        "two.wasm",
        module("two"),
        &MANIFEST.replace("1.2.0", "2.0.0"),
    )
    .await;
    desk.does(&["add", "one.wasm"]).await;
    let base = serve(&desk, std::fs::read(desk.file("two.wasm")).unwrap()).await;
    // As if the file at the address had been the first one.
    for name in ["djangobot.toml", "djangobot.lock"] {
        let text = desk
            .text(name)
            .replace("file:one.wasm", &format!("{base}/file"));
        desk.write(name, text);
    }
    let before = desk.text("djangobot.lock");
    let ended = run(&desk, &["update"]).await;
    check_end(
        &ended,
        1,
        &[
            "is not the one in the lock",
            "djangobot plugin update sample --sha256",
        ],
    );
    assert_eq!(desk.text("djangobot.lock"), before);
    let digits = |word: &&str| word.len() == 64;
    let said: String = ended
        .stderr
        .split(|c: char| c.is_whitespace() || c == '│')
        .collect::<Vec<_>>()
        .join(" ");
    let sha256 = said.split(' ').find(digits).unwrap();
    let ended = run(&desk, &["update", "sample", "--sha256", sha256]).await;
    check_end(&ended, 0, &[]);
    check_said(&ended.stdout, &["to 2.0.0 ("]);
}
