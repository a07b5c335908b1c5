//! wasi:keyvalue on top of [`Staging`].

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Resource;

use super::staging::{NAME_MAX_BYTES, Staging, StateError};
use super::{Bucket, Cas, StateView};
use crate::bindings::atomics::{self, CasError};
use crate::bindings::keyvalue::{self, Error, KeyResponse};
use crate::{Grant, Limits, bindings::batch};

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        Self::Other(error.to_string())
    }
}

impl StateView<'_> {
    /// The delivery's staging, opened at first use, with the limits that apply.
    fn staging(&mut self) -> Result<(&mut Staging, &Limits), Error> {
        let plugin = &*self.state.plugin;
        let Some((name, reader)) = &plugin.state else {
            plugin.deny(Grant::State, "state", "grants", "state = true");
            return Err(Error::AccessDenied);
        };
        let staging =
            self.state.staging.get_or_insert_with(|| Staging::open(name, reader.as_ref()));
        Ok((staging, &plugin.limits))
    }

    fn bucket(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<Arc<str>> {
        Ok(self.table.get(bucket)?.name.clone())
    }

    fn read(&mut self, bucket: &Arc<str>, key: &str) -> Result<Option<Bytes>, Error> {
        let clock = self.state.clock.clone();
        let (staging, _) = self.staging()?;
        Ok(clock.uncharged(|| staging.get(bucket, key))?)
    }

    fn write(&mut self, bucket: &Arc<str>, key: &str, value: Option<Vec<u8>>) -> Result<(), Error> {
        let clock = self.state.clock.clone();
        let (staging, limits) = self.staging()?;
        Ok(clock.uncharged(|| staging.put(bucket, key, value.map(Bytes::from), limits))?)
    }

    fn add(&mut self, bucket: &Arc<str>, key: &str, delta: i64) -> Result<i64, Error> {
        let held = match self.read(bucket, key)? {
            None => 0,
            Some(value) => std::str::from_utf8(&value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or_else(|| Error::Other("the key does not hold a number".to_owned()))?,
        };
        let sum = held
            .checked_add(delta)
            .ok_or_else(|| Error::Other("the sum does not fit into 64 bits".to_owned()))?;
        self.write(bucket, key, Some(sum.to_string().into_bytes()))?;
        Ok(sum)
    }
}

impl keyvalue::Host for StateView<'_> {
    fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        if let Err(error) = self.staging() {
            return Ok(Err(error));
        }
        if identifier.len() > NAME_MAX_BYTES {
            let words = format!(
                "the bucket's name has {} bytes, the limit is {NAME_MAX_BYTES}",
                identifier.len()
            );
            return Ok(Err(Error::Other(words)));
        }
        if identifier.contains('\0') {
            return Ok(Err(Error::Other("the bucket's name contains a null".to_owned())));
        }
        Ok(Ok(self.table.push(Bucket { name: identifier.into() })?))
    }
}

impl keyvalue::HostBucket for StateView<'_> {
    fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        let bucket = self.bucket(&bucket)?;
        Ok(self.read(&bucket, &key).map(|value| value.map(Vec::from)))
    }

    fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        let bucket = self.bucket(&bucket)?;
        Ok(self.write(&bucket, &key, Some(value)))
    }

    fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        let bucket = self.bucket(&bucket)?;
        Ok(self.write(&bucket, &key, None))
    }

    fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        let bucket = self.bucket(&bucket)?;
        Ok(self.read(&bucket, &key).map(|value| value.is_some()))
    }

    fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Answer<KeyResponse> {
        let bucket = self.bucket(&bucket)?;
        let clock = self.state.clock.clone();
        let page = match self.staging() {
            Ok((staging, _)) => clock.uncharged(|| staging.keys(&bucket, cursor.as_deref())),
            Err(error) => return Ok(Err(error)),
        };
        Ok(page.map_err(Error::from).map(|(keys, more)| {
            let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
            let cursor = if more { keys.last().cloned().or(cursor) } else { None };
            KeyResponse { keys, cursor }
        }))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for StateView<'_> {
    fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Answer<i64> {
        let bucket = self.bucket(&bucket)?;
        Ok(self.add(&bucket, &key, delta))
    }

    fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), CasError>> {
        let Cas { bucket, key, seen } = self.table.delete(cas)?;
        let now = match self.read(&bucket, &key) {
            Ok(now) => now,
            Err(error) => return Ok(Err(CasError::StoreError(error))),
        };
        if now != seen {
            let again = self.table.push(Cas { bucket, key, seen: now })?;
            return Ok(Err(CasError::CasFailed(again)));
        }
        Ok(self.write(&bucket, &key, Some(value)).map_err(CasError::StoreError))
    }
}

impl atomics::HostCas for StateView<'_> {
    fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Resource<Cas>> {
        let bucket = self.bucket(&bucket)?;
        match self.read(&bucket, &key) {
            Ok(seen) => Ok(Ok(self.table.push(Cas { bucket, key, seen })?)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        Ok(Ok(self.table.get(&cas)?.seen.as_ref().map(|value| value.to_vec())))
    }

    fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for StateView<'_> {
    fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        let bucket = self.bucket(&bucket)?;
        // The same key over and over must not become a mountain of copies.
        let mut left_bytes = self.state.plugin.limits.state_bytes;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match self.read(&bucket, &key) {
                Ok(value) => {
                    let value_bytes = value.as_ref().map_or(0, |value| value.len() as u64);
                    let Some(left) = left_bytes.checked_sub(value_bytes) else {
                        let words = "the values are larger than a plugin's whole state";
                        return Ok(Err(Error::Other(words.to_owned())));
                    };
                    left_bytes = left;
                    found.push(value.map(|value| (key, Vec::from(value))));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(found))
    }

    fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        let bucket = self.bucket(&bucket)?;
        for (key, value) in key_values {
            if let Err(error) = self.write(&bucket, &key, Some(value)) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        let bucket = self.bucket(&bucket)?;
        for key in keys {
            if let Err(error) = self.write(&bucket, &key, None) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}
