//! What clients verify servers with: the system's roots, or those that `SSL_CERT_FILE` and
//! `SSL_CERT_DIR` name, and those of a file besides.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use usher_event::Digest;

use crate::files::{TlsError, certificates, invalid};

/// All roots: the system's and those in `ca_file`.
///
/// # Errors
/// `ca_file` can't be read, or there are no roots at all.
pub fn root_certificates(ca_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut roots = rustls_native_certs::load_native_certs().certs;
    if let Some(file) = ca_file {
        roots.extend(certificates(file)?);
    }
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

/// A client's configuration that verifies servers with [`root_certificates`].
///
/// # Errors
/// As there; or a certificate in `ca_file` can't serve as a root.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(root_certificates(None).unwrap_or_default());
    if let Some(file) = ca_file {
        add_all(&mut store, file)?;
    }
    if store.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The system's roots and those of a file, read once. Equal if the files' certificates are.
#[derive(Clone)]
pub struct Roots {
    config: Arc<ClientConfig>,
    digest: Digest,
}

impl Roots {
    /// Reads the roots in `ca_file`.
    ///
    /// # Errors
    /// As for [`client_config`].
    pub fn read(ca_file: &Path) -> Result<Self, TlsError> {
        let own = certificates(ca_file)?;
        let digest =
            Digest::of(&own.iter().flat_map(|root| root.iter()).copied().collect::<Vec<_>>());
        Ok(Self { config: client_config(Some(ca_file))?, digest })
    }

    /// A client's configuration that verifies servers with them.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Roots {}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Adds all certificates of a file, each of which must be able to be a root.
pub(crate) fn add_all(store: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    for certificate in certificates(file)? {
        store.add(certificate).map_err(|error| invalid(file, error))?;
    }
    Ok(())
}
