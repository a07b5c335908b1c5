//! What a certificate says of itself (RFC 5280).

use std::net::IpAddr;
use std::time::Duration;

use x509_cert::Certificate as Parsed;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

/// `id-kp-clientAuth` (RFC 5280, section 4.2.1.12).
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Names, validity and use of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// DNS names, which may start with `*.`, and IP addresses, as its `subjectAltName` has them.
    pub names: Vec<String>,
    /// From when on it is valid, Unix milliseconds.
    pub not_before_ms: u64,
    /// Until when it is valid, Unix milliseconds.
    pub not_after_ms: u64,
    /// The distinguished name of its issuer, in DER.
    pub issuer: Vec<u8>,
    /// Whether a client may present it: it says so, or doesn't say what it is for.
    pub is_for_clients: bool,
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is none.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let parsed = Parsed::from_der(der).map_err(|error| error.to_string())?;
        let body = parsed.tbs_certificate();
        let unix_ms = |time: Duration| usher_event::millis(time);
        let validity = body.validity();
        let alternatives = body.get_extension::<SubjectAltName>();
        let alternatives = alternatives.map_err(|error| error.to_string())?;
        let names = alternatives.map(|(_, names)| names.0).unwrap_or_default();
        let usage = body.get_extension::<ExtendedKeyUsage>().map_err(|error| error.to_string())?;
        Ok(Self {
            issuer: body.issuer().to_der().map_err(|error| error.to_string())?,
            is_for_clients: usage.is_none_or(|(_, usage)| usage.0.contains(&CLIENT_AUTH)),
            names: names.iter().filter_map(name).collect(),
            not_before_ms: unix_ms(validity.not_before.to_unix_duration()),
            not_after_ms: unix_ms(validity.not_after.to_unix_duration()),
        })
    }

    /// Whether it is for this host: a name or an address, without a port (RFC 9525, section 6.3).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            None => name.eq_ignore_ascii_case(host),
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| {
                !label.is_empty() && rest.eq_ignore_ascii_case(parent)
            }),
        })
    }

    /// Whether it is valid at this time, Unix milliseconds.
    pub fn is_valid_at(&self, now_ms: u64) -> bool {
        (self.not_before_ms..=self.not_after_ms).contains(&now_ms)
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(octets) => {
            let bytes = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate::read(made.cert.der()).unwrap()
    }

    #[test]
    fn names_and_addresses_are_read() {
        let certificate = of(&["router.example.com", "*.events.example.com", "10.0.0.7", "::1"]);
        for (host, expected) in [
            ("router.example.com", true),
            ("ROUTER.example.com.", true),
            ("a.events.example.com", true),
            ("a.b.events.example.com", false),
            ("events.example.com", false),
            (".events.example.com", false),
            ("10.0.0.7", true),
            ("[::1]", true),
            ("10.0.0.8", false),
            ("example.com", false),
        ] {
            assert_eq!(certificate.covers(host), expected, "{host}");
        }
    }

    #[test]
    fn validity_is_read() {
        let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 31);
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let certificate = Certificate::read(made.der()).unwrap();
        assert_eq!(certificate.not_before_ms, 1_769_817_600_000);
        assert!(certificate.is_valid_at(certificate.not_after_ms));
        assert!(!certificate.is_valid_at(certificate.not_after_ms + 1));
        assert!(Certificate::read(b"nonsense").is_err());
    }

    #[test]
    fn what_it_is_for_is_read() {
        use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        for (usage, expected) in [
            (&[][..], true),
            (&[ServerAuth], false),
            (&[ClientAuth], true),
            (&[ServerAuth, ClientAuth], true),
        ] {
            let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
            params.extended_key_usages = usage.to_vec();
            let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let certificate = Certificate::read(made.der()).unwrap();
            assert_eq!(certificate.is_for_clients, expected, "{usage:?}");
        }
    }
}
