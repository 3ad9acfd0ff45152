//! Judges certificates that rustls does not support: those of X.509 version 1, and authorities that are servers
//! themselves.

use std::net::IpAddr;

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{
    ASN1Time, FromDer, GeneralName, ParsedExtension, X509Certificate, X509Version,
};

/// The longest chain, from the server's certificate to the trusted one.
const LENGTH: usize = 8;
/// How many signatures are checked for one chain. A server may send any number of certificates, so there is a limit.
const SIGNATURES: usize = 32;

type Verdict<T> = Result<T, CertificateError>;

/// Whether only this module can judge a server's certificate.
pub(super) fn is_beyond_rustls(leaf: &CertificateDer<'_>) -> bool {
    parse(leaf).is_some_and(|leaf| leaf.version() != X509Version::V3 || leaf.is_ca())
}

/// Whether `leaf` leads to one of `trusted`: it is one itself, or each certificate is signed by the next.
///
/// It accepts no chain that OpenSSL would refuse: all certificates must be valid now, those that sign must be
/// authorities, and a restriction that is not checked here is a refusal.
pub(super) fn judge(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    trusted: &[CertificateDer<'_>],
    now: UnixTime,
) -> Verdict<()> {
    let mut current = parse(leaf).ok_or(CertificateError::BadEncoding)?;
    check(&current, now)?;
    serves(&current)?;
    let mut signatures = 0;
    for below in 0..LENGTH {
        if trusted.iter().any(|it| it.as_ref() == current.as_raw()) {
            return Ok(());
        }
        let signer = |candidates: &'_ [CertificateDer<'_>], signatures: &mut usize| {
            candidates.iter().position(|candidate| {
                let Some(candidate) = parse(candidate) else {
                    return false;
                };
                if candidate.subject() != current.issuer() || *signatures >= SIGNATURES {
                    return false;
                }
                *signatures += 1;
                let key = candidate.public_key();
                current.verify_signature(Some(key)).is_ok()
            })
        };
        if let Some(anchor) = signer(trusted, &mut signatures).and_then(|at| parse(&trusted[at])) {
            check(&anchor, now)?;
            return signs(&anchor, below, true);
        }
        let next = signer(intermediates, &mut signatures).and_then(|at| parse(&intermediates[at]));
        current = next.ok_or(CertificateError::UnknownIssuer)?;
        check(&current, now)?;
        signs(&current, below, false)?;
    }
    Err(CertificateError::UnknownIssuer)
}

/// Whether `leaf` is for a server of this name. As in Python, a certificate that names no hosts is for its common name.
pub(super) fn is_for(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Some(leaf) = parse(leaf) else {
        return false;
    };
    match name {
        ServerName::DnsName(name) => {
            let names = hosts(&leaf);
            let names = match names.is_empty() {
                true => common_names(&leaf),
                false => names,
            };
            names.iter().any(|it| matches(it, name.as_ref()))
        }
        ServerName::IpAddress(address) => addresses(&leaf).contains(&IpAddr::from(*address)),
        _ => false,
    }
}

/// The public key in a certificate.
pub(super) fn public_key<'a>(cert: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    let (_, cert) = X509Certificate::from_der(cert.as_ref()).ok()?;
    Some(cert.tbs_certificate.subject_pki.subject_public_key.data).and_then(|key| match key {
        std::borrow::Cow::Borrowed(key) => Some(key),
        std::borrow::Cow::Owned(_) => None,
    })
}

/// The subject, the signer and the names of a certificate, for people.
pub(super) fn described(leaf: &CertificateDer<'_>) -> String {
    let Some(leaf) = parse(leaf) else {
        return "it can't be read".to_owned();
    };
    let name = |name: String| match name.is_empty() {
        true => "nobody".to_owned(),
        false => printable(&name),
    };
    let names = hosts(&leaf).into_iter();
    let names = names.chain(addresses(&leaf).into_iter().map(|it| it.to_string()));
    let names: Vec<_> = names.take(8).collect();
    let names = match names.is_empty() {
        true => String::new(),
        false => printable(&format!(", for {}", names.join(", "))),
    };
    format!(
        "{}, signed by {}{names}",
        name(leaf.subject().to_string()),
        name(leaf.issuer().to_string())
    )
}

