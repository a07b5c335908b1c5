//! Reads PEM files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Limit on a PEM file; bundles of roots have some hundred KiB.
const PEM_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What is wrong with a certificate or key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file can't be read.
    #[error("{}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {what}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The key is another certificate's.
    #[error("the key in {} is not that of the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// There are no roots to verify servers with.
    #[error("the system has no root certificates: install ca-certificates, or set SSL_CERT_FILE")]
    NoRoots,
    /// rustls refuses the configuration.
    #[error("TLS can't be set up: {0}")]
    Setup(#[from] rustls::Error),
}

pub(crate) fn invalid(file: &Path, what: impl ToString) -> TlsError {
    TlsError::Invalid { file: file.to_owned(), what: what.to_string() }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable { file: file.to_owned(), error };
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(PEM_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > PEM_MAX_BYTES {
        return Err(invalid(file, format!("has more than {PEM_MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// The certificates of a file, of which there is at least one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| invalid(file, format!("is no PEM file: {error}")))?;
    if all.is_empty() {
        return Err(invalid(file, "has no certificate (a section BEGIN CERTIFICATE)"));
    }
    Ok(all)
}

/// The private key of a file.
pub(crate) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    // The error may not show what is in the file.
    PrivateKeyDer::from_pem_slice(&read(file)?)
        .map_err(|_| invalid(file, "has no private key (a section BEGIN PRIVATE KEY)"))
}
