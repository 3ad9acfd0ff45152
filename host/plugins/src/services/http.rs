//! HTTP on behalf of a plugin: to granted hosts, at public addresses, within limits of size and time.
//!
//! The grants say which hosts. A name is resolved once for each connection, and the connection goes to an address that
//! was checked, so that an answer which changes in between changes nothing. A redirect is a request like the first.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::{StatusCode, Url};
use tokio::sync::OnceCell;
use url::Host;

use crate::grant::HostPattern;

mod address;
mod outgoing;
mod request;

pub use outgoing::MAX_REQUEST;
use outgoing::Outgoing;
pub use request::{HttpError, Request};

/// The largest body of an answer, in bytes, as it comes: nothing is unpacked.
pub const MAX_RESPONSE: usize = 1 << 20;
/// The largest headers of an answer together, in bytes.
pub const MAX_RESPONSE_HEADERS: usize = 64 << 10;
/// How many redirects are followed.
pub const MAX_REDIRECTS: usize = 5;

/// What the server answered; the interface's `response`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Of the last answer, redirects being followed.
    pub status: u16,
    /// In order; what is no UTF-8 is replaced.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Vec<u8>,
}

/// Finds the addresses of a host.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`, of which any may be connected to.
    fn resolve(&self, host: String) -> Resolving;
}

/// The addresses of a host, soon.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// The machine's own way to find addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Makes requests for plugins. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Fetcher {
    gate: Gate,
    resolver: Arc<dyn Resolve>,
    /// Made at the first request: to read the machine's certificates takes time, and most hosts need none.
    client: Arc<OnceCell<reqwest::Client>>,
}

/// Which addresses may be connected to.
#[derive(Clone, Copy)]
struct Gate {
    allow_private: bool,
    is_public: fn(IpAddr) -> bool,
}

impl Fetcher {
    /// With `allow_private`, a grant that names an address or `localhost` exactly is the operator's word for it, be it
    /// of this machine or of a private network.
    pub fn new(allow_private: bool) -> Self {
        Self::with_resolver(allow_private, Arc::new(SystemResolver))
    }

    /// Like [`Fetcher::new`], with another way to find addresses.
    pub fn with_resolver(allow_private: bool, resolver: Arc<dyn Resolve>) -> Self {
        Self {
            gate: Gate {
                allow_private,
                is_public: address::is_public,
            },
            resolver,
            client: Arc::default(),
        }
    }

    /// Carries `request` out, as far as `grants` allow it, within `budget`.
    pub async fn fetch(
        &self,
        grants: &[HostPattern],
        request: Request,
        budget: Duration,
    ) -> Result<Response, HttpError> {
        let asked = request.timeout_ms.map(u64::from).map(Duration::from_millis);
        let outgoing = Outgoing::check(request)?;
        let limit = asked.map_or(budget, |asked| asked.min(budget));
        tokio::time::timeout(limit, self.follow(grants, outgoing))
            .await
            .unwrap_or(Err(HttpError::Timeout))
    }

