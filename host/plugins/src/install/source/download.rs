//! Downloads over https, with limits of size, time and redirects, and checked against a known sha256.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::digest::Digest;
use crate::install::component::MAX_SIZE;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may send nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the whole download may take.
const WHOLE: Duration = Duration::from_secs(600);
/// The number of redirects that are followed.
const REDIRECTS: usize = 5;

/// A function that gets the number of bytes so far, and of the whole file, if the server has said it.
pub type Progress<'a> = dyn FnMut(u64, Option<u64>) + Send + 'a;

/// Downloads files over https.
#[derive(Clone, Debug)]
pub struct Downloader {
    http: reqwest::Client,
    limit: usize,
}

/// Why a file could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No server can be trusted, for want of root certificates.
    #[error(
        "this machine has no root certificates, without which no server can be trusted: {0}; install ca-certificates, or \
         name a file with certificates in SSL_CERT_FILE"
    )]
    NoCertificates(String),
    /// TLS or the HTTP client can't be set up.
    #[error("downloads can't be made on this machine: {0}")]
    Setup(String),
    /// The address is not an https address.
    #[error("{0} can't be downloaded, since only https:// addresses are allowed")]
    NotHttps(Url),
    /// There was no answer, or one that could not be understood.
    #[error("{url} can't be downloaded: {reason}")]
    Failed {
        /// The address.
        url: Url,
        /// A clause.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{url} can't be downloaded: the server answered {status}")]
    Status {
        /// The address.
        url: Url,
        /// The status, such as `404 Not Found`.
        status: reqwest::StatusCode,
    },
    /// The connection ended before the whole file had come.
    #[error("{url} is not complete: {received} bytes came{}; try again", of(*expected))]
    CutOff {
        /// The address.
        url: Url,
        /// The bytes that came.
        received: u64,
        /// The bytes of the whole file, if the server has said it.
        expected: Option<u64>,
    },
    /// The file is larger than a plugin may be.
    #[error("{url} has more than the {limit} bytes that a plugin may have")]
    TooLarge {
        /// The address.
        url: Url,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The whole file came, and it is another one.
    #[error(
        "{url} is not the expected file: its sha256 is {found}, not {promised}; it was not used"
    )]
    OtherFile {
        /// The address.
        url: Url,
        /// The digest that was given with the address, or the lock's.
        promised: Digest,
        /// The digest of the file that came.
        found: Digest,
    },
}

impl Downloader {
    /// A downloader that trusts this machine's root certificates, or those in the file that SSL_CERT_FILE names.
    ///
    /// # Errors
    /// There are no certificates, or TLS can't be set up.
    pub fn new() -> Result<Self, DownloadError> {
        let mut roots = rustls::RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(DownloadError::NoCertificates(why.join("; ")));
        }
        Self::trusting(roots, MAX_SIZE, SILENCE)
    }

    fn trusting(
        roots: rustls::RootCertStore,
        limit: usize,
        silence: Duration,
    ) -> Result<Self, DownloadError> {
        let setup = |error: &dyn std::error::Error| DownloadError::Setup(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let redirects = Policy::custom(|attempt| {
            if attempt.url().scheme() != "https" {
                attempt.error("the server redirects to plain http, which is not allowed")
            } else if attempt.previous().len() > REDIRECTS {
                attempt.error("the server redirects from address to address")
            } else {
                attempt.follow()
            }
        });
        let http = reqwest::Client::builder()
            .user_agent(concat!("djangobot/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .redirect(redirects)
            .connect_timeout(CONNECT)
            .read_timeout(silence)
            .timeout(WHOLE)
            .build()
            .map_err(|error| setup(&error))?;
        Ok(Self { http, limit })
    }

    /// Downloads a file. Without `promised`, it is not checked: the caller shows the sha256 to a person then.
    ///
    /// # Errors
    /// A [`DownloadError`]. Nothing is left on the disk.
    pub async fn get(
        &self,
        url: &Url,
        promised: Option<Digest>,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<u8>, DownloadError> {
        if url.scheme() != "https" {
            return Err(DownloadError::NotHttps(url.clone()));
        }
        let too_large = || DownloadError::TooLarge {
            url: url.clone(),
            limit: self.limit,
        };
        let mut answer = self
            .http
            .get(url.clone())
            .send()
            .await
            .map_err(|error| failed(url, &error))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(DownloadError::Status {
                url: url.clone(),
                status: answer.status(),
            });
        }
        let expected = answer.content_length();
        if expected.is_some_and(|expected| expected > self.limit as u64) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        let mut counted = Sha256::new();
        progress(0, expected);
        loop {
            let piece = match answer.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) if error.is_timeout() => return Err(failed(url, &error)),
                Err(_) => {
                    return Err(DownloadError::CutOff {
                        url: url.clone(),
                        received: bytes.len() as u64,
                        expected,
                    });
                }
            };
            if bytes.len() + piece.len() > self.limit {
                return Err(too_large());
            }
            counted.update(&piece);
            bytes.extend_from_slice(&piece);
            progress(bytes.len() as u64, expected);
        }
        let found = Digest::finish(counted);
        match promised {
            Some(promised) if promised != found => Err(DownloadError::OtherFile {
                url: url.clone(),
                promised,
                found,
            }),
            _ => Ok(bytes),
        }
    }
}

/// The error with its innermost cause: the causes around that one only repeat the address.
fn failed(url: &Url, error: &reqwest::Error) -> DownloadError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    DownloadError::Failed {
        url: url.clone(),
        reason: match error.is_timeout() {
            true => "the server took too long".into(),
            false => cause.to_string().escape_debug().to_string(),
        },
    }
}

fn of(expected: Option<u64>) -> String {
    expected.map_or_else(String::new, |expected| format!(" of {expected}"))
}
