//! wasi:keyvalue 0.2.0-draft, the draft that wasmtime and wasmCloud implement, over the contract's
//! version ([`host`](super::host)). It differs in two ways: the cursor of a listing is a number,
//! and increments are unsigned.

use wasmtime::component::Resource;

use super::State;
use super::handles::Bucket;
use crate::bindings::drafts::keyvalue::{self, Error, KeyResponse};
use crate::bindings::drafts::{atomics, batch};
use crate::bindings::{atomics as newer_atomics, batch as newer_batch, keyvalue as newer};
use crate::capability::View;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl From<newer::Error> for Error {
    fn from(error: newer::Error) -> Self {
        match error {
            newer::Error::NoSuchStore => Self::NoSuchStore,
            newer::Error::AccessDenied => Self::AccessDenied,
            newer::Error::Other(words) => Self::Other(words),
        }
    }
}

fn converted<T>(answer: wasmtime::Result<Result<T, newer::Error>>) -> Answer<T> {
    answer.map(|answer| answer.map_err(Error::from))
}

impl keyvalue::Host for View<'_, State> {
    fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        converted(newer::Host::open(self, identifier))
    }
}

impl keyvalue::HostBucket for View<'_, State> {
    fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        converted(newer::HostBucket::get(self, bucket, key))
    }

    fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        converted(newer::HostBucket::set(self, bucket, key, value))
    }

    fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        converted(newer::HostBucket::delete(self, bucket, key))
    }

    fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        converted(newer::HostBucket::exists(self, bucket, key))
    }

    fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<u64>) -> Answer<KeyResponse> {
        let after = match self.capability.cursors.key(cursor) {
            Ok(after) => after,
            Err(words) => return Ok(Err(Error::Other(words))),
        };
        let page = newer::HostBucket::list_keys(self, bucket, after)?;
        Ok(page.map_err(Error::from).and_then(|newer::KeyResponse { keys, cursor }| {
            let number = |key| self.capability.cursors.number(key).map_err(Error::Other);
            let cursor = cursor.map(number).transpose()?;
            Ok(KeyResponse { keys, cursor })
        }))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        newer::HostBucket::drop(self, bucket)
    }
}

impl atomics::Host for View<'_, State> {
    fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> Answer<u64> {
        let Ok(delta) = i64::try_from(delta) else {
            let words = format!("{delta} is too much to add at a time: at most {}", i64::MAX);
            return Ok(Err(Error::Other(words)));
        };
        let sum = newer_atomics::Host::increment(self, bucket, key, delta)?;
        Ok(sum.map_err(Error::from).and_then(|sum| {
            u64::try_from(sum)
                .map_err(|_| Error::Other(format!("the key holds a negative number, now {sum}")))
        }))
    }
}

impl batch::Host for View<'_, State> {
    fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        converted(newer_batch::Host::get_many(self, bucket, keys))
    }

    fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        converted(newer_batch::Host::set_many(self, bucket, key_values))
    }

    fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        converted(newer_batch::Host::delete_many(self, bucket, keys))
    }
}