    async fn follow(
        &self,
        grants: &[HostPattern],
        mut outgoing: Outgoing,
    ) -> Result<Response, HttpError> {
        for _ in 0..=MAX_REDIRECTS {
            self.gate.check(grants, &outgoing.url)?;
            let response = self.send(&outgoing).await?;
            let status = response.status();
            let location = match is_redirect(status) {
                true => response.headers().get(LOCATION),
                false => None,
            };
            match location {
                Some(location) => outgoing.redirect(status, location.as_bytes())?,
                None => return read(response).await,
            }
        }
        Err(HttpError::Failed(format!(
            "there were more than {MAX_REDIRECTS} redirects"
        )))
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<reqwest::Response, HttpError> {
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        let mut request = client
            .request(outgoing.method.clone(), outgoing.url.clone())
            .headers(outgoing.headers.clone());
        let has_body = matches!(outgoing.method.as_str(), "POST" | "PUT" | "PATCH");
        if has_body || !outgoing.body.is_empty() {
            request = request.body(outgoing.body.clone());
        }
        request.send().await.map_err(|error| told(&error))
    }

    async fn connect(&self) -> Result<reqwest::Client, HttpError> {
        let checked = Checked {
            gate: self.gate,
            resolver: self.resolver.clone(),
        };
        tokio::task::spawn_blocking(|| client(checked))
            .await
            .map_err(|error| HttpError::Failed(error.to_string()))?
            .map_err(HttpError::Failed)
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("allow_private", &self.gate.allow_private)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// Whether `url` may be asked for, as far as it says itself; a name is checked again when it is resolved.
    fn check(&self, grants: &[HostPattern], url: &Url) -> Result<(), HttpError> {
        let denied = |why: String| Err(HttpError::Denied(why));
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return denied("the address begins neither with https:// nor with http://".into()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return denied(
                "the address has a user's name in it; the header Authorization is for that".into(),
            );
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return denied("the address names no host".into());
        };
        let literal = match host {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        };
        let host = host.to_string();
        // A pattern of names below another has nothing to say of addresses, though 127.0.0.1 ends in .1.
        let is_granted = grants
            .iter()
            .any(|grant| !(grant.below && literal.is_some()) && grant.matches(plain, &host, port));
        if !is_granted {
            let asked = HostPattern {
                plain,
                below: false,
                host: host.clone(),
                port: url.port(),
            };
            return denied(format!("http:{asked} was not granted"));
        }
        match literal {
            Some(address) if !self.lets_literal(address) => {
                denied(format!("{host} is no public address"))
            }
            _ => Ok(()),
        }
    }

    fn lets_literal(&self, address: IpAddr) -> bool {
        (self.is_public)(address) || (self.allow_private && address::may_be_allowed(address))
    }

    /// Whether the name `host` may stand for `address`.
    fn lets_named(&self, host: &str, address: IpAddr) -> bool {
        let local = host.trim_end_matches('.').eq_ignore_ascii_case("localhost");
        (self.is_public)(address)
            || (self.allow_private && local && address.to_canonical().is_loopback())
    }
}

/// Finds addresses for the client, and gives it those alone that may be connected to.
struct Checked {
    gate: Gate,
    resolver: Arc<dyn Resolve>,
}

/// A name that stands for no public address.
#[derive(Debug, thiserror::Error)]
#[error("{0} stands for no public address")]
struct NotPublic(String);

impl reqwest::dns::Resolve for Checked {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let (gate, host) = (self.gate, name.as_str().to_owned());
        let resolving = self.resolver.resolve(host.clone());
        Box::pin(async move {
            let found = resolving.await?;
            let lets: Vec<_> = found
                .iter()
                .filter(|address| gate.lets_named(&host, **address))
                // The client puts the port of the address in.
                .map(|address| SocketAddr::new(*address, 0))
                .collect();
            if lets.is_empty() && !found.is_empty() {
                return Err(NotPublic(host).into());
            }
            Ok(Box::new(lets.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// The client: it follows nothing, keeps nothing, unpacks nothing, and goes straight to where it is told.
fn client(resolver: Checked) -> Result<reqwest::Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    if let (0, _) = roots.add_parsable_certificates(found.certs) {
        tracing::warn!("this machine has no root certificates, so that plugins can't call https");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .user_agent(concat!("djangobot/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .dns_resolver(resolver)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .http1_only()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(4)
        .pool_idle_timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| error.to_string())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

async fn read(mut response: reqwest::Response) -> Result<Response, HttpError> {
    let mut size = 0;
    let mut headers = Vec::with_capacity(response.headers().len());
    for (name, value) in response.headers() {
        size += name.as_str().len() + value.len();
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.push((name.as_str().to_owned(), value));
    }
    let announced = response.content_length().unwrap_or(0);
    if size > MAX_RESPONSE_HEADERS || announced > MAX_RESPONSE as u64 {
        return Err(HttpError::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| told(&error))? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(HttpError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response {
        status: response.status().as_u16(),
        headers,
        body,
    })
}

/// What a plugin is told of an error: its causes, the address left out, which may hold a secret.
fn told(error: &reqwest::Error) -> HttpError {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(hidden) = cause.downcast_ref::<NotPublic>() {
            return HttpError::Denied(hidden.to_string());
        }
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.dedup();
    HttpError::Failed(match causes.is_empty() {
        true => "the request could not be made".into(),
        false => causes.join(": "),
    })
}

#[cfg(test)]
mod tests;
