//! Reads redis-py's URL of one server.

use url::form_urlencoded;

use crate::config::hosts::{Endpoint, Host, PORT};
use crate::config::keywords::{KeywordSupport, Setting};

/// Reads a URL as `redis.ConnectionPool.from_url` does; unknown options go to `warnings`.
pub(super) fn from_url(text: &str, warnings: &mut Vec<String>) -> Result<Host, String> {
    let mut host = Host::tcp("localhost", PORT);
    host.read_url(text, warnings)?;
    Ok(host)
}

impl Host {
    /// Applies a URL; settings that it does not name stay as they are. It accepts all URLs that redis-py accepts,
    /// except where a part may be the end of a password that should have been escaped.
    pub(super) fn read_url(
        &mut self,
        text: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let url = Parts::of(text)?;
        if url.fragment.contains('@') {
            return Err(
                "the part behind the # has no meaning; write # in a password as %23".into(),
            );
        }
        match url.scheme.as_str() {
            "redis" | "rediss" | "valkey" | "valkeys" => {
                let name = match url.host {
                    "" => self.host_name().to_owned(),
                    name => decode(name)?.to_lowercase(),
                };
                self.endpoint = Endpoint::Tcp(name, url.port()?.unwrap_or(self.port()));
                let path = decode(url.path)?.replace('/', "");
                match path.parse() {
                    Ok(database) => self.database = database,
                    Err(_) if path.is_empty() => {}
                    Err(_) if has_at_behind_host(text) => return Err(no_database(text, &path)),
                    Err(_) => warnings.push(format!(
                        "{}: {}; it was ignored, as redis-py does",
                        redact(text),
                        no_database(text, &path)
                    )),
                }
                if matches!(url.scheme.as_str(), "rediss" | "valkeys") {
                    self.tls();
                }
            }
            "unix" if !url.host.is_empty() && has_at_behind_host(text) => {
                return Err(
                    "the URL of a socket has no host; write / ? # @ in a password as %2F %3F %23 %40".into(),
                );
            }
            "unix" => self.endpoint = Endpoint::Unix(decode(url.path)?.into()),
            other => return Err(format!("the scheme {other}:// is not known")),
        }
        if !url.username.is_empty() {
            self.username = Some(decode(url.username)?);
        }
        if let Some(password) = url.password.filter(|password| !password.is_empty()) {
            self.password = Some(decode(password)?);
        }
        self.read_options(text, url.query, warnings)
    }

    fn read_options(
        &mut self,
        text: &str,
        query: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // The first of several equal options counts, and an option without a value is ignored.
            if seen.contains(&name) || (value.is_empty() && !has_at_behind_host(text)) {
                continue;
            }
            match self.set(&name, Setting::Url(&value)) {
                Ok(KeywordSupport::Known) => {}
                Ok(KeywordSupport::Unknown) if has_at_behind_host(text) => {
                    return Err(
                        "the part behind the ? is not a known option; write ? in a password as %3F"
                            .into(),
                    );
                }
                Ok(KeywordSupport::Unknown) => warnings.push(format!(
                    "{}: the option {name} is not known to djangobot and was ignored",
                    redact(text)
                )),
                // The reason may quote a part of the password.
                Err(_) if has_at_behind_host(text) => {
                    return Err(format!(
                        "{name}: its value can't be used; write ? in a password as %3F"
                    ));
                }
                Err(reason) => return Err(format!("{name}: {reason}")),
            }
            seen.push(name);
        }
        Ok(())
    }
}

/// The parts of a URL, split as Python's `urlsplit` does.
struct Parts<'a> {
    scheme: String,
    username: &'a str,
    password: Option<&'a str>,
    host: &'a str,
    port: &'a str,
    path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        let (scheme, rest) = text
            .trim()
            .split_once("://")
            .ok_or("it has no scheme; write redis://, rediss:// or unix://")?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = match user.split_once(':') {
            Some((username, password)) => (username, Some(password)),
            None => (user, None),
        };
        // An IPv6 address stands in brackets in a URL, and without them elsewhere.
        let (host, port) = match place.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or(rest)),
            None => place.split_once(':').unwrap_or((place, "")),
        };
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            username,
            password,
            host,
            port,
            path,
            query,
            fragment,
        })
    }

    /// The port, if there is one; 0 counts as none. An error does not quote it, because it may be a part of a password.
    fn port(&self) -> Result<Option<u16>, String> {
        match self.port {
            "" => Ok(None),
            port => match port.parse() {
                Ok(0) => Ok(None),
                Ok(port) => Ok(Some(port)),
                Err(_) => Err("the part behind the host's : is not a port; write : / ? # @ in a password as %3A %2F %3F %23 %40".into()),
            },
        }
    }
}

/// Says that `path` is not a database. It is quoted only if it can't be a part of a password.
fn no_database(text: &str, path: &str) -> String {
    if has_at_behind_host(text) {
        "the part behind the first / is not the number of a database; write a / or # in a password as %2F or %23".into()
    } else {
        format!("{path:?} is not the number of a database")
    }
}

/// Whether there is an @ behind the end of the host. Then the host may have ended inside a password, at a / or ? or #
/// that should have been escaped.
fn has_at_behind_host(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.find(['/', '?', '#'])
        .is_some_and(|end| rest[end..].contains('@'))
}

/// Decodes `%41` and the like in a part of a URL. As in Python, a % stands for itself if no two hexadecimal digits
/// follow.
fn decode(part: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [byte, after @ ..] = rest {
        let escaped = match (byte, after) {
            (b'%', [one, other, ..]) => hexadecimal(*one).zip(hexadecimal(*other)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "its % escapes are not UTF-8".into())
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|it| it.try_into().ok())
}

/// A URL as it may be shown: without options, and only its scheme if it may have a password. It is used for URLs that
/// can't be read, in which nothing says where the password ends.
pub(super) fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = match rest.contains('@') {
        true => "...",
        false => rest.split(['?', '#']).next().unwrap_or_default(),
    };
    if scheme.is_empty() {
        rest.to_owned()
    } else {
        format!("{scheme}://{rest}")
    }
}
