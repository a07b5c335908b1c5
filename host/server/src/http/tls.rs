//! The router's certificate, read again when its files change.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use tokio::time::sleep;
use usher_api::Timestamp;
use usher_broker::Clock;
use usher_config::TlsConfig;
use usher_plugins::Stamp;
use usher_tls::{Certificate, ServerFiles, ServerTls, TlsError, server_config};

/// Poll interval for changes of the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long before its end a certificate is warned of.
const ENDS_SOON_MS: u64 = 14 * 24 * 3_600_000;

/// What is presented to clients.
pub(crate) struct Tls {
    files: TlsConfig,
    current: RwLock<ServerTls>,
    clock: Arc<dyn Clock>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One can't be read or is invalid. A certificate that has expired is used, with a warning:
    /// its clients decide.
    pub(crate) fn open(files: TlsConfig, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let current = read(&files)?;
        let tls = Self { files, current: RwLock::new(current), clock };
        tls.report();
        Ok(tls)
    }

    /// For the next connection.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    /// What the certificate says.
    pub(crate) fn certificate(&self) -> Certificate {
        self.current().certificate.clone()
    }

    /// Whether the certificate is for this host.
    pub(super) fn covers(&self, host: &str) -> bool {
        self.current().certificate.covers(host)
    }

    fn current(&self) -> std::sync::RwLockReadGuard<'_, ServerTls> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the files whenever they change. What can't be used changes nothing, and is
    /// looked at again at the next change. Never returns.
    pub(crate) async fn watch(&self) -> Infallible {
        let mut seen = self.stamps();
        loop {
            sleep(LOOK_EVERY).await;
            let now = self.stamps();
            // Once they rest: certificate and key are rarely replaced at the same time.
            if now == seen || {
                sleep(LOOK_EVERY).await;
                now != self.stamps()
            } {
                continue;
            }
            seen = now;
            let files = self.files.clone();
            let read = tokio::task::spawn_blocking(move || read(&files)).await;
            match read {
                Ok(Ok(new)) => self.adopt(new),
                Ok(Err(error)) => {
                    tracing::error!(%error, "the new certificate can't be used; the old one stays");
                }
                Err(error) => tracing::error!(%error, "reading the certificate failed"),
            }
        }
    }

    fn adopt(&self, new: ServerTls) {
        let now_ms = self.clock.now_ms();
        let was_valid = self.current().certificate.is_valid_at(now_ms);
        if was_valid && !new.certificate.is_valid_at(now_ms) {
            let until = Timestamp::from_ms(new.certificate.not_after_ms);
            tracing::error!(
                %until,
                "the new certificate is not valid now, and the old one is; the old one stays"
            );
            return;
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.report();
    }

    fn report(&self) {
        let certificate = self.certificate();
        let (names, now_ms) = (certificate.names.join(", "), self.clock.now_ms());
        let until = Timestamp::from_ms(certificate.not_after_ms);
        if !certificate.is_valid_at(now_ms) {
            tracing::error!(%names, %until, "the certificate is not valid now; clients refuse it");
        } else if certificate.not_after_ms < now_ms.saturating_add(ENDS_SOON_MS) {
            tracing::warn!(%names, %until, "certificate in use; it ends soon");
        } else {
            tracing::info!(%names, %until, "certificate in use");
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let TlsConfig { certificate_file, key_file, client_ca_file, .. } = &self.files;
        let files: [Option<&Path>; 3] =
            [Some(certificate_file), Some(key_file), client_ca_file.as_deref()];
        files.into_iter().flatten().map(Stamp::at).collect()
    }
}

/// What this router presents to another that asks for a certificate.
impl ResolvesClientCert for Tls {
    fn resolve(
        &self,
        authorities: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.current().for_client(authorities)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Files and keys are not for a log.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn read(files: &TlsConfig) -> Result<ServerTls, TlsError> {
    server_config(&ServerFiles {
        certificate: &files.certificate_file,
        key: &files.key_file,
        client_ca: files.client_ca_file.as_deref(),
        requires_client_certificate: files.requires_client_certificate,
    })
}
