//! Secrets of tokens, and the hashes that are kept of them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use usher_event::Digest;

/// What every secret starts with, so that scanners of code and logs recognise one.
pub const SECRET_PREFIX: &str = "usher_";

const RANDOM_BYTES: usize = 32;
const HASH_PREFIX: &str = "sha256:";

/// The secret of a token: `usher_` and 32 random bytes in base64url. Its text is shown once and
/// never kept; neither `Debug` nor an error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(String);

impl TokenSecret {
    /// A new one, of the system's random numbers; `None` if there are none.
    pub fn generate() -> Option<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The text, to be shown to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SECRET_PREFIX}…")
    }
}

/// SHA-256 of a secret; as text, `sha256:` and 64 hexadecimal digits.
///
/// A plain hash suffices: a secret has 256 random bits, so that guesses don't become cheaper by
/// knowing its hash. Two of them are compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct TokenHash(Digest);

/// Text that is no hash of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is sha256: and 64 hexadecimal digits, as `usher tokens hash` prints it")]
pub struct HashError;

impl TokenHash {
    /// The hash of what a caller presents.
    pub fn of(secret: &[u8]) -> Self {
        Self(Digest::of(secret))
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_PREFIX}{}", self.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_PREFIX}…")
    }
}

impl FromStr for TokenHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let digest = text.strip_prefix(HASH_PREFIX).and_then(|digits| digits.parse().ok());
        digest.map(Self).ok_or(HashError)
    }
}

impl Serialize for TokenHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_hashes_read_back() {
        let (one, other) = (TokenSecret::generate().unwrap(), TokenSecret::generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.reveal().len(), SECRET_PREFIX.len() + 43);
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.hash(), TokenHash::of(one.reveal().as_bytes()));
        assert_eq!(one.hash().to_string().parse::<TokenHash>().unwrap(), one.hash());
        for text in ["", "sha256:", "sha256:zz", "0".repeat(64).as_str()] {
            assert_eq!(text.parse::<TokenHash>(), Err(HashError), "{text}");
        }
    }

    #[test]
    fn neither_shows_itself() {
        let secret = TokenSecret::generate().unwrap();
        assert_eq!(format!("{secret:?} {:?}", secret.hash()), "usher_… sha256:…");
    }
}
