//! Tests of the addresses that requests may go to, and of requests against a server on loopback.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

mod limits;
mod server;

use server::{Server, answer, redirect};

const SOON: Duration = Duration::from_secs(60);
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// An address on loopback, which some tests take for a public one.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn get(url: &str) -> Request {
    Request {
        method: "GET".into(),
        url: url.into(),
        ..Request::default()
    }
}

fn grants(texts: &[&str]) -> Vec<HostPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A resolver with fixed answers: for each name a list of addresses for each time that it is asked.
struct FixedResolver {
    known: HashMap<&'static str, Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl FixedResolver {
    fn new(known: &[(&'static str, Vec<Vec<IpAddr>>)]) -> Arc<Self> {
        Arc::new(Self {
            known: known.iter().cloned().collect(),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Resolver for FixedResolver {
    fn resolve(&self, host: String) -> ResolveFuture {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self
            .known
            .get(host.as_str())
            .map(|answers| answers[nth.min(answers.len() - 1)].clone())
            .ok_or_else(|| io::Error::other("no such host"));
        Box::pin(async move { found })
    }
}

/// A fetcher for which [`PUBLIC`] is the only public address.
fn outside(names: Arc<FixedResolver>) -> Fetcher {
    let mut fetcher = Fetcher::with_resolver(false, names);
    fetcher.gate.is_public = |address| address == PUBLIC;
    fetcher
}

fn denied(result: &Result<Response, HttpError>) -> &str {
    match result {
        Err(HttpError::Denied(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_arrives_as_it_was_asked_and_so_does_its_answer() {
    let server = Server::new(LOCAL, |_| {
        answer(
            "201 Created",
            "x-one: 1\r\nx-one: 2\r\nset-cookie: a=b\r\n",
            "made",
        )
    })
    .await;
    let fetcher = Fetcher::new(true);
    let request = Request {
        method: "post".into(),
        url: server.url("/a?b=c#d"),
        headers: vec![
            ("X-Mine".into(), "ünï".into()),
            ("X-Mine".into(), "2".into()),
        ],
        body: b"hello".to_vec(),
        timeout_ms: Some(5_000),
    };
    let response = fetcher
        .fetch(&[server.grant()], request, SOON)
        .await
        .unwrap();
    assert_eq!((response.status, &response.body[..]), (201, &b"made"[..]));
    let ones: Vec<_> = response.headers.iter().filter(|h| h.0 == "x-one").collect();
    assert_eq!(ones.len(), 2);
    let _ = fetcher
        .fetch(&[server.grant()], get(&server.url("/2")), SOON)
        .await
        .unwrap();
    let heard = server.heard();
    assert!(
        heard[0].starts_with("POST /a?b=c HTTP/1.1\r\n"),
        "{heard:?}"
    );
    assert!(heard[0].contains("x-mine: ünï\r\nx-mine: 2\r\n"));
    assert!(heard[0].contains("user-agent: djangobot/"));
    assert!(heard[0].ends_with("\r\n\r\nhello"));
    // Nothing is kept from one request to the next.
    let second = heard[1].to_lowercase();
    assert!(!second.contains("cookie") && !second.contains("referer"));
    assert!(!second.contains("content-length") && !second.contains("accept-encoding"));
}

#[tokio::test]
async fn a_host_that_was_not_granted_is_denied_before_anything_is_sent() {
    let fetcher = Fetcher::with_resolver(true, FixedResolver::new(&[]));
    let check = async |granted: &[&str], url: &str, says: &str| {
        let result = fetcher.fetch(&grants(granted), get(url), SOON).await;
        assert!(denied(&result).contains(says), "{url}: {result:?}");
    };
    check(&[], "https://a.com", "http:a.com was not granted").await;
    check(
        &["b.com"],
        "https://a.com:444/?k=v",
        "http:a.com:444 was not",
    )
    .await;
    check(
        &["a.com"],
        "http://a.com",
        "http:http://a.com was not granted",
    )
    .await;
    check(&["a.com"], "https://a.com.evil.com", "was not granted").await;
    check(&["a.com"], "https://a.com@evil.com", "a user name").await;
    check(&["a.com"], "https://evil.com\\@a.com", "evil.com was not").await;
    check(&["a.com"], "https://evil.com/?https://a.com", "evil.com").await;
    check(&["a.com"], "https://:pw@a.com", "a user name").await;
    check(&["a.com"], "ftp://a.com", "https://").await;
    check(&["a.com"], "file:///etc/passwd", "https://").await;
    check(&["a.com"], "data:text/plain,x", "https://").await;
    check(&["*.0.0.1"], "https://127.0.0.1", "not granted").await;
    check(&["http://127.0.0.1"], "http://127.0.0.1:1", "not granted").await;
    check(&["127.0.0.1"], "https://localhost", "not granted").await;
}

#[tokio::test]
async fn an_address_that_is_not_public_needs_a_grant_and_a_setting() {
    let server = Server::new(LOCAL, |_| answer("200 OK", "", "in")).await;
    let port = server.address.port();
    let names = || {
        FixedResolver::new(&[
            ("localhost", vec![vec![LOCAL]]),
            ("localhost.", vec![vec![LOCAL]]),
            ("sub.localhost", vec![vec![LOCAL]]),
            ("inside.example", vec![vec![LOCAL]]),
        ])
    };
    let check = async |allow: bool, host: &str, granted: &str, lets: bool| {
        let fetcher = Fetcher::with_resolver(allow, names());
        let granted = grants(&[&format!("http://{granted}:{port}")]);
        let url = format!("http://{host}:{port}/");
        let result = fetcher.fetch(&granted, get(&url), SOON).await;
        match lets {
            true => assert_eq!(result.unwrap().body, b"in", "{host}"),
            false => assert!(denied(&result).contains("public address"), "{host}"),
        }
    };
    for (host, granted) in [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
    ] {
        check(true, host, granted, true).await;
        check(false, host, granted, false).await;
    }
    for allow in [true, false] {
        check(allow, "inside.example", "inside.example", false).await;
        check(allow, "sub.localhost", "*.localhost", false).await;
        check(allow, "169.254.169.254", "169.254.169.254", false).await;
        check(allow, "[fd00:ec2::254]", "[fd00:ec2::254]", false).await;
        check(allow, "[::ffff:a9fe:a9fe]", "[::ffff:a9fe:a9fe]", false).await;
        check(allow, "0.0.0.0", "0.0.0.0", false).await;
    }
    check(false, "[::ffff:7f00:1]", "[::ffff:7f00:1]", false).await;
    check(false, "[::1]", "[::1]", false).await;
}

#[tokio::test]
async fn a_name_that_changes_its_address_gets_no_one_in() {
    let public = Server::new(PUBLIC, |_| answer("200 OK", "", "public")).await;
    let port = public.address.port();
    let private = Server::at(SocketAddr::new(LOCAL, port), |_| {
        answer("200 OK", "", "private")
    })
    .await;
    let names = FixedResolver::new(&[("a.example", vec![vec![PUBLIC], vec![LOCAL]])]);
    let fetcher = outside(names.clone());
    let granted = grants(&[&format!("http://a.example:{port}")]);
    let url = format!("http://a.example:{port}/");
    // The first answer is checked, and it is used as well.
    let response = fetcher.fetch(&granted, get(&url), SOON).await.unwrap();
    assert_eq!(response.body, b"public");
    assert_eq!(names.asked.load(Ordering::SeqCst), 1);
    let result = fetcher.fetch(&granted, get(&url), SOON).await;
    assert_eq!(denied(&result), "a.example has no public address");
    assert_eq!(private.heard(), Vec::<String>::new());

    // Of several addresses, only the public ones are used.
    let fetcher = outside(FixedResolver::new(&[(
        "a.example",
        vec![vec![LOCAL, PUBLIC]],
    )]));
    let response = fetcher.fetch(&granted, get(&url), SOON).await.unwrap();
    assert_eq!(response.body, b"public");
    assert_eq!(private.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn a_redirect_leads_to_nothing_that_was_not_granted_or_is_not_public() {
    let secret = Server::new(LOCAL, |_| answer("200 OK", "", "secret")).await;
    let at = secret.address;
    let server = Server::new(PUBLIC, move |request| {
        let to = request.split(['?', ' ']).nth(2).unwrap();
        redirect(302, &to.replace("SECRET", &at.to_string()))
    })
    .await;
    let port = server.address.port();
    let names = FixedResolver::new(&[
        ("a.example", vec![vec![PUBLIC]]),
        ("inside.example", vec![vec![PUBLIC], vec![LOCAL]]),
    ]);
    let fetcher = outside(names);
    let granted = grants(&[
        &format!("http://a.example:{port}"),
        &format!("http://inside.example:{}", at.port()),
        &format!("http://{at}"),
        "http://169.254.169.254",
    ]);
    let check = async |to: &str, says: &str| {
        let url = format!("http://a.example:{port}/?{to}");
        let result = fetcher.fetch(&granted, get(&url), SOON).await;
        assert!(denied(&result).contains(says), "{to}: {result:?}");
    };
    check("http://SECRET/", "not a public address").await;
    check("http://169.254.169.254/latest/", "not a public address").await;
    check("http://[::1]/", "was not granted").await;
    check("//b.example/", "was not granted").await;
    check("https://a.example/", "was not granted").await;
    check(
        &format!("http://inside.example:{}/", at.port()),
        "has no public address",
    )
    .await;
    check("file:///etc/passwd", "https://").await;
    check(&format!("http://me:pw@a.example:{port}/"), "a user name").await;
    assert_eq!(secret.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn a_redirect_is_followed_as_browsers_do() {
    let other = Server::new(LOCAL, |_| answer("200 OK", "", "there")).await;
    let away = other.url("/there");
    let server = Server::new(LOCAL, move |request| {
        let path = request.split(' ').nth(1).unwrap();
        match path.strip_prefix("/away/").or(path.strip_prefix("/near/")) {
            Some(status) if path.starts_with("/away") => redirect(status.parse().unwrap(), &away),
            Some(status) => redirect(status.parse().unwrap(), "../there"),
            None => answer("200 OK", "", "there"),
        }
    })
    .await;
    let fetcher = Fetcher::new(true);
    let granted = [server.grant(), other.grant()];
    let check = async |near: bool, status: u16, method: &str, expect: &str, keeps: bool| {
        let place = if near { "near" } else { "away" };
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = Request {
            method: method.into(),
            url: server.url(&format!("/{place}/{status}")),
            headers: vec![
                header("Authorization", "Bearer secret"),
                header("Cookie", "k=secret"),
                header("Content-Type", "text/plain"),
                header("X-Mine", "1"),
            ],
            body: if method == "HEAD" {
                vec![]
            } else {
                b"body".to_vec()
            },
            timeout_ms: None,
        };
        fetcher.fetch(&granted, request, SOON).await.unwrap();
        let heard = if near { &server } else { &other }.heard();
        let last = heard.last().unwrap();
        assert!(
            last.starts_with(&format!("{expect} /there HTTP/1.1\r\n")),
            "{last}"
        );
        assert_eq!(last.ends_with("body"), keeps, "{status} {method}: {last}");
        assert_eq!(
            last.contains("content-type"),
            keeps || method == "HEAD",
            "{last}"
        );
        assert_eq!(last.contains("secret"), near, "{last}");
        assert!(last.contains("x-mine: 1"));
    };
    for near in [true, false] {
        check(near, 301, "POST", "GET", false).await;
        check(near, 302, "POST", "GET", false).await;
        check(near, 302, "PUT", "PUT", true).await;
        check(near, 303, "PUT", "GET", false).await;
        check(near, 303, "HEAD", "HEAD", false).await;
        check(near, 307, "POST", "POST", true).await;
        check(near, 308, "DELETE", "DELETE", true).await;
    }
    let near = fetcher
        .fetch(&granted, get(&server.url("/near/300")), SOON)
        .await
        .unwrap();
    assert_eq!((near.status, &near.body[..]), (300, &b"old"[..]));
}

#[tokio::test]
async fn redirects_without_end_or_sense_are_an_error() {
    let server = Server::new(LOCAL, |request| {
        let path = request.split(' ').nth(1).unwrap();
        match path {
            "/nowhere" => answer("302 There", "", "as it is"),
            "/nonsense" => redirect(302, "http://["),
            "/long" => redirect(302, &format!("/{}", "x".repeat(10_000))),
            path => match path[1..].parse::<u32>() {
                Ok(0) => answer("200 OK", "", "end"),
                Ok(n) => redirect(302, &format!("/{}", n - 1)),
                Err(_) => redirect(302, "/loop"),
            },
        }
    })
    .await;
    let fetcher = Fetcher::new(true);
    let granted = [server.grant()];
    let check = async |path: &str| fetcher.fetch(&granted, get(&server.url(path)), SOON).await;
    assert_eq!(check("/nowhere").await.unwrap().body, b"as it is");
    assert_eq!(check("/5").await.unwrap().body, b"end");
    for path in ["/6", "/loop", "/nonsense", "/long"] {
        let result = check(path).await;
        assert!(matches!(result, Err(HttpError::Failed(_))), "{result:?}");
    }
}
