//! What a server presents, and what it asks of its clients.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use crate::Certificate;
use crate::client::add_all;
use crate::files::{TlsError, certificates, invalid, key};

/// The files of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerFiles<'a> {
    /// The certificate and those between it and the root, in this order.
    pub certificate: &'a Path,
    /// Its private key.
    pub key: &'a Path,
    /// Roots that certificates of clients are verified with; without it none is asked for.
    pub client_ca: Option<&'a Path>,
    /// Whether clients without a certificate are turned away.
    pub requires_client_certificate: bool,
}

/// A server's configuration, and what its certificate says.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Offers HTTP/2 and HTTP/1.1 (ALPN, RFC 7301).
    pub config: Arc<ServerConfig>,
    /// The server's certificate.
    pub certificate: Certificate,
    key: Arc<CertifiedKey>,
    /// The names of who issued the certificates of its chain, in DER.
    issuers: Vec<Vec<u8>>,
}

impl ServerTls {
    /// The same certificate for connections to another server, if that would take it: it asks for one of these
    /// authorities, by their names in DER (RFC 8446, section 4.2.4), or of any.
    ///
    /// A server that asks for a certificate refuses who presents one that it can't verify, even where it takes
    /// clients without one (rustls 0.23, `WebPkiClientVerifier::allow_unauthenticated`).
    pub fn for_client(&self, authorities: &[&[u8]]) -> Option<Arc<CertifiedKey>> {
        let is_known = authorities.is_empty()
            || self.issuers.iter().any(|issuer| authorities.contains(&issuer.as_slice()));
        (is_known && self.certificate.is_for_clients).then(|| Arc::clone(&self.key))
    }
}

/// Reads and checks all files.
///
/// # Errors
/// A file can't be read or is invalid, or the key is not the certificate's.
pub fn server_config(files: &ServerFiles<'_>) -> Result<ServerTls, TlsError> {
    let provider = Arc::new(default_provider());
    let verifier = match files.client_ca {
        None => Arc::new(NoClientAuth),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            add_all(&mut roots, file)?;
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let builder = match files.requires_client_certificate {
                true => builder,
                false => builder.allow_unauthenticated(),
            };
            builder.build().map_err(|error| invalid(file, error))?
        }
    };
    let chain = certificates(files.certificate)?;
    let own = chain.first().map(|der| Certificate::read(der)).unwrap_or(Err(String::new()));
    let certificate = own.map_err(|error| invalid(files.certificate, error))?;
    let issuers = chain.iter().filter_map(|der| Certificate::read(der).ok());
    let issuers = issuers.map(|certificate| certificate.issuer).collect();
    let key = CertifiedKey::from_der(chain, key(files.key)?, &provider);
    let key = Arc::new(key.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
            certificate: files.certificate.to_owned(),
            key: files.key.to_owned(),
        },
        error => invalid(files.certificate, error),
    })?);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&key))));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(ServerTls { config: Arc::new(config), certificate, key, issuers })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_presented_only_to_who_would_take_it() {
        use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        let own = Certificate::read(authority.der()).unwrap().issuer;
        for (usage, is_for_clients) in
            [(vec![], true), (vec![ServerAuth], false), (vec![ServerAuth, ClientAuth], true)]
        {
            let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
            params.extended_key_usages = usage;
            let key = rcgen::KeyPair::generate().unwrap();
            let made = params.signed_by(&key, &authority).unwrap();
            fs::write(path("own.pem"), made.pem()).unwrap();
            fs::write(path("own.key"), key.serialize_pem()).unwrap();
            let tls = server_config(&ServerFiles {
                certificate: &path("own.pem"),
                key: &path("own.key"),
                client_ca: None,
                requires_client_certificate: false,
            });
            let tls = tls.unwrap();
            let is_presented = |authorities: &[&[u8]]| tls.for_client(authorities).is_some();
            assert_eq!(is_presented(&[]), is_for_clients);
            assert_eq!(is_presented(&[b"another", &own]), is_for_clients);
            assert!(!is_presented(&[b"another"]));
        }
    }

    #[test]
    fn files_are_checked_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let make = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
            fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        };
        make("one");
        make("other");
        fs::write(path("text"), "no PEM").unwrap();
        let check = |certificate: &str, key: &str, client_ca: Option<&str>| {
            let (certificate, key) = (path(certificate), path(key));
            let client_ca = client_ca.map(path);
            let files = ServerFiles {
                certificate: &certificate,
                key: &key,
                client_ca: client_ca.as_deref(),
                requires_client_certificate: true,
            };
            server_config(&files)
                .map(|tls| tls.certificate.names)
                .map_err(|error| error.to_string())
        };
        assert_eq!(check("one.pem", "one.key", Some("other.pem")).unwrap(), ["localhost"]);
        for (certificate, key, client_ca, words) in [
            ("one.pem", "other.key", None, "is not that of the certificate"),
            ("gone.pem", "one.key", None, "No such file"),
            ("text", "one.key", None, "has no certificate"),
            ("one.pem", "text", None, "has no private key"),
            ("one.pem", "one.key", Some("text"), "has no certificate"),
        ] {
            let error = check(certificate, key, client_ca).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
