//! Downloads: https only, limited in size, time and redirects, and checked against the sha256 that was promised.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::digest::Digest;
use crate::install::component::MAX_SIZE;

const CONNECT: Duration = Duration::from_secs(10);
/// Between two pieces.
const SILENCE: Duration = Duration::from_secs(30);
const WHOLE: Duration = Duration::from_secs(600);
const REDIRECTS: usize = 5;

/// Is told how many bytes have come, and of how many, where the server has said.
pub type Progress<'a> = dyn FnMut(u64, Option<u64>) + Send + 'a;

/// Gets files over https.
#[derive(Clone, Debug)]
pub struct Downloader {
    http: reqwest::Client,
    limit: usize,
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Nothing can be trusted.
    #[error(
        "this machine has no root certificates, without which no server can be trusted: {0}; install ca-certificates, or \
         name a file of them in SSL_CERT_FILE"
    )]
    NoCertificates(String),
    /// TLS or the client can't be set up.
    #[error("no download can be made here: {0}")]
    Setup(String),
    /// It is no https address.
    #[error("{0} is not taken: only https:// is")]
    NotHttps(Url),
    /// No answer, or none that could be understood.
    #[error("{url} can't be downloaded: {reason}")]
    Failed {
        /// What was asked for.
        url: Url,
        /// A clause.
        reason: String,
    },
    /// The server's answer is not the file.
    #[error("{url} can't be downloaded: the server said {status}")]
    Status {
        /// What was asked for.
        url: Url,
        /// Such as `404 Not Found`.
        status: reqwest::StatusCode,
    },
    /// It ended, or was broken off, before all was there.
    #[error("{url} is not complete: {received} bytes came{}; try again", of(*expected))]
    CutOff {
        /// What was asked for.
        url: Url,
        /// In bytes.
        received: u64,
        /// In bytes, where the server has said.
        expected: Option<u64>,
    },
    /// More than a plugin should have.
    #[error("{url} has more than the {limit} bytes that are taken")]
    TooLarge {
        /// What was asked for.
        url: Url,
        /// In bytes.
        limit: usize,
    },
    /// All of it came, and it is another file.
    #[error(
        "{url} is not the file that was promised: its sha256 is {found}, not {promised}; nothing of it was used"
    )]
    OtherFile {
        /// What was asked for.
        url: Url,
        /// Given with the address, or the lock's.
        promised: Digest,
        /// Of what came.
        found: Digest,
    },
}

impl Downloader {
    /// One that trusts what this machine trusts: its root certificates, or those that SSL_CERT_FILE names.
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
                attempt.error("it leads on to plain http, which is not taken")
            } else if attempt.previous().len() > REDIRECTS {
                attempt.error("it leads on from address to address")
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

    /// Gets a file. Without `promised`, whatever comes is given: for the one who then says its sha256.
    ///
    /// # Errors
    /// A [`DownloadError`]; nothing is left behind.
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

/// The innermost cause says what happened; what is around it repeats the address.
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
