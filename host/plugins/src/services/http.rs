//! HTTP on behalf of a plugin: to granted hosts, at public addresses, within limits of size and time.
//!
//! The grants name the hosts. A name is resolved once for each connection, and the connection goes to an address that
//! was checked: a DNS answer that changes in between has no effect. A redirect is checked like the first request.

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

/// The largest body of an answer, in bytes. Bodies are not decompressed, so a small one can't become large.
pub const MAX_RESPONSE: usize = 1 << 20;
/// The largest headers of an answer together, in bytes.
pub const MAX_RESPONSE_HEADERS: usize = 64 << 10;
/// The number of redirects that are followed.
pub const MAX_REDIRECTS: usize = 5;

/// The server's answer; the interface's `response`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status of the last answer, after redirects.
    pub status: u16,
    /// The headers in order. Bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The body as the server sent it.
    pub body: Vec<u8>,
}

/// Finds the addresses of a host.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of `host`. The connection goes to any of those that pass the check.
    fn resolve(&self, host: String) -> ResolveFuture;
}

/// The future with the addresses of a host.
pub type ResolveFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, host: String) -> ResolveFuture {
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
    resolver: Arc<dyn Resolver>,
    /// Made at the first request, because reading the machine's certificates takes time and most hosts never need them.
    client: Arc<OnceCell<reqwest::Client>>,
}

/// Decides about the addresses that may be connected to.
#[derive(Clone, Copy)]
struct Gate {
    allow_private: bool,
    /// `address::is_public`; tests take some of loopback for public.
    is_public: fn(IpAddr) -> bool,
}

impl Fetcher {
    /// A fetcher. With `allow_private`, a grant that names an address or `localhost` exactly allows it, even if it
    /// belongs to this machine or to a private network.
    pub fn new(allow_private: bool) -> Self {
        Self::with_resolver(allow_private, Arc::new(SystemResolver))
    }

    /// Like [`Fetcher::new`], with another resolver.
    pub fn with_resolver(allow_private: bool, resolver: Arc<dyn Resolver>) -> Self {
        Self {
            gate: Gate {
                allow_private,
                is_public: address::is_public,
            },
            resolver,
            client: Arc::default(),
        }
    }

    /// Makes a request, if `grants` allow it, within `budget`.
    ///
    /// # Errors
    /// An [`HttpError`] for the plugin.
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

    /// Sends the request, and follows redirects.
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
            "the server redirected the request more than {MAX_REDIRECTS} times"
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
        request.send().await.map_err(|error| error_of(&error))
    }

    /// Makes the client, off the thread of events: it reads files.
    async fn connect(&self) -> Result<reqwest::Client, HttpError> {
        let checked = PublicResolver {
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
    /// Checks whether `url` may be requested. The addresses of a name are not known yet: they are checked when it is
    /// resolved.
    fn check(&self, grants: &[HostPattern], url: &Url) -> Result<(), HttpError> {
        let denied = |why: String| Err(HttpError::Denied(why));
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return denied("the address must begin with https:// or http://".into()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return denied(
                "the address contains a user name; use the header Authorization for that".into(),
            );
        }
        // `Url` has normalised the host: other spellings of an address, such as 0x7f.1, are that address here.
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return denied("the address does not name a host".into());
        };
        let literal = match host {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        };
        let host = host.to_string();
        // A pattern `*.HOST` is about names. It must not match an address: 127.0.0.1 ends in .1, too.
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
            return denied(format!("the capability http:{asked} was not granted"));
        }
        match literal {
            Some(address) if !self.lets_literal(address) => {
                denied(format!("{host} is not a public address"))
            }
            _ => Ok(()),
        }
    }

    /// Whether an address in the URL itself may be connected to.
    fn lets_literal(&self, address: IpAddr) -> bool {
        (self.is_public)(address) || (self.allow_private && address::may_be_allowed(address))
    }

    /// Whether `address` may be connected to when the name `host` was resolved to it.
    fn lets_named(&self, host: &str, address: IpAddr) -> bool {
        let local = host.trim_end_matches('.').eq_ignore_ascii_case("localhost");
        (self.is_public)(address)
            || (self.allow_private && local && address.to_canonical().is_loopback())
    }
}

/// The client's resolver, which returns only addresses that may be connected to.
struct PublicResolver {
    gate: Gate,
    resolver: Arc<dyn Resolver>,
}

/// The error for a name without a public address.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no public address")]
struct PrivateAddressError(String);

impl reqwest::dns::Resolve for PublicResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let (gate, host) = (self.gate, name.as_str().to_owned());
        let resolving = self.resolver.resolve(host.clone());
        Box::pin(async move {
            let found = resolving.await?;
            let lets: Vec<_> = found
                .iter()
                .filter(|address| gate.lets_named(&host, **address))
                // The client replaces the port by that of the URL.
                .map(|address| SocketAddr::new(*address, 0))
                .collect();
            if lets.is_empty() && !found.is_empty() {
                return Err(PrivateAddressError(host).into());
            }
            Ok(Box::new(lets.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// The client. It does not follow redirects, which have to be checked first, keeps no cookies, decompresses nothing,
/// and uses no proxy, which would resolve names without our check.
fn client(resolver: PublicResolver) -> Result<reqwest::Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    if let (0, _) = roots.add_parsable_certificates(found.certs) {
        tracing::warn!(
            "this machine has no root certificates, so that plugins can't call https://; install the package ca-certificates"
        );
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

/// Reads an answer within the limits of size.
async fn read(mut response: reqwest::Response) -> Result<Response, HttpError> {
    let mut size = 0;
    let mut headers = Vec::with_capacity(response.headers().len());
    for (name, value) in response.headers() {
        size += name.as_str().len() + value.len();
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.push((name.as_str().to_owned(), value));
    }
    // A server may announce any length and send another, so that both the announced and the real one are checked.
    let announced = response.content_length().unwrap_or(0);
    if size > MAX_RESPONSE_HEADERS || announced > MAX_RESPONSE as u64 {
        return Err(HttpError::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error_of(&error))? {
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

/// The error for the plugin. It has the causes, and not the URL, which may contain a secret.
fn error_of(error: &reqwest::Error) -> HttpError {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(hidden) = cause.downcast_ref::<PrivateAddressError>() {
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
