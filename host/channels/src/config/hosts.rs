//! One Redis server's address and credentials, from redis-py's URLs.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

/// redis-py's default for a TCP port.
const PORT: u16 = 6379;

/// One Redis server, or the master that Sentinels name, and how to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Host {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The number of the database.
    pub database: i64,
    /// The ACL user; none: the default user.
    pub username: Option<String>,
    /// Its password. Never shown.
    pub password: Option<String>,
    /// TLS, where it is used.
    pub tls: Option<Tls>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub response_timeout: Duration,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host name or address, and a port.
    Tcp(String, u16),
    /// A socket file.
    Unix(PathBuf),
    /// The master of this name, as Sentinels know it now.
    Sentinel {
        /// The Sentinels, each with its own credentials.
        sentinels: Vec<Host>,
        /// The name that they watch the master by.
        master: String,
    },
}

/// How a server's certificate is checked, and our own (redis-py's `ssl_*` keywords). The system's authorities are
/// trusted beside those that are named.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM file of authorities to trust.
    pub ca_certs: Option<PathBuf>,
    /// Folder of such files, named as OpenSSL looks for them.
    pub ca_path: Option<PathBuf>,
    /// Authorities to trust, themselves: in PEM, or one after the other in DER.
    pub ca_data: Option<Vec<u8>>,
    /// PEM file of our certificate, for a server that asks for one.
    pub certfile: Option<PathBuf>,
    /// PEM file of its key.
    pub keyfile: Option<PathBuf>,
    /// The key itself in PEM, where its file is encrypted. Never shown.
    pub key_data: Option<Vec<u8>>,
    /// `ssl_cert_reqs = "none"`: any certificate will do.
    pub accept_any: bool,
    /// `ssl_check_hostname = False`: any name in the certificate will do.
    pub accept_any_name: bool,
    /// `ssl_min_version`: nothing older than TLS 1.3.
    pub only_tls13: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca_certs", &self.ca_certs)
            .field("certfile", &self.certfile)
            .field("accept_any", &self.accept_any)
            .field("accept_any_name", &self.accept_any_name)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// A server at a host name and a port, with redis-py's other defaults.
    pub fn tcp(host: &str, port: u16) -> Self {
        Self::at(Endpoint::Tcp(host.to_owned(), port))
    }

    /// A server at `endpoint`, with redis-py's other defaults.
    pub fn at(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            database: 0,
            username: None,
            password: None,
            tls: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
        }
    }

    /// Sets redis-py's connection keyword `name`; says whether it is known, or why `value` is wrong.
    pub(super) fn set(&mut self, name: &str, value: Setting<'_>) -> Result<Known, String> {
        match name {
            "host" => self.endpoint = Endpoint::Tcp(value.text()?.to_owned(), self.port()),
            "port" => {
                let port = value.integer()?;
                let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
                self.endpoint = Endpoint::Tcp(self.host_name().to_owned(), port);
            }
            "path" | "unix_socket_path" => self.endpoint = Endpoint::Unix(value.text()?.into()),
            "db" => self.database = value.integer()?,
            "username" => self.username = value.optional_text()?,
            "password" => self.password = value.optional_text()?,
            "ssl" => {
                self.tls = if value.boolean()? {
                    Some(self.tls.take().unwrap_or_default())
                } else {
                    None
                }
            }
            "ssl_ca_certs" => self.tls().ca_certs = value.optional_text()?.map(PathBuf::from),
            "ssl_certfile" => self.tls().certfile = value.optional_text()?.map(PathBuf::from),
            "ssl_keyfile" => self.tls().keyfile = value.optional_text()?.map(PathBuf::from),
            "ssl_ca_path" => self.tls().ca_path = value.optional_text()?.map(PathBuf::from),
            "ssl_ca_data" => self.tls().ca_data = value.optional_bytes()?,
            // The probe opens an encrypted key, since only Python can.
            "ssl_key_data" => self.tls().key_data = value.optional_bytes()?,
            "ssl_min_version" => self.tls().only_tls13 = value.is_tls13()?,
            "ssl_check_hostname" => self.tls().accept_any_name = !value.boolean()?,
            "ssl_cert_reqs" => {
                self.tls().accept_any = match value.optional_text()?.as_deref() {
                    // In Python's ssl module it is an integer enumeration.
                    Some(
                        "required" | "optional" | "CERT_REQUIRED" | "CERT_OPTIONAL" | "1" | "2",
                    ) => false,
                    None | Some("none" | "CERT_NONE" | "0") => true,
                    Some(other) => {
                        return Err(format!(
                            "{other:?} is none of \"none\", \"optional\" and \"required\""
                        ));
                    }
                }
            }
            "ssl_password" | "connection_class" | "credential_provider" => {
                return Err(format!(
                    "only Python knows what {name} means: name the project as TARGET, or use ssl_certfile, ssl_keyfile, username and password here"
                ));
            }
            // Which ciphers are safe enough rustls knows by itself.
            "ssl_ciphers" | "ssl_include_verify_flags" | "ssl_exclude_verify_flags" => {}
            "socket_timeout" => self.response_timeout = value.seconds(self.response_timeout)?,
            "socket_connect_timeout" => {
                self.connect_timeout = value.seconds(self.connect_timeout)?
            }
            // These change nothing that can be seen from outside redis-py, or are always so here.
            "socket_keepalive"
            | "retry_on_timeout"
            | "health_check_interval"
            | "client_name"
            | "max_connections"
            | "protocol"
            | "socket_read_size"
            | "single_connection_client"
            | "retry"
            | "retry_on_error"
            | "socket_keepalive_options"
            | "lib_name"
            | "lib_version"
            | "timeout" => {}
            "decode_responses" | "encoding" | "encoding_errors" => {}
            _ => return Ok(Known::No),
        }
        Ok(Known::Yes)
    }

    fn tls(&mut self) -> &mut Tls {
        self.tls.get_or_insert_default()
    }

    fn port(&self) -> u16 {
        match self.endpoint {
            Endpoint::Tcp(_, port) => port,
            _ => PORT,
        }
    }

    fn host_name(&self) -> &str {
        match &self.endpoint {
            Endpoint::Tcp(host, _) => host,
            _ => "localhost",
        }
    }
}

