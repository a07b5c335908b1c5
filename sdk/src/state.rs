//! State that outlives a delivery. What a delivery writes it reads back at once; everyone else
//! sees it when the delivery is acknowledged.
//!
//! Reading, changing and writing needs no lock: where another delivery changed what this one read,
//! the host drops this one's effects and delivers again.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, backend};

/// A named set of keys. Buckets come into being as they are written to.
pub struct Bucket(backend::Bucket);

/// Opens a bucket; the empty name is the default one.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::Unavailable`] if the store failed.
pub fn bucket(name: &str) -> Result<Bucket, Error> {
    backend::Bucket::open(name).map(Bucket)
}

impl Bucket {
    /// The bytes a key holds; `None` where there is no such key.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store failed.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(key)
    }

    /// Sets a key, whether it exists or not. At most 64 KiB.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if a limit is reached or the store failed.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.0.set(key, value)
    }

    /// The value a key holds, read from JSON.
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

    /// Sets a key to a value written as JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] if JSON can't express it, [`Error::Unavailable`] if a limit is reached or
    /// the store failed.
    pub fn set_json<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Error::Invalid(format!("state for `{key}`: {error}")))?;
        self.set(key, &bytes)
    }

    /// Removes a key; no error where there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store failed.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        self.0.delete(key)
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store failed.
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        self.0.exists(key)
    }

    /// Adds to the number a key holds, kept as decimal text; a missing key counts as 0. Answers
    /// the sum.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the key holds something else, the sum is beyond 64 bits, or the
    /// store failed.
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