/// The length of the certificate at the beginning of `bytes`.
pub(super) fn end_of_certificate(bytes: &[u8]) -> Option<usize> {
    let (rest, _) = X509Certificate::from_der(bytes).ok()?;
    Some(bytes.len() - rest.len())
}

fn parse<'a>(cert: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, cert) = X509Certificate::from_der(cert.as_ref()).ok()?;
    rest.is_empty().then_some(cert)
}

/// The checks that each certificate of a chain must pass.
fn check(cert: &X509Certificate<'_>, now: UnixTime) -> Verdict<()> {
    let now = i64::try_from(now.as_secs())
        .ok()
        .and_then(|now| ASN1Time::from_timestamp(now).ok())
        .ok_or(CertificateError::NotValidYet)?;
    if now < cert.validity().not_before {
        return Err(CertificateError::NotValidYet);
    }
    if now > cert.validity().not_after {
        return Err(CertificateError::Expired);
    }
    let is_unknown = cert.extensions().iter().any(|extension| {
        let is_known = matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
        );
        let restricts = matches!(
            extension.parsed_extension(),
            ParsedExtension::NameConstraints(_)
        );
        restricts || (extension.critical && !is_known)
    });
    match is_unknown {
        true => Err(CertificateError::UnhandledCriticalExtension),
        false => Ok(()),
    }
}

/// Whether it may be the certificate of a server.
fn serves(leaf: &X509Certificate<'_>) -> Verdict<()> {
    match leaf.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.server_auth => Ok(()),
        Ok(Some(_)) => Err(CertificateError::InvalidPurpose),
        Err(_) => Err(CertificateError::BadEncoding),
    }
}

/// Whether it may sign a chain in which `below` certificates sign others. A certificate of version 1 can't say that, so
/// it may sign only if it is trusted itself.
fn signs(cert: &X509Certificate<'_>, below: usize, is_trusted: bool) -> Verdict<()> {
    if cert.version() != X509Version::V3 {
        let may = is_trusted && cert.subject() == cert.issuer();
        return may.then_some(()).ok_or(CertificateError::UnknownIssuer);
    }
    let constraints = cert
        .basic_constraints()
        .map_err(|_| CertificateError::BadEncoding)?
        .ok_or(CertificateError::UnknownIssuer)?;
    let is_long = constraints
        .value
        .path_len_constraint
        .is_some_and(|limit| below > limit as usize);
    let may_sign = match cert.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    match constraints.value.ca && may_sign && !is_long {
        true => Ok(()),
        false => Err(CertificateError::UnknownIssuer),
    }
}

fn hosts(cert: &X509Certificate<'_>) -> Vec<String> {
    alternative_names(cert, |name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    })
}

fn addresses(cert: &X509Certificate<'_>) -> Vec<IpAddr> {
    alternative_names(cert, |name| match name {
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
            _ => None,
        },
        _ => None,
    })
}

fn alternative_names<T>(
    cert: &X509Certificate<'_>,
    of: impl Fn(&GeneralName<'_>) -> Option<T>,
) -> Vec<T> {
    match cert.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().filter_map(of).collect(),
        _ => Vec::new(),
    }
}

fn common_names(cert: &X509Certificate<'_>) -> Vec<String> {
    let names = cert.subject().iter_common_name();
    names
        .filter_map(|name| Some(name.as_str().ok()?.to_owned()))
        .collect()
}

/// Whether a certificate's name, which may begin with `*.`, matches a host.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.trim_end_matches('.'), name.trim_end_matches('.'));
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    match (pattern.strip_prefix("*."), name.split_once('.')) {
        (Some(pattern), Some((_, rest))) => {
            pattern.contains('.') && pattern.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

fn printable(text: &str) -> String {
    let text = text.chars().take(200);
    text.map(|it| if it.is_control() { ' ' } else { it })
        .collect()
}
