//! What is wrong with another's certificate, in words.

use std::io;

use rustls::CertificateError;

/// Why TLS with `host` failed, if `error` is one of rustls; `remedy` is how to make known who issued
/// its certificate.
pub fn explain(host: &str, error: &io::Error, remedy: &str) -> Option<String> {
    Some(match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(cause) => certificate(host, cause, remedy),
        rustls::Error::AlertReceived(alert) => {
            format!("{host} ended the TLS handshake with the alert {alert:?}")
        }
        cause => format!("TLS with {host} failed: {cause}; does it speak TLS on this port?"),
    })
}

fn certificate(host: &str, error: &CertificateError, remedy: &str) -> String {
    let what = match error {
        CertificateError::UnknownIssuer => {
            return format!(
                "the certificate of {host} is issued by an authority that is not known here: {remedy}"
            );
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            return format!(
                "the certificate of {host} is for other names: use the name that it is for, or give \
                 the server a certificate for this one"
            );
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet, or the clock is behind here"
        }
        CertificateError::Revoked => "was revoked",
        // webpki's own error, which rustls hands on as it is (rustls 0.23 `webpki::pki_error`).
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "is that of an authority (CA:TRUE), which can't be a server's (RFC 5280, section 4.2.1.9); \
             openssl req -x509 makes such, unless it has -addext basicConstraints=critical,CA:FALSE"
        }
        other => return format!("the certificate of {host} is not valid: {other}"),
    };
    format!("the certificate of {host} {what}: the server needs a new one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_in_words() {
        use rustls::Error::{AlertReceived, InvalidCertificate};
        for (error, expected) in [
            (InvalidCertificate(CertificateError::UnknownIssuer), "name its roots"),
            (InvalidCertificate(CertificateError::NotValidForName), "is for other names"),
            (InvalidCertificate(CertificateError::Expired), "has expired"),
            (InvalidCertificate(CertificateError::NotValidYet), "is not valid yet"),
            (InvalidCertificate(CertificateError::BadSignature), "is not valid: "),
            (AlertReceived(rustls::AlertDescription::HandshakeFailure), "alert HandshakeFailure"),
            (rustls::Error::DecryptError, "does it speak TLS"),
        ] {
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            let words = explain("pay.example", &error, "name its roots").unwrap();
            assert!(words.contains(expected) && words.contains("pay.example"), "{words}");
        }
        assert_eq!(explain("pay.example", &io::ErrorKind::NotFound.into(), ""), None);
    }
}
