//! Decides whether a server's certificate is accepted: as rustls does, and as OpenSSL does where rustls is stricter.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerMisbehaved, RootCertStore,
    SignatureScheme,
};

use crate::config::Tls;
use crate::tls::chain;
use crate::tls::failure::RefusedCertificate;

/// Checks a server's certificate.
///
/// Any certificate that rustls accepts is accepted. rustls does not support X.509 version 1, and refuses a certificate
/// that is both an authority and a server's own. `openssl req -x509` and `openssl x509 -req` make such certificates by
/// default, so many Redis servers have one. Those are judged in [`chain`]. A certificate that names no hosts is for its
/// common name.
#[derive(Debug)]
pub(super) struct Verifier {
    accept_any: bool,
    accept_any_name: bool,
    trusted: Vec<CertificateDer<'static>>,
    /// `None` if no authority is trusted.
    strict: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(
        tls: &Tls,
        trusted: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let algorithms = provider.signature_verification_algorithms;
        let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Self {
            accept_any: tls.accept_any,
            accept_any_name: tls.accept_any_name,
            trusted,
            strict: strict.ok(),
            algorithms,
        }
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let verdict = match &self.strict {
            Some(strict) => strict.verify_server_cert(leaf, intermediates, name, &[], now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match verdict {
            Ok(_) => return Ok(()),
            // The chain is good, because rustls checks names last.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(error) => {
                if !chain::is_beyond_rustls(leaf) {
                    return Err(match error {
                        Error::InvalidCertificate(error) => error,
                        other => CertificateError::Other(OtherError(Arc::new(other))),
                    });
                }
                chain::judge(leaf, intermediates, &self.trusted, now)?;
            }
        }
        if self.accept_any_name || chain::is_for(leaf, name) {
            return Ok(());
        }
        Err(CertificateError::NotValidForName)
    }

    /// Checks that the server has the private key of a certificate that rustls can't read.
    fn signed(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = self.algorithms.mapping.iter();
        let algorithms = schemes
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter());
        let Some(key) = chain::public_key(cert) else {
            return Err(CertificateError::BadEncoding.into());
        };
        let mut algorithms = algorithms.peekable();
        if algorithms.peek().is_none() {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        match algorithms.any(|it| {
            it.verify_signature(key, message, signed.signature())
                .is_ok()
        }) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.accept_any {
            return Ok(ServerCertVerified::assertion());
        }
        self.judge(end_entity, intermediates, server_name, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|error| {
                let refused = RefusedCertificate {
                    certificate: chain::described(end_entity),
                    error,
                };
                CertificateError::Other(OtherError(Arc::new(refused))).into()
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match chain::is_beyond_rustls(cert) {
            true => self.signed(message, cert, dss),
            false => rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match chain::is_beyond_rustls(cert) {
            true => self.signed(message, cert, dss),
            false => rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
