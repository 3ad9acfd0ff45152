//! The HTTP client's TLS and proxy, and the errors of the way to Slack in words.

use std::sync::Arc;

use url::{Host, Url};

/// Why a [`WebApi`](crate::WebApi) could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The base URL is not one that methods can be joined to.
    #[error("{0} can't be Slack's API: give a URL like https://slack.com/api/")]
    BaseUrl(Url),
    /// The machine has no root certificates to check Slack's with.
    #[error(
        "no root certificates are found on this machine ({0}): install ca-certificates, or set SSL_CERT_FILE"
    )]
    NoCertificates(String),
    /// The TLS library refused its configuration.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client refused its configuration, for example a proxy's URL.
    #[error("the HTTP client can't be set up: {0} (check HTTPS_PROXY)")]
    Http(#[from] reqwest::Error),
}

/// Whether a URL's host is this machine, which is reached without a proxy.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// TLS by rustls with ring, and the machine's root certificates. Nothing process-wide is installed.
pub(crate) fn tls(needed: bool) -> Result<rustls::ClientConfig, SetupError> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 && needed {
        let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(SetupError::NoCertificates(why.join("; ")));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// An error with its causes, innermost last, without the URL, which would only repeat what people know.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        words.push(cause.to_string());
        next = cause.source();
    }
    words.dedup();
    if words.is_empty() {
        error.to_string()
    } else {
        words.join(": ")
    }
}
