//! Tests of the limits of size and time, and of headers that could smuggle a second request.

use std::time::Instant;

use tokio::io::AsyncWriteExt;

use super::*;

#[tokio::test]
async fn a_request_can_smuggle_nothing() {
    let server = Server::new(LOCAL, |_| answer("200 OK", "", "")).await;
    let fetcher = Fetcher::new(true);
    let check = async |name: &str, value: &str, says: &str| {
        let request = Request {
            headers: vec![(name.into(), value.into())],
            ..get(&server.url("/"))
        };
        match fetcher.fetch(&[server.grant()], request, SOON).await {
            Err(HttpError::Failed(why)) => assert!(why.contains(says), "{why}"),
            other => panic!("{name:?}: {other:?}"),
        }
    };
    check("Host", "evil.com", "the host alone sets the header host").await;
    check("CONTENT-length", "5", "the header content-length").await;
    check("Transfer-Encoding", "chunked", "leave it out").await;
    check("Transfer_Encoding", "chunked", "leave it out").await;
    check("Connection", "upgrade", "leave it out").await;
    check("Upgrade", "websocket", "leave it out").await;
    check("Expect", "100-continue", "leave it out").await;
    check("Proxy-Authorization", "Basic x", "leave it out").await;
    check("X", "a\r\nHost: evil", "control character").await;
    check("X", "a\nb", "control character").await;
    check("X", "a\0", "control character").await;
    check("X: y\r\nZ", "a", "not the name of a header").await;
    check("X Y", "a", "not the name of a header").await;
    check("", "a", "not the name of a header").await;
    check(":path", "a", "not the name of a header").await;
    for (method, url) in [
        ("CONNECT", server.url("/")),
        ("TRACE", server.url("/")),
        ("GET / HTTP/1.1\r\n", server.url("/")),
        ("", server.url("/")),
        ("GET", "no address".into()),
        ("GET", "https://".into()),
        ("GET", format!("http://{}:99999/", LOCAL)),
    ] {
        let request = Request {
            method: method.into(),
            ..get(&url)
        };
        let result = fetcher.fetch(&[server.grant()], request, SOON).await;
        assert!(
            matches!(result, Err(HttpError::Failed(_))),
            "{method:?} {url} {result:?}"
        );
    }
    assert_eq!(server.heard(), Vec::<String>::new());
    // A line end in an address is not sent as one.
    let url = server.url("/a b\r\nHost: evil\r\n\r\n");
    fetcher
        .fetch(&[server.grant()], get(&url), SOON)
        .await
        .unwrap();
    assert!(
        server.heard()[0].starts_with("GET /a%20bHost:%20evil HTTP/1.1\r\n"),
        "{:?}",
        server.heard()
    );
}

