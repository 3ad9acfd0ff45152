//! One Redis server's address and credentials.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// redis-py's default for a TCP port.
pub(super) const PORT: u16 = 6379;

/// One Redis server, or the master that Sentinels name, and how to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Host {
    /// Its address.
    pub endpoint: Endpoint,
    /// The number of the database.
    pub database: i64,
    /// The ACL user; without one, the default user.
    pub username: Option<String>,
    /// Its password. It is never shown.
    pub password: Option<String>,
    /// The settings of TLS, if it is used.
    pub tls: Option<Tls>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub response_timeout: Duration,
}

/// The address of a server.
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
        /// The name by which they know the master.
        master: String,
    },
}

/// How a server's certificate is checked, and our own certificate (redis-py's `ssl_*` keywords). The system's
/// authorities are trusted as well as those that are named.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM file of authorities to trust.
    pub ca_certs: Option<PathBuf>,
    /// Folder of such files, named as OpenSSL looks for them.
    pub ca_path: Option<PathBuf>,
    /// The certificates of authorities to trust: in PEM, or one after the other in DER.
    pub ca_data: Option<Vec<u8>>,
    /// PEM file of our certificate, for a server that asks for one.
    pub certfile: Option<PathBuf>,
    /// PEM file of its key.
    pub keyfile: Option<PathBuf>,
    /// The key itself in PEM, if its file is encrypted. It is never shown.
    pub key_data: Option<Vec<u8>>,
    /// `ssl_cert_reqs = "none"`: any certificate is accepted.
    pub accept_any: bool,
    /// `ssl_check_hostname = False`: any name in the certificate is accepted.
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

    pub(super) fn tls(&mut self) -> &mut Tls {
        self.tls.get_or_insert_default()
    }

    pub(super) fn port(&self) -> u16 {
        match self.endpoint {
            Endpoint::Tcp(_, port) => port,
            _ => PORT,
        }
    }

    pub(super) fn host_name(&self) -> &str {
        match &self.endpoint {
            Endpoint::Tcp(host, _) => host,
            _ => "localhost",
        }
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
