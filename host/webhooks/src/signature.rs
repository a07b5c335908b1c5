//! HMAC signatures (RFC 2104), compared in constant time.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::hmac;

/// The hash of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// For senders that know no other.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    fn of_ring(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal digits.
    Hex,
    /// Base64, with or without padding.
    Base64,
}

impl Encoding {
    /// The bytes of a signature; `None` if it is not written so.
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => {
                let (pairs, rest) = text.as_bytes().as_chunks::<2>();
                let byte = |pair: &[u8; 2]| {
                    let digits = std::str::from_utf8(pair).ok()?;
                    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
                };
                rest.is_empty().then(|| pairs.iter().map(byte).collect()).flatten()
            }
            Self::Base64 => STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok(),
        }
    }
}

/// A key of signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

/// Text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is empty.
    #[error("the secret is empty")]
    Empty,
    /// It is not what Standard Webhooks has.
    #[error("a secret of Standard Webhooks is whsec_ and base64")]
    NotStandard,
}

impl SigningKey {
    /// The bytes of a secret as they are.
    ///
    /// # Errors
    /// There are none.
    pub fn plain(secret: &str) -> Result<Self, KeyError> {
        if secret.is_empty() { Err(KeyError::Empty) } else { Ok(Self(secret.into())) }
    }

    /// A secret of Standard Webhooks: base64, with or without `whsec_` before it.
    ///
    /// # Errors
    /// It is not base64, or empty.
    pub fn standard(secret: &str) -> Result<Self, KeyError> {
        let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
        let bytes = Encoding::Base64.decode(encoded).ok_or(KeyError::NotStandard)?;
        if bytes.is_empty() { Err(KeyError::Empty) } else { Ok(Self(bytes)) }
    }

    /// Whether `tag` is the signature of these parts, one after the other.
    pub(crate) fn has_signed(&self, algorithm: Algorithm, parts: &[&[u8]], tag: &[u8]) -> bool {
        let key = hmac::Key::new(algorithm.of_ring(), &self.0);
        hmac::verify(&key, &parts.concat(), tag).is_ok()
    }

    fn sign(&self, parts: &[&[u8]]) -> hmac::Tag {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The value of `webhook-signature` for a message (Standard Webhooks 1.0.0), of all keys, so that
/// they can be rotated. `timestamp_s` is Unix time.
pub fn sign(keys: &[SigningKey], id: &str, timestamp_s: u64, body: &[u8]) -> String {
    let timestamp = timestamp_s.to_string();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let signed = keys.iter().map(|key| format!("v1,{}", STANDARD.encode(key.sign(&parts))));
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_compared_as_bytes() {
        // RFC 4231, test case 2.
        let key = SigningKey::plain("Jefe").unwrap();
        let data = b"what do ya want for nothing?";
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let tag = Encoding::Hex.decode(hex).unwrap();
        assert!(key.has_signed(Algorithm::Sha256, &[&data[..5], &data[5..]], &tag));
        assert!(!key.has_signed(Algorithm::Sha512, &[data], &tag));
        assert!(!key.has_signed(Algorithm::Sha256, &[data], &tag[..31]));
        let mut off = tag.clone();
        off[31] ^= 1;
        assert!(!key.has_signed(Algorithm::Sha256, &[data], &off));
        assert_eq!(Encoding::Hex.decode(&hex.to_uppercase()).unwrap(), tag);
        for bad in ["5", "zz", "+1", "é"] {
            assert_eq!(Encoding::Hex.decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn standard_webhooks_sign_as_their_specification_shows() {
        let key = SigningKey::standard("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed =
            sign(std::slice::from_ref(&key), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = sign(&[key.clone(), key], "a", 1, b"");
        assert_eq!(both.split(' ').count(), 2);
        assert_eq!(SigningKey::standard("whsec_!"), Err(KeyError::NotStandard));
        assert_eq!(SigningKey::standard("whsec_"), Err(KeyError::Empty));
        assert_eq!(SigningKey::plain(""), Err(KeyError::Empty));
    }
}