#[tokio::test]
async fn a_request_that_is_too_large_is_not_sent() {
    let server = Server::new(LOCAL, |_| answer("200 OK", "", "")).await;
    let fetcher = Fetcher::new(true);
    let granted = [server.grant()];
    let header = |name: usize, value: usize| (format!("x{name}"), "v".repeat(value));
    let url = server.url("/");
    let too_large = [
        Request {
            body: vec![0; MAX_REQUEST],
            method: "POST".into(),
            ..get(&url)
        },
        Request {
            headers: (0..65).map(|n| header(n, 1)).collect(),
            ..get(&url)
        },
        Request {
            headers: (0..5).map(|n| header(n, 8_000)).collect(),
            ..get(&url)
        },
        get(&server.url(&"x".repeat(9_000))),
    ];
    for request in too_large {
        let result = fetcher.fetch(&granted, request, SOON).await;
        assert_eq!(result, Err(HttpError::TooLarge));
    }
    assert_eq!(server.heard(), Vec::<String>::new());
    let fits = Request {
        method: "POST".into(),
        body: vec![b'x'; MAX_REQUEST - 100],
        headers: (0..64).map(|n| header(n, 0)).take(10).collect(),
        ..get(&url)
    };
    fetcher.fetch(&granted, fits, SOON).await.unwrap();
    assert!(server.heard()[0].len() > MAX_REQUEST - 100);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_cut_off() {
    let fetcher = Fetcher::new(true);
    let check = async |server: Server, expect: Result<usize, HttpError>| {
        let result = fetcher
            .fetch(&[server.grant()], get(&server.url("/")), SOON)
            .await;
        assert_eq!(result.map(|response| response.body.len()), expect);
    };
    let exact = |size: usize| async move {
        Server::new(LOCAL, move |_| answer("200 OK", "", &"x".repeat(size))).await
    };
    check(exact(MAX_RESPONSE).await, Ok(MAX_RESPONSE)).await;
    check(exact(MAX_RESPONSE + 1).await, Err(HttpError::TooLarge)).await;
    // Announced, and never sent.
    let boast = Server::raw(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
            .await?;
        std::future::pending().await
    });
    check(boast.await, Err(HttpError::TooLarge)).await;
    let endless = Server::raw(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await?;
        let chunk = format!("1000\r\n{}\r\n", "endless!".repeat(512));
        loop {
            stream.write_all(chunk.as_bytes()).await?;
        }
    });
    check(endless.await, Err(HttpError::TooLarge)).await;
    let unframed = Server::raw(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        loop {
            stream.write_all(&[b'x'; 4096]).await?;
        }
    });
    check(unframed.await, Err(HttpError::TooLarge)).await;
    let headers = Server::new(LOCAL, |_| {
        answer(
            "200 OK",
            &format!("x: {}\r\n", "y".repeat(8_000)).repeat(9),
            "",
        )
    });
    check(headers.await, Err(HttpError::TooLarge)).await;
    // A compressed body counts as it comes, and is not decompressed.
    let packed = Server::new(LOCAL, |_| {
        answer("200 OK", "content-encoding: gzip\r\n", "\x1f bomb")
    });
    check(packed.await, Ok(6)).await;
    // The answer to a HEAD announces a body that does not come.
    let server = Server::new(LOCAL, |_| {
        "HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n".into()
    })
    .await;
    let head = Request {
        method: "HEAD".into(),
        ..get(&server.url("/"))
    };
    assert_eq!(
        fetcher
            .fetch(&[server.grant()], head, SOON)
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test]
async fn endless_headers_and_broken_answers_are_errors() {
    let fetcher = Fetcher::new(true);
    let check = async |server: Server| {
        let result = fetcher
            .fetch(&[server.grant()], get(&server.url("/")), SOON)
            .await;
        assert!(
            matches!(result, Err(HttpError::Failed(_) | HttpError::TooLarge)),
            "{result:?}"
        );
    };
    let endless = Server::raw(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        loop {
            stream.write_all(b"x: y\r\n").await?;
        }
    });
    check(endless.await).await;
    for broken in [
        "",
        "\x16\x03\x01",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 999999 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n",
    ] {
        check(Server::new(LOCAL, move |_| broken.into()).await).await;
    }
    // No server is there, or no such name exists; neither error names the address.
    let gone = Server::new(LOCAL, |_| String::new()).await;
    let (url, grant) = (gone.url("/?key=s3cret"), gone.grant());
    drop(gone);
    tokio::task::yield_now().await;
    let fetcher = Fetcher::with_resolver(true, FixedResolver::new(&[]));
    for (url, grant) in [
        (url, grant),
        (
            "https://a.example/?key=s3cret".into(),
            "a.example".parse().unwrap(),
        ),
    ] {
        match fetcher.fetch(&[grant], get(&url), SOON).await {
            Err(HttpError::Failed(why)) => {
                assert!(
                    !why.contains("s3cret") && !why.contains("127.0.0.1"),
                    "{why}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_time_is_over_wherever_it_was_spent() {
    let fetcher = Fetcher::new(true);
    let check = async |server: Server, asked: Option<u32>, budget: u64| {
        let request = Request {
            timeout_ms: asked,
            ..get(&server.url("/"))
        };
        let start = Instant::now();
        let result = fetcher
            .fetch(&[server.grant()], request, Duration::from_millis(budget))
            .await;
        assert_eq!(result, Err(HttpError::Timeout));
        assert!(start.elapsed() < Duration::from_secs(5));
    };
    let silent = || {
        Server::raw(|stream| async move {
            let _open = stream;
            std::future::pending().await
        })
    };
    check(silent().await, None, 300).await;
    check(silent().await, Some(300), 60_000).await;
    check(silent().await, Some(u32::MAX), 300).await;
    check(silent().await, Some(0), 60_000).await;
    let slow_head = Server::raw(|mut stream| async move {
        for byte in "HTTP/1.1 200 OK\r\nx: "
            .bytes()
            .chain(std::iter::repeat(b'y'))
        {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    });
    check(slow_head.await, None, 300).await;
    let slow_body = Server::raw(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            .await?;
        loop {
            stream.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    check(slow_body.await, None, 300).await;
    let hops = Server::raw(|mut stream| async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        stream.write_all(redirect(302, "/").as_bytes()).await
    });
    check(hops.await, None, 400).await;
}

/// A resolver that never answers.
struct SilentResolver;

impl Resolver for SilentResolver {
    fn resolve(&self, _: String) -> ResolveFuture {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_name_that_is_never_found_costs_no_more_than_the_time() {
    let fetcher = Fetcher::with_resolver(false, Arc::new(SilentResolver));
    let budget = Duration::from_millis(200);
    let result = fetcher
        .fetch(&grants(&["a.com"]), get("https://a.com"), budget)
        .await;
    assert_eq!(result, Err(HttpError::Timeout));
}
