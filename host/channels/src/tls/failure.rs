//! The reasons why TLS with a server fails. Each kind has its own cure.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::Arc;

use redis::RedisError;
use rustls::{AlertDescription, CertificateError, OtherError};

/// The kind of a TLS failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// No trusted authority has signed the server's certificate.
    Issuer,
    /// The certificate is for other names than that of the server.
    Name,
    /// The certificate has expired, or is not valid yet.
    Time,
    /// The certificate has an invalid form, the wrong purpose, or a signature that can't be checked.
    Form,
    /// The server requires a certificate of ours, or does not accept ours.
    OwnCertificate,
    /// The server does not speak TLS on this port.
    NotSpoken,
    /// The server requires TLS on this port, and our settings do not.
    Wanted,
    /// A file or value of our own settings can't be used.
    Settings,
    /// The two sides have no version or cipher in common, or one of them broke the protocol.
    Protocol,
}

/// A server's certificate that was refused, with its description.
#[derive(Debug, Clone)]
pub(super) struct RefusedCertificate {
    pub(super) certificate: String,
    pub(super) error: CertificateError,
}

/// A file or value of our own settings that can't be used.
#[derive(Debug)]
struct UnusableSetting(String);

pub(crate) fn unreadable(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, UnusableSetting(reason))
}

/// Only one of the two sides speaks TLS.
#[derive(Debug)]
struct Mismatch(TlsFailure);

pub(super) fn mismatch(kind: TlsFailure) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Mismatch(kind))
}

/// A failure of TLS, with its reason in words.
#[derive(Debug)]
pub(crate) struct TlsError {
    pub(crate) kind: TlsFailure,
    pub(crate) reason: String,
}

/// The failure of TLS in an error of the client library; `None` if the error is about something else.
pub(crate) fn failure(error: &RedisError) -> Option<TlsError> {
    let source = error.source()?;
    // The client library wraps the cause in an Arc.
    let cause = match source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        Some(shared) => shared.downcast_ref::<io::Error>(),
        None => source.downcast_ref::<io::Error>(),
    };
    of_io(cause?)
}

pub(super) fn of_io(error: &io::Error) -> Option<TlsError> {
    let inner = error.get_ref()?;
    if let Some(error) = inner.downcast_ref::<UnusableSetting>() {
        return Some(TlsError::new(TlsFailure::Settings, &error.0));
    }
    if let Some(error) = inner.downcast_ref::<Mismatch>() {
        return Some(TlsError::new(error.0, error));
    }
    if let Some(error) = inner.downcast_ref::<io::Error>() {
        return of_io(error);
    }
    let error = inner.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            match other.downcast_ref::<RefusedCertificate>() {
                Some(refused) => TlsError::new(refused.kind(), refused),
                None => TlsError::new(TlsFailure::Form, error),
            }
        }
        rustls::Error::InvalidCertificate(_) => TlsError::new(TlsFailure::Form, error),
        rustls::Error::AlertReceived(alert) => TlsError::new(of_alert(*alert), error),
        rustls::Error::InvalidMessage(_) => {
            let kind = TlsFailure::NotSpoken;
            TlsError::new(kind, Mismatch(kind))
        }
        _ => TlsError::new(TlsFailure::Protocol, error),
    })
}

impl TlsError {
    fn new(kind: TlsFailure, reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        Self { kind, reason }
    }
}

/// The kind of failure behind a server's alert.
fn of_alert(alert: AlertDescription) -> TlsFailure {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        // OpenSSL sends this over TLS 1.2 to a client without a certificate.
        | AlertDescription::HandshakeFailure => TlsFailure::OwnCertificate,
        _ => TlsFailure::Protocol,
    }
}

impl RefusedCertificate {
    fn kind(&self) -> TlsFailure {
        match &self.error {
            CertificateError::UnknownIssuer => TlsFailure::Issuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFailure::Name
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFailure::Time,
            _ => TlsFailure::Form,
        }
    }
}

impl fmt::Display for RefusedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = &self.certificate;
        match self.kind() {
            TlsFailure::Issuer => write!(
                f,
                "no trusted authority has signed the server's certificate ({certificate})"
            ),
            TlsFailure::Name => write!(
                f,
                "the server's certificate is for another name ({certificate})"
            ),
            _ => write!(
                f,
                "the server's certificate was refused ({certificate}): {}",
                self.error
            ),
        }
    }
}

impl std::error::Error for RefusedCertificate {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            TlsFailure::Wanted => {
                "the server requires TLS on this port; write rediss:// instead of redis://"
            }
            _ => "the server does not speak TLS on this port; write redis:// instead of rediss://",
        })
    }
}

impl std::error::Error for Mismatch {}

impl fmt::Display for UnusableSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnusableSetting {}