/// Whether a keyword means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It was used, or makes no difference.
    Yes,
    /// It was never heard of.
    No,
}

/// A keyword's value: as JSON in settings, as text in a URL.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting<'a> {
    /// From a URL, where `True`, `yes` and `1` are all true.
    Url(&'a str),
    /// From Django's settings.
    Json(&'a serde_json::Value),
}

impl<'a> Setting<'a> {
    fn text(self) -> Result<&'a str, String> {
        match self {
            Self::Url(text) => Ok(text),
            Self::Json(value) => value.as_str().ok_or_else(|| "it should be a string".into()),
        }
    }

    fn optional_text(self) -> Result<Option<String>, String> {
        match self {
            Self::Json(serde_json::Value::Null) => Ok(None),
            // A number stands for its digits, as redis-py sends it.
            Self::Json(value) if value.is_i64() || value.is_u64() => Ok(Some(value.to_string())),
            _ => self.text().map(|text| Some(text.to_owned())),
        }
    }

    /// Text, or bytes as the probe marks them.
    fn optional_bytes(self) -> Result<Option<Vec<u8>>, String> {
        if let Self::Json(value) = self
            && let Some(base64) = value.get("__bytes__").and_then(serde_json::Value::as_str)
        {
            let bytes = STANDARD.decode(base64);
            return bytes.map(Some).map_err(|_| "it should be bytes".into());
        }
        Ok(self.optional_text()?.map(String::into_bytes))
    }

    /// `ssl.TLSVersion`: an integer in Python, and its name in words.
    fn is_tls13(self) -> Result<bool, String> {
        Ok(match self.optional_text()?.as_deref() {
            Some("772" | "TLSv1_3" | "TLSv1.3" | "MAXIMUM_SUPPORTED" | "-1") => true,
            None | Some(_) => false,
        })
    }

    fn integer(self) -> Result<i64, String> {
        let number = match self {
            Self::Url(text) => text.parse().ok(),
            // redis-py also takes a number written as a string.
            Self::Json(value) => value.as_i64().or_else(|| value.as_str()?.parse().ok()),
        };
        number.ok_or_else(|| "it should be a whole number".into())
    }

    fn boolean(self) -> Result<bool, String> {
        match self {
            Self::Url(text) => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "t" | "yes" | "y" => Ok(true),
                "" | "0" | "false" | "f" | "no" | "n" => Ok(false),
                _ => Err("it should be true or false".into()),
            },
            Self::Json(value) => value
                .as_bool()
                .ok_or_else(|| "it should be True or False".into()),
        }
    }

    /// A time limit; none, or zero, leaves `default`.
    fn seconds(self, default: Duration) -> Result<Duration, String> {
        let seconds = match self {
            Self::Url(text) => text.parse().ok(),
            Self::Json(serde_json::Value::Null) => Some(0.0),
            Self::Json(value) => value.as_f64(),
        };
        let seconds = seconds.ok_or("it should be a number of seconds")?;
        match Duration::try_from_secs_f64(seconds) {
            Ok(limit) if limit.is_zero() => Ok(default),
            // A shorter limit than this only makes trouble on a busy machine.
            Ok(limit) => Ok(limit.max(Duration::from_secs(1))),
            Err(_) => Err("it should be a number of seconds, not below 0".into()),
        }
    }
}

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
                Ok(Known::Yes) => {}
                Ok(Known::No) if has_at_behind_host(text) => {
                    return Err("the part behind the ? is not an option that is known here; write ? in a password as %3F".into());
                }
                Ok(Known::No) => warnings.push(format!(
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

/// The address as people write it, without a password.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = if self.tls.is_some() { "s" } else { "" };
        match &self.endpoint {
            Endpoint::Tcp(host, port) if host.contains(':') => {
                write!(f, "redis{secure}://[{host}]:{port}")?
            }
            Endpoint::Tcp(host, port) => write!(f, "redis{secure}://{host}:{port}")?,
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display())?,
            Endpoint::Sentinel { sentinels, master } => {
                write!(f, "sentinel {master}")?;
                for (nth, sentinel) in sentinels.iter().enumerate() {
                    write!(f, "{}{sentinel}", if nth == 0 { " at " } else { ", " })?;
                }
            }
        }
        match (self.database, &self.endpoint) {
            (0, _) => Ok(()),
            (database, Endpoint::Tcp(..)) => write!(f, "/{database}"),
            (database, _) => write!(f, "?db={database}"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({self}")?;
        if let Some(name) = &self.username {
            write!(f, " as {name}")?;
        }
        f.write_str(if self.password.is_some() {
            " with a password)"
        } else {
            ")"
        })
    }
}
