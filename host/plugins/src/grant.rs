//! Capabilities: a plugin has one only if its manifest asks for it **and** the operator grants it, both in the same
//! words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Something that a plugin may be allowed to do. Events, roster, log, clock and emitter need no grant: they reach
/// nothing outside the host.
///
/// In text: `store`, `slack`, `slack:METHOD`, `slack:PREFIX.*`, `secrets:NAME`, `http:HOST`, `http:*.HOST`, `http:HOST:PORT`, `http:http://HOST`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Capability {
    /// A key-value store of its own.
    Store,
    /// Sending messages to Slack.
    Slack,
    /// Calling these methods of Slack's Web API, and reading their answers.
    SlackMethod(MethodPattern),
    /// Reading the operator's secret of this name.
    Secret(String),
    /// HTTP requests to these hosts.
    Http(HostPattern),
}

/// Methods of Slack's Web API: one, such as `users.lookupByEmail`, or all of a family, such as `conversations.*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodPattern(String);

impl MethodPattern {
    /// Whether the pattern allows a call of `method`.
    pub fn matches(&self, method: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(family) => method.len() > family.len() && method.starts_with(family),
            None => method == self.0,
        }
    }
}

/// The hosts that HTTP requests may go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern {
    /// Whether plain `http` is allowed as well: the pattern begins with `http://`.
    pub plain: bool,
    /// Whether any host below `host` is meant, but not `host` itself: `*.example.com`.
    pub below: bool,
    /// The host's name, in lower case.
    pub host: String,
    /// The port; the scheme's default if there is none.
    pub port: Option<u16>,
}

/// The error for a text that does not name a capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a capability: {why}")]
pub struct CapabilityError {
    /// The text as it was written.
    pub text: String,
    /// A clause with the cure.
    pub why: &'static str,
}

impl Capability {
    /// Its meaning, in the words that the operator reads when asked to grant it.
    pub fn meaning(&self) -> String {
        match self {
            Self::Store => "keep data of its own on this machine".into(),
            Self::Slack => "send messages to Slack as your bot".into(),
            Self::SlackMethod(pattern) => {
                format!(
                    "call {} of Slack's Web API as your bot, and read the answers",
                    pattern.0
                )
            }
            Self::Secret(name) => format!("read the secret {name}"),
            Self::Http(pattern) => format!("call {pattern} over HTTP"),
        }
    }

    /// The interface whose functions need it.
    pub(crate) fn interface(&self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Slack | Self::SlackMethod(_) => "slack",
            Self::Secret(_) => "secrets",
            Self::Http(_) => "http",
        }
    }

    /// Whether granting `self` allows all that `asked` asks for.
    pub fn covers(&self, asked: &Capability) -> bool {
        match (self, asked) {
            (Self::Http(held), Self::Http(asked)) => {
                held == asked
                    || (!asked.below
                        && held.matches(asked.plain, &asked.host, asked.effective_port()))
            }
            (Self::SlackMethod(held), Self::SlackMethod(asked)) => {
                held == asked || held.matches(&asked.0)
            }
            _ => self == asked,
        }
    }
}

/// The capabilities in `asked` that `granted` does not cover, in the order of `asked`.
pub fn missing<'a>(asked: &'a [Capability], granted: &[Capability]) -> Vec<&'a Capability> {
    asked
        .iter()
        .filter(|asked| !granted.iter().any(|granted| granted.covers(asked)))
        .collect()
}

impl HostPattern {
    /// Whether the pattern allows a request to `host` at `port`.
    pub fn matches(&self, plain: bool, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let host_fits = match self.below {
            true => host
                .strip_suffix(&self.host)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            false => host == self.host,
        };
        let scheme_port = if plain { 80 } else { 443 };
        host_fits && (!plain || self.plain) && port == self.port.unwrap_or(scheme_port)
    }

