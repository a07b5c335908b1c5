//! The backend over the host's interfaces.

use super::bindings::usher::plugin::blobs as blob_store;
use super::bindings::wasi::config::store as config_store;
use super::bindings::wasi::keyvalue::{atomics, store as state_store};
use super::bindings::wasi::logging::logging;
use crate::Error;
use crate::blobs::{Blob, Info};
use crate::log::Level;

pub(crate) use super::http::http_send;

pub(crate) fn log(level: Level, line: &str) {
    let level = match level {
        Level::Trace => logging::Level::Trace,
        Level::Debug => logging::Level::Debug,
        Level::Info => logging::Level::Info,
        Level::Warn => logging::Level::Warn,
        Level::Error => logging::Level::Error,
    };
    logging::log(level, "", line);
}

pub(crate) fn config_get(key: &str) -> Result<Option<String>, Error> {
    Ok(config_store::get(key)?)
}

pub(crate) fn config_all() -> Result<Vec<(String, String)>, Error> {
    Ok(config_store::get_all()?)
}

impl From<config_store::Error> for Error {
    fn from(error: config_store::Error) -> Self {
        match error {
            config_store::Error::Upstream(text) => Self::Denied(text),
            config_store::Error::Io(text) => Self::Unavailable(text),
        }
    }
}

pub(crate) fn blob_put(content: &[u8], content_type: &str) -> Result<String, Error> {
    Ok(blob_store::put(content, content_type)?)
}

pub(crate) fn blob_get(digest: &str) -> Result<Option<Blob>, Error> {
    let blob = blob_store::get(digest)?;
    Ok(blob.map(|blob| Blob { info: blob.info.into(), content: blob.content }))
}

pub(crate) fn blob_list(after: Option<&str>) -> Result<Vec<Info>, Error> {
    Ok(blob_store::list(after)?.into_iter().map(Into::into).collect())
}

pub(crate) fn blob_delete(digest: &str) -> Result<(), Error> {
    Ok(blob_store::delete(digest)?)
}

impl From<blob_store::Info> for Info {
    fn from(info: blob_store::Info) -> Self {
        Self { digest: info.digest, size_bytes: info.size_bytes, content_type: info.content_type }
    }
}

impl From<blob_store::Error> for Error {
    fn from(error: blob_store::Error) -> Self {
        match error {
            blob_store::Error::Denied(text) => Self::Denied(text),
            blob_store::Error::Limit(text) => Self::Limit(text),
            blob_store::Error::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

/// A bucket handle; dropping it frees it in the host.
pub(crate) struct Bucket(state_store::Bucket);

impl Bucket {
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        Ok(Self(state_store::open(name)?))
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key)?)
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        Ok(self.0.set(key, value)?)
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), Error> {
        Ok(self.0.delete(key)?)
    }

    pub(crate) fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(self.0.exists(key)?)
    }

    pub(crate) fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        Ok(atomics::increment(&self.0, key, delta)?)
    }

    pub(crate) fn keys(
        &self,
        cursor: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        let page = self.0.list_keys(cursor)?;
        Ok((page.keys, page.cursor))
    }
}

impl From<state_store::Error> for Error {
    fn from(error: state_store::Error) -> Self {
        match error {
            state_store::Error::NoSuchStore => {
                Self::Invalid("there is no bucket of that name".to_owned())
            }
            state_store::Error::AccessDenied => Self::Denied(
                "state is not granted: the operator can allow it with `state = true`".to_owned(),
            ),
            state_store::Error::Other(text) => crate::state::refused(text),
        }
    }
}
