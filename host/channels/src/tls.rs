//! TLS with the same rules as Python's `ssl` module under redis-py: which certificates are accepted, and our own.

mod chain;
mod failure;
pub(crate) mod mismatch;
mod verifier;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Tls;

pub use failure::TlsFailure;
pub(crate) use failure::{TlsError, failure, unreadable};
use verifier::Verifier;

/// How long a handshake may take before the server is asked without TLS.
const PATIENCE: Duration = Duration::from_secs(2);

/// The first bytes that an answer in RESP to PING can have.
const ANSWERS: [u8; 2] = [b'+', b'-'];

/// Connects to a server and does the handshake.
///
/// If the server is silent for a part of `limit`, it is asked without TLS: a server that does not speak TLS waits for
/// the end of a line, which a handshake may not have.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    tls: &Tls,
    limit: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    let config = {
        let tls = tls.clone();
        // This reads files, and there may be many authorities of the system.
        tokio::task::spawn_blocking(move || client_config(&tls))
            .await
            .map_err(io::Error::other)??
    };
    let name = match ServerName::try_from(host.to_owned()) {
        Ok(name) => name,
        // A name that no certificate can have matters only if names are checked.
        Err(_) if tls.accept_any || tls.accept_any_name => {
            ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        }
        Err(_) => {
            return Err(unreadable(format!(
                "{host:?} is not a name that a certificate can have; ssl_check_hostname=False leaves names unchecked"
            )));
        }
    };
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let mut handshake = std::pin::pin!(handshake);
    let patience = (limit / 4).min(PATIENCE);
    match tokio::time::timeout(patience, &mut handshake).await {
        Ok(shaken) => shaken,
        Err(_) if answers_without(host, port, patience).await => {
            Err(failure::mismatch(TlsFailure::NotSpoken))
        }
        Err(_) => handshake.await,
    }
}

/// Whether the server answers a command without TLS.
async fn answers_without(host: &str, port: u16, limit: Duration) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect((host, port)).await?;
        stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
        stream.read_u8().await
    };
    let answer = tokio::time::timeout(limit, asking).await;
    matches!(answer, Ok(Ok(byte)) if ANSWERS.contains(&byte))
}

/// The judgement of a chain of certificates in PEM, of which the last is trusted, for the fuzz targets.
pub fn judged(pem: &[u8]) -> String {
    let Ok(chain) = certificates(Path::new(""), pem) else {
        return "it is not PEM".to_owned();
    };
    let (Some(leaf), Some(last)) = (chain.first(), chain.last()) else {
        return "it is empty".to_owned();
    };
    let verdict = chain::judge(leaf, &chain, std::slice::from_ref(last), UnixTime::now());
    let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    format!(
        "{} {:?} {} {} {}",
        chain::described(leaf),
        verdict.is_ok(),
        chain::is_beyond_rustls(leaf),
        chain::is_for(leaf, &name),
        chain::public_key(leaf).is_some()
    )
}

fn client_config(tls: &Tls) -> io::Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let versions: &[_] = match tls.only_tls13 {
        true => &[&TLS13],
        false => &[&TLS13, &TLS12],
    };
    let verifier = Verifier::new(tls, authorities(tls)?, provider.clone());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(match own_certificate(tls, &provider)? {
        Some(own) => builder.with_client_cert_resolver(own),
        None => builder.with_no_client_auth(),
    })
}

/// The authorities to trust: those of the system, and those that the settings name.
fn authorities(tls: &Tls) -> io::Result<Vec<CertificateDer<'static>>> {
    if tls.accept_any {
        return Ok(Vec::new());
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a certificate authority of the system can't be read and is ignored");
    }
    let mut authorities = found.certs;
    if let Some(path) = &tls.ca_certs {
        let named = certificates(path, &read(path)?)?;
        if named.is_empty() {
            return Err(unreadable(format!(
                "{}: the file contains no certificate",
                path.display()
            )));
        }
        authorities.extend(named);
    }
    if let Some(folder) = &tls.ca_path {
        for path in hashed_files(folder)? {
            authorities.extend(certificates(&path, &read(&path)?)?);
        }
    }
    if let Some(data) = &tls.ca_data {
        authorities.extend(from_data(data)?);
    }
    Ok(authorities)
}

/// The files of a folder that OpenSSL would use. Their names are a hash of the authority's name, such as `9d66eef0.0`.
fn hashed_files(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let because = |error: io::Error| unreadable(format!("{}: {error}", folder.display()));
    let is_hashed = |name: &str| {
        let parts = name.split_once('.');
        parts.is_some_and(|(hash, number)| {
            hash.len() == 8
                && hash.bytes().all(|it| it.is_ascii_hexdigit())
                && !number.is_empty()
                && number.bytes().all(|it| it.is_ascii_digit())
        })
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(because)? {
        let entry = entry.map_err(because)?;
        if entry.file_name().to_str().is_some_and(is_hashed) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn from_data(data: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let place = Path::new("ssl_ca_data");
    if !data.starts_with(&[0x30]) {
        return certificates(place, data);
    }
    let (mut found, mut rest) = (Vec::new(), data);
    while !rest.is_empty() {
        let after = chain::end_of_certificate(rest).ok_or_else(|| {
            unreadable("ssl_ca_data contains something else than certificates".into())
        })?;
        let (one, others) = rest.split_at(after);
        found.push(CertificateDer::from(one.to_vec()));
        rest = others;
    }
    Ok(found)
}

fn certificates(place: &Path, pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(format!("{}: {error}", place.display())))
}

/// Our own certificate, for a server that asks for one. It is sent unchecked, because only the server decides whether
/// to accept it.
fn own_certificate(
    tls: &Tls,
    provider: &CryptoProvider,
) -> io::Result<Option<Arc<dyn ResolvesClientCert>>> {
    let Some(path) = &tls.certfile else {
        return Ok(None);
    };
    let chain = certificates(path, &read(path)?)?;
    if chain.is_empty() {
        return Err(unreadable(format!(
            "{}: the file contains no certificate",
            path.display()
        )));
    }
    let place = tls.keyfile.as_ref().unwrap_or(path);
    let pem = match &tls.key_data {
        Some(data) => data.clone(),
        None => read(place)?,
    };
    let wrong = |reason: String| unreadable(format!("{}: {reason}", place.display()));
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match is_encrypted(&pem) {
        true => wrong(
            "the private key is encrypted, and the project's settings have no ssl_password".into(),
        ),
        false => wrong(format!(
            "the file contains no readable private key: {error}"
        )),
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| wrong(error.to_string()))?;
    let own = CertifiedKey::new(chain, key);
    Ok(Some(Arc::new(SingleCertAndKey::from(own))))
}

fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("ENCRYPTED")
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let kind = match error.kind() {
            ErrorKind::NotFound => "the file does not exist".to_owned(),
            _ => error.to_string(),
        };
        unreadable(format!("{}: {kind}", path.display()))
    })
}