    fn effective_port(&self) -> u16 {
        self.port.unwrap_or(if self.plain { 80 } else { 443 })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.plain { "http://" } else { "" };
        let below = if self.below { "*." } else { "" };
        write!(f, "{scheme}{below}{}", self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("store"),
            Self::Slack => f.write_str("slack"),
            Self::SlackMethod(MethodPattern(pattern)) => write!(f, "slack:{pattern}"),
            Self::Secret(name) => write!(f, "secrets:{name}"),
            Self::Http(pattern) => write!(f, "http:{pattern}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (plain, rest) = match text.split_once("://") {
            Some(("http", rest)) => (true, rest),
            Some(("https", rest)) => (false, rest),
            Some(_) => return Err("its scheme must be https or http"),
            None => (false, text),
        };
        let (below, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        // An IPv6 address stands in brackets, as in a URL.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                Some(
                    port.parse()
                        .map_err(|_| "its port must be a number up to 65535")?,
                ),
            ),
            _ => (rest, None),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let address = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || !(address || host.chars().all(fits)) {
            return Err(
                "http:HOST names one host, such as http:api.example.com or http:*.example.com",
            );
        }
        Ok(Self {
            plain,
            below,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        let bad = |why| CapabilityError {
            text: text.to_owned(),
            why,
        };
        match text.split_once(':') {
            None if text == "store" => Ok(Self::Store),
            None if text == "slack" => Ok(Self::Slack),
            Some(("slack", pattern)) if is_method_pattern(pattern) => {
                Ok(Self::SlackMethod(MethodPattern(pattern.to_owned())))
            }
            Some(("slack", _)) => Err(bad(
                "slack:METHOD names a method of the Web API, such as slack:users.lookupByEmail or slack:conversations.*",
            )),
            Some(("secrets", name)) if is_secret_name(name) => Ok(Self::Secret(name.to_owned())),
            Some(("secrets", _)) => Err(bad(
                "secrets:NAME names one secret, in letters, digits and underscores",
            )),
            Some(("http", host)) => host.parse().map(Self::Http).map_err(bad),
            None if matches!(text, "http" | "secrets") => {
                Err(bad("it must say which one, as http:HOST or secrets:NAME"))
            }
            _ => Err(bad(
                "use store, slack, slack:METHOD, secrets:NAME or http:HOST",
            )),
        }
    }
}

/// Whether `pattern` is a method's name, or the beginning of one with `.*`. A lone `*` would be all of Slack.
fn is_method_pattern(pattern: &str) -> bool {
    let name = pattern.strip_suffix(".*").unwrap_or(pattern);
    let mut parts = name.split('.');
    pattern.contains('.')
        && parts
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn is_secret_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl TryFrom<String> for Capability {
    type Error = CapabilityError;

    fn try_from(text: String) -> Result<Self, CapabilityError> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> String {
        capability.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<Capability> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_asked_must_be_granted() {
        let check = |asked: &[&str], granted: &[&str], expect: &[&str]| {
            let (asked, granted) = (list(asked), list(granted));
            let texts: Vec<String> = missing(&asked, &granted)
                .into_iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(texts, expect, "{asked:?} {granted:?}");
        };
        check(&[], &[], &[]);
        check(&["store", "slack"], &["slack"], &["store"]);
        check(&["http:api.example.com"], &["http:*.example.com"], &[]);
        check(
            &["http:example.com"],
            &["http:*.example.com"],
            &["http:example.com"],
        );
        check(
            &["http:*.example.com"],
            &["http:a.example.com"],
            &["http:*.example.com"],
        );
        check(
            &["http:http://a.com"],
            &["http:a.com"],
            &["http:http://a.com"],
        );
        check(&["http:a.com:8443"], &["http:a.com"], &["http:a.com:8443"]);
        check(&["http:A.com:443"], &["http:a.com"], &[]);
        check(&["secrets:A"], &["secrets:B", "store"], &["secrets:A"]);
        check(&["slack:chat.update"], &["slack:chat.*"], &[]);
        check(&["slack:chat.*"], &["slack:chat.update"], &["slack:chat.*"]);
        check(&["slack"], &["slack:chat.postMessage"], &["slack"]);
        check(&["slack:chat.update"], &["slack"], &["slack:chat.update"]);
    }

    #[test]
    fn a_pattern_matches_its_hosts_and_no_others() {
        let check = |pattern: &str, plain, host: &str, port, expect| {
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(
                pattern.matches(plain, host, port),
                expect,
                "{pattern} {host}:{port}"
            );
        };
        check("example.com", false, "example.com", 443, true);
        check("example.com", false, "EXAMPLE.com.", 443, true);
        check("example.com", false, "evil-example.com", 443, false);
        check("example.com", true, "example.com", 80, false);
        check("http://example.com", true, "example.com", 80, true);
        check("*.example.com", false, "a.b.example.com", 443, true);
        check("*.example.com", false, "example.com", 443, false);
        check("*.example.com", false, ".example.com", 443, false);
        check("*.example.com", false, "evilexample.com", 443, false);
        check("example.com:8443", false, "example.com", 443, false);
    }

    #[test]
    fn nonsense_is_told_from_a_capability() {
        for text in [
            "",
            "Store",
            "http",
            "http:",
            "http:a/b",
            "http:ftp://a",
            "http:a:b",
            "secrets:",
            "slack:",
            "slack:*",
            "slack:chat",
            "slack:chat.",
            "slack:chat.post*",
            "slack:.*",
            "secrets:a b",
            "files",
        ] {
            assert!(text.parse::<Capability>().is_err(), "{text}");
        }
        for text in [
            "store",
            "slack",
            "secrets:API_KEY",
            "http:*.a.com",
            "http:http://[::1]:80",
        ] {
            assert_eq!(text.parse::<Capability>().unwrap().to_string(), text);
        }
    }
}
