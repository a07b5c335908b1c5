//! State that persists across deliveries. A delivery sees its own writes at once; others see them
//! when it is acknowledged.
//!
//! Read-modify-write needs no lock: if another delivery changed what this one read, the host drops
//! this one's effects and delivers the event again.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, backend};

/// Prefix of the host's message when the store failed.
const STORE_FAILED: &str = "state can't be read";
/// Phrases of the host's messages about limits.
const LIMIT_WORDS: [&str; 3] = ["the limit", "too many", "one delivery may use"];
/// Phrases of the host's messages about `increment`.
const SUM_WORDS: [&str; 2] = ["does not hold a number", "does not fit into 64 bits"];

/// Classifies a wasi:keyvalue `other` error, which is untyped, by the host's message: permanent
/// errors must not be retried.
pub(crate) fn refused(words: String) -> Error {
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if words.starts_with(STORE_FAILED) {
        Error::Unavailable(words)
    } else if says(&LIMIT_WORDS) {
        Error::Limit(words)
    } else if says(&SUM_WORDS) {
        Error::Invalid(words)
    } else {
        Error::Unavailable(words)
    }
}

/// A named set of keys, created on first write.
pub struct Bucket(backend::Bucket);

/// Opens a bucket; the empty name is the default one.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Unavailable`] if the store failed.
pub fn bucket(name: &str) -> Result<Bucket, Error> {
    backend::Bucket::open(name).map(Bucket)
}

impl Bucket {
    /// Returns a key's value; `None` if it doesn't exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store failed.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(key)
    }

    /// Creates or overwrites a key. At most 64 KiB.
    ///
    /// # Errors
    /// [`Error::Limit`] if the value is longer or the plugin's state is full,
    /// [`Error::Unavailable`] if the store failed.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.0.set(key, value)
    }

    /// Returns a key's value, parsed from JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it isn't JSON of this type, [`Error::Unavailable`] if the store
    /// failed.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(bytes) = self.get(key)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Invalid(format!("state at `{key}`: {error}")))
    }

    /// Sets a key to a value serialised as JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] if JSON can't express it, otherwise as [`Bucket::set`].
    pub fn set_json<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Error::Invalid(format!("state for `{key}`: {error}")))?;
        self.set(key, &bytes)
    }

    /// Removes a key; no-op if it doesn't exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store failed.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        self.0.delete(key)
    }

    /// Whether the key exists.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store failed.
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        self.0.exists(key)
    }

    /// Adds to a number stored as decimal text and returns the sum. A missing key counts as 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the value is not a number or the sum overflows 64 bits, otherwise as
    /// [`Bucket::set`].
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.0.increment(key, delta)
    }

    /// All keys in ascending order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store failed.
    pub fn keys(&self) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let (page, next) = self.0.keys(cursor.as_deref())?;
            keys.extend(page);
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(keys),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;

    /// The sources that contain the host's messages.
    const HOST: [&str; 2] = [
        include_str!("../../host/runtime/src/capabilities/state/staging.rs"),
        include_str!("../../host/runtime/src/capabilities/state/host.rs"),
    ];

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let cases = [
            ("the value has 65537 bytes, the limit is 65536", false),
            ("state has 100000 keys, which is the limit", false),
            ("state would have 9 bytes of keys and values, the limit is 8", false),
            ("one delivery may use 10000 different keys", false),
            ("too many buckets listed in one delivery", false),
            ("the key has 1025 bytes, the limit is 1024", false),
            ("the key does not hold a number", false),
            ("the sum does not fit into 64 bits", false),
            ("state can't be read: too many open files, the limit is 8", true),
            ("something this SDK has never heard of", true),
        ];
        for (words, is_retry) in cases {
            let failure = Failure::from(refused(words.to_owned()));
            assert_eq!((failure.is_retry(), failure.reason()), (is_retry, words));
        }
    }

    #[test]
    fn the_host_still_says_so() {
        for part in LIMIT_WORDS.iter().chain(&SUM_WORDS).chain([&STORE_FAILED]) {
            assert!(HOST.iter().any(|file| file.contains(part)), "the host no longer says {part}");
        }
    }
}
