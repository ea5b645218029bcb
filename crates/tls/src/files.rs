//! PEM files: certificates, keys.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Largest file, in bytes; a bundle of all public CAs has about 200 KB.
const MOST_BYTES: u64 = 1024 * 1024;

/// A file of certificates or a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct BadFile {
    path: PathBuf,
    reason: String,
}

impl BadFile {
    pub(crate) fn new(path: &Path, reason: impl Into<String>) -> BadFile {
        BadFile {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// A file's content; public for libraries that parse PEM themselves.
///
/// # Errors
/// When it cannot be read or is too large.
pub fn read(path: &Path) -> Result<Vec<u8>, BadFile> {
    let failed = |error| BadFile::new(path, format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(BadFile::new(path, format!("is larger than {MOST_BYTES} bytes")));
    }
    Ok(bytes)
}

pub(crate) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| BadFile::new(path, format!("is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(BadFile::new(path, "holds no certificate in PEM"));
    }
    Ok(certificates)
}

pub(crate) fn key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, BadFile> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        BadFile::new(
            path,
            "holds no private key in PEM (PKCS#8, PKCS#1 or SEC1, unencrypted)",
        )
    })
}

/// The CA certificates of a file as trust anchors.
pub(crate) fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, BadFile> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|error| {
            BadFile::new(
                path,
                format!("holds a certificate that cannot be trusted: {error}"),
            )
        })?;
    }
    Ok(roots)
}
