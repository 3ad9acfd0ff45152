//! redis-py's URLs of one server.

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
    /// Sets what a URL says; the rest stays as it is. Nothing in it is refused that redis-py takes, but for what may be
    /// the end of a password that should have been escaped.
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
                        "{}: {}, and redis-py passes it over",
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
                    "a socket has no host; write / ? # @ in a password as %2F %3F %23 %40".into(),
                );
            }
            "unix" => self.endpoint = Endpoint::Unix(decode(url.path)?.into()),
            other => return Err(format!("{other}:// is not known")),
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
            // Of several the first counts, and what has no value is passed over.
            if seen.contains(&name) || (value.is_empty() && !has_at_behind_host(text)) {
                continue;
            }
            match self.set(&name, Setting::Url(&value)) {
                Ok(KeywordSupport::Known) => {}
                Ok(KeywordSupport::Unknown) if has_at_behind_host(text) => {
                    return Err("the part behind the ? is not an option that is known here; write ? in a password as %3F".into());
                }
                Ok(KeywordSupport::Unknown) => warnings.push(format!(
                    "{}: the option {name} is not known here and was passed over",
                    redact(text)
                )),
                // What is wrong may be quoted there.
                Err(_) if has_at_behind_host(text) => {
                    return Err(format!(
                        "{name}: it has another value than it can have; write ? in a password as %3F"
                    ));
                }
                Err(reason) => return Err(format!("{name}: {reason}")),
            }
            seen.push(name);
        }
        Ok(())
    }
}

/// A URL's parts as Python's `urlsplit` finds them.
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
            .ok_or("it has no scheme: redis://, rediss:// or unix://")?;
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

    /// The port, where one is given; 0 counts as none. It is not quoted, since it may be a piece of a password.
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

/// What lies behind the host is shown only where it can be no part of a password.
fn no_database(text: &str, path: &str) -> String {
    if has_at_behind_host(text) {
        "the part behind the first / is not the number of a database; write a / or # in a password as %2F or %23".into()
    } else {
        format!("{path:?} is no number of a database")
    }
}

/// Whether an @ stands where the host has ended: a password may have ended it, by a / or ? or # that should be escaped.
fn has_at_behind_host(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.find(['/', '?', '#'])
        .is_some_and(|end| rest[end..].contains('@'))
}

/// Takes `%41` and the like out of a part of a URL. As in Python, a % that two hexadecimal digits do not follow stands
/// for itself.
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
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 behind its % signs".into())
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|it| it.try_into().ok())
}

/// A URL as it may be shown: without options, and no more than its scheme where it may have a password. This one can't
/// be read, so nobody knows where in it the password ends.
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
