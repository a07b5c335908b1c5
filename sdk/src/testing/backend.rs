//! The in-memory backend of the SDK's modules.

use super::memory::{granted, log as remember};
use crate::blobs::{Blob, Info};
use crate::http::{Request, Response};
use crate::log::Level;
use crate::state::refused;
use crate::{Capability, Error};

const VALUE_MAX_BYTES: usize = 64 * 1024;
const BLOB_MAX_BYTES: usize = 16 * 1024 * 1024;
const PAGE_MAX: usize = 100;

pub(crate) fn log(level: Level, line: &str) {
    remember(level, line);
}

pub(crate) fn config_get(key: &str) -> Result<Option<String>, Error> {
    let secret = granted(Capability::Secrets, |memory| Ok(memory.secrets.get(key).cloned()));
    if let Ok(Some(secret)) = secret {
        return Ok(Some(secret));
    }
    granted(Capability::Config, |memory| Ok(memory.config.get(key).cloned()))
}

pub(crate) fn config_all() -> Result<Vec<(String, String)>, Error> {
    granted(Capability::Config, |memory| Ok(memory.config.clone().into_iter().collect()))
}

pub(crate) fn http_send(request: Request) -> Result<Response, Error> {
    granted(Capability::Http, |memory| {
        let unanswered = format!(
            "{} {}: connection refused; script a response with TestHost::answer",
            request.method, request.url
        );
        memory.requests.push(request);
        memory.answers.pop_front().unwrap_or(Err(Error::Unavailable(unanswered)))
    })
}

pub(crate) fn blob_put(content: &[u8], content_type: &str) -> Result<String, Error> {
    granted(Capability::Blobs, |memory| {
        if content.len() > BLOB_MAX_BYTES {
            return Err(Error::Limit(format!("a blob has at most {BLOB_MAX_BYTES} bytes")));
        }
        Ok(memory.stored.put_blob(content, content_type))
    })
}

pub(crate) fn blob_get(digest: &str) -> Result<Option<Blob>, Error> {
    granted(Capability::Blobs, |memory| Ok(memory.stored.blobs.get(digest).cloned()))
}

pub(crate) fn blob_list(after: Option<&str>) -> Result<Vec<Info>, Error> {
    granted(Capability::Blobs, |memory| {
        let blobs = memory.stored.blobs.values().map(|blob| blob.info.clone());
        Ok(blobs
            .filter(|info| after.is_none_or(|after| info.digest.as_str() > after))
            .take(PAGE_MAX)
            .collect())
    })
}

pub(crate) fn blob_delete(digest: &str) -> Result<(), Error> {
    granted(Capability::Blobs, |memory| {
        memory.stored.blobs.remove(digest);
        Ok(())
    })
}

/// A bucket's name; its content is the host's.
pub(crate) struct Bucket(String);

impl Bucket {
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        granted(Capability::State, |_| Ok(Self(name.to_owned())))
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        granted(Capability::State, |memory| {
            Ok(memory.stored.state.get(&self.0).and_then(|bucket| bucket.get(key).cloned()))
        })
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        granted(Capability::State, |memory| {
            if value.len() > VALUE_MAX_BYTES {
                let bytes = value.len();
                let limit = format!("the value has {bytes} bytes, the limit is {VALUE_MAX_BYTES}");
                return Err(refused(limit));
            }
            let bucket = memory.stored.state.entry(self.0.clone()).or_default();
            bucket.insert(key.to_owned(), value.to_vec());
            Ok(())
        })
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), Error> {
        granted(Capability::State, |memory| {
            if let Some(bucket) = memory.stored.state.get_mut(&self.0) {
                bucket.remove(key);
            }
            Ok(())
        })
    }

    pub(crate) fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(self.get(key)?.is_some())
    }

    pub(crate) fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        let no_number = || refused("the key does not hold a number".to_owned());
        let too_large = || refused("the sum does not fit into 64 bits".to_owned());
        let current = match self.get(key)? {
            None => 0,
            Some(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(no_number)?,
        };
        let sum = i64::checked_add(current, delta).ok_or_else(too_large)?;
        self.set(key, sum.to_string().as_bytes())?;
        Ok(sum)
    }

    pub(crate) fn keys(
        &self,
        cursor: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        granted(Capability::State, |memory| {
            let Some(bucket) = memory.stored.state.get(&self.0) else {
                return Ok((Vec::new(), None));
            };
            let mut after =
                bucket.keys().filter(|key| cursor.is_none_or(|cursor| key.as_str() > cursor));
            let page: Vec<String> = after.by_ref().take(PAGE_MAX).cloned().collect();
            let next = after.next().and_then(|_| page.last().cloned());
            Ok((page, next))
        })
    }
}
