//! Addresses to listen at, as people write them: an address of this machine and a port.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};

use serde::{Deserialize, Deserializer};

/// An address to listen at. A host name is looked up when the text is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenAddress(pub(crate) SocketAddr);

impl std::str::FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let hint = |reason: &str, meant: Option<String>| match meant {
            Some(meant) => format!("{reason}; write {meant}"),
            None => format!("{reason}; write an address and a port, such as 127.0.0.1:9100"),
        };
        if let Some((_, rest)) = text.split_once("://") {
            let meant = rest.split('/').next().filter(|rest| is_host_and_port(rest));
            return Err(hint(
                "this is a URL, not an address and a port",
                meant.map(str::to_owned),
            ));
        }
        if text.parse::<u16>().is_ok() {
            return Err(hint(
                "the address before the port is missing",
                Some(format!(
                    "127.0.0.1:{text} for this machine alone, 0.0.0.0:{text} for all its networks"
                )),
            ));
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            let meant = SocketAddr::new(ip, 9100).to_string();
            return Err(hint("the port is missing", Some(format!("{meant}, say"))));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(hint("the port is not a number from 0 to 65535", None));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(hint(
                "the port is missing",
                (!text.is_empty() && !text.contains(' ')).then(|| format!("{text}:9100, say")),
            ));
        };
        let Ok(port) = port.parse::<u16>() else {
            return Err(hint("the port is not a number from 0 to 65535", None));
        };
        match host {
            "" => Err(hint(
                "the address before the port is missing",
                Some(format!(
                    "127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} for all its networks"
                )),
            )),
            "*" => Ok(Self(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))),
            _ if host.contains(':') => {
                let host = host.trim_matches(['[', ']']);
                Err(hint(
                    "an IPv6 address stands in brackets before its port",
                    Some(format!("[{host}]:{port}")),
                ))
            }
            _ => resolve(host, port).map(Self),
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    let port = text.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| port.parse::<u16>().is_ok())
}

/// Looks up the address of `host`. If it has several, an IPv4 address is preferred: `localhost` often has both kinds,
/// and most clients that are given 127.0.0.1 do not try ::1.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the host {host:?} can't be looked up: {error}"))?;
    let found: Vec<_> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4());
    first
        .or(found.first())
        .copied()
        .ok_or_else(|| format!("the host {host:?} has no address"))
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The error does not quote the value: it may be a secret that was written into the wrong line.
        text.parse().map_err(|_| {
            serde::de::Error::custom(
                "this is not an address and a port, such as 127.0.0.1:9100 or localhost:9100",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_hosts_are_parsed_and_an_error_suggests_the_right_form() {
        let read = |text: &str| text.parse::<ListenAddress>().map(|it| it.0.to_string());
        for (text, address) in [
            ("127.0.0.1:9100", "127.0.0.1:9100"),
            ("localhost:9100", "127.0.0.1:9100"),
            ("[::1]:0", "[::1]:0"),
            ("*:8080", "0.0.0.0:8080"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(address), "{text}");
        }
        for (text, meant) in [
            ("9100", "127.0.0.1:9100"),
            (":9100", "0.0.0.0:9100"),
            ("localhost", "localhost:9100"),
            ("127.0.0.1", "127.0.0.1:9100"),
            ("::1", "[::1]:9100"),
            ("a:b:9100", "[a:b]:9100"),
            ("http://localhost:9100/metrics", "write localhost:9100"),
            ("localhost:http", "not a number"),
            ("localhost:99999", "not a number"),
            ("", "127.0.0.1:9100"),
            ("no such host:1", "looked up"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(meant), "{text}: {told}");
        }
    }
}
