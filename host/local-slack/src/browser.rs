//! Tells requests of web pages in the developer's browser from those of programs on this machine.
//!
//! Any web site can let a browser send requests to loopback, and one whose name it lets point to 127.0.0.1 (DNS
//! rebinding) can read the answers too. A browser says where a request comes from: in `Origin` and `Sec-Fetch-Site`,
//! and by the name in `Host`, which a page can't choose freely. Programs send none of the first two, and a name of this
//! machine.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{self, AsHeaderName, HeaderValue};
use hyper::http::uri::Authority;

/// Why a request is refused that a web page made, or could have made; `None` where a program of this machine did.
pub fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    if headers
        .get_all(header::HOST)
        .iter()
        .any(|host| !is_local(host))
    {
        return Some(
            "this address takes requests for localhost only, by that name or as a loopback IP address in Host",
        );
    }
    if all(headers, "sec-fetch-site").any(|site| !["same-origin", "none"].contains(&site)) {
        return Some(
            "this address takes no requests from web pages; Sec-Fetch-Site says that this is one",
        );
    }
    let host = all(headers, header::HOST).next();
    let is_own = |origin: &str| {
        let origin = origin
            .strip_prefix("http://")
            .or(origin.strip_prefix("ws://"));
        origin
            .zip(host)
            .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
    };
    if all(headers, header::ORIGIN).any(|origin| !is_own(origin)) {
        return Some("this address takes no requests from web pages; Origin says that this is one");
    }
    None
}

/// All values of a header; one that is not a text reads as an empty one.
fn all(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.map(|value| value.to_str().unwrap_or_default().trim())
}

/// Whether a `Host` names this machine, with or without a port.
fn is_local(host: &HeaderValue) -> bool {
    let Some(authority) = host
        .to_str()
        .ok()
        .and_then(|host| host.trim().parse::<Authority>().ok())
    else {
        return false;
    };
    // Nothing but a port that is a number may stand behind the name, and nothing before it.
    let rest = authority.as_str().strip_prefix(authority.host());
    let is_plain = match authority.port_u16() {
        Some(_) => rest.is_some_and(|rest| rest.starts_with(':')),
        None => rest == Some(""),
    };
    if !is_plain {
        return false;
    }
    let name = authority.host().to_ascii_lowercase();
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = name.strip_suffix('.').unwrap_or(&name);
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        refusal(&map)
    }

    #[test]
    fn a_host_must_be_a_name_of_this_machine() {
        let ours = [
            "localhost",
            "LOCALHOST:80",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1",
            "127.0.0.1:9100",
            "127.9.9.9",
            "[::1]:80",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ];
        for host in ours {
            assert_eq!(refused(&[("host", host)]), None, "{host}");
        }
        let others = [
            "",
            "evil.example",
            "evil.example:9100",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "0.0.0.0:9100",
            "192.168.1.2",
            "[::]",
            "[fe80::1]",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost evil.example",
            "localhost/",
            "127.0.0.1:80.1",
            "localhost:",
            "localhost:65536",
            "127.1",
            "2130706433",
            "0x7f.1",
            "löcalhost",
        ];
        for host in others {
            assert!(refused(&[("host", host)]).is_some(), "{host}");
        }
        assert!(refused(&[("host", "localhost"), ("host", "evil.example")]).is_some());
        // A program that speaks HTTP/1.0; a browser never leaves it out.
        assert_eq!(refused(&[]), None);
    }

    #[test]
    fn a_pages_origin_is_foreign_unless_it_came_from_here() {
        let here = ("host", "127.0.0.1:8080");
        for own in [
            &[("origin", "http://127.0.0.1:8080")][..],
            &[("origin", "ws://127.0.0.1:8080")],
        ] {
            assert_eq!(refused(&[&[here], own].concat()), None, "{own:?}");
        }
        let foreign = [
            "https://evil.example",
            "null",
            "",
            "http://127.0.0.1:8081",
            "http://localhost:8080",
            "https://127.0.0.1:8080",
            "http://127.0.0.1:8080.evil.example",
            "http://127.0.0.1",
            "file://",
            "chrome-extension://abc",
            "\u{ff}",
        ];
        for origin in foreign {
            assert!(refused(&[here, ("origin", origin)]).is_some(), "{origin}");
        }
        let two = [
            here,
            ("origin", "http://127.0.0.1:8080"),
            ("origin", "https://evil.example"),
        ];
        assert!(refused(&two).is_some());
        assert!(refused(&[("origin", "http://127.0.0.1:8080")]).is_some());
    }

    #[test]
    fn the_headers_of_a_browser_decide() {
        let here = ("host", "localhost:8080");
        for own in ["same-origin", "none"] {
            assert_eq!(refused(&[here, ("sec-fetch-site", own)]), None, "{own}");
        }
        for foreign in ["cross-site", "same-site", "", "Cross-Site", "something new"] {
            assert!(
                refused(&[here, ("sec-fetch-site", foreign)]).is_some(),
                "{foreign}"
            );
        }
    }
}
