//! wasi:keyvalue on top of [`Staging`].

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Resource;

use super::handles::{Bucket, Cas};
use super::staging::{NAME_MAX_BYTES, Page, Staging, StateError};
use super::{NAME, State};
use crate::Limits;
use crate::bindings::atomics::{self, CasError};
use crate::bindings::batch;
use crate::bindings::keyvalue::{self, Error, KeyResponse};
use crate::capability::View;

/// Limits of one batch call: keys, and total bytes of the values read. Host calls must be short
/// because they block their thread.
const BATCH_MAX_KEYS: usize = 1_000;
const BATCH_MAX_BYTES: usize = 4 * 1024 * 1024;

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        Self::Other(error.to_string())
    }
}

/// Refuses a batch call with too many keys before any of it is applied.
fn check_batch(keys: usize) -> Result<(), Error> {
    if keys <= BATCH_MAX_KEYS {
        return Ok(());
    }
    Err(Error::Other(format!("one call names {keys} keys, the limit is {BATCH_MAX_KEYS}")))
}

impl View<'_, State> {
    /// The delivery's staging, opened on first use, and the plugin's limits.
    fn staging(&mut self) -> Result<(&mut Staging, &Limits), Error> {
        let shared = &*self.capability.shared;
        let plugin = &shared.plugin;
        let Some((name, reader)) = &shared.committed else {
            plugin.deny(NAME, "state", "grants", "state = true");
            return Err(Error::AccessDenied);
        };
        let staging =
            self.capability.staging.get_or_insert_with(|| Staging::open(name, reader.as_ref()));
        Ok((staging, &plugin.limits))
    }

    fn bucket(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<Arc<str>> {
        Ok(self.table.get(bucket)?.name.clone())
    }

    fn read(&mut self, bucket: &Arc<str>, key: &str) -> Result<Option<Bytes>, Error> {
        let clock = self.capability.clock.clone();
        let (staging, _) = self.staging()?;
        Ok(clock.uncharged(|| staging.get(bucket, key))?)
    }

    fn write(&mut self, bucket: &Arc<str>, key: &str, value: Option<Vec<u8>>) -> Result<(), Error> {
        let clock = self.capability.clock.clone();
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

impl keyvalue::Host for View<'_, State> {
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

impl keyvalue::HostBucket for View<'_, State> {
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
        let clock = self.capability.clock.clone();
        let page = match self.staging() {
            Ok((staging, _)) => clock.uncharged(|| staging.keys(&bucket, cursor.as_deref())),
            Err(error) => return Ok(Err(error)),
        };
        Ok(page.map_err(Error::from).map(|Page { keys, next }| KeyResponse {
            keys: keys.iter().map(|key| key.to_string()).collect(),
            cursor: next.map(|key| key.to_string()),
        }))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for View<'_, State> {
    fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Answer<i64> {
        let bucket = self.bucket(&bucket)?;
        Ok(self.add(&bucket, &key, delta))
    }

    fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), CasError>> {
        let Cas { bucket, key, seen, .. } = self.table.delete(cas)?;
        let now = match self.read(&bucket, &key) {
            Ok(now) => now,
            Err(error) => return Ok(Err(CasError::StoreError(error))),
        };
        if now != seen {
            let delivery = self.capability.delivery;
            let again = self.table.push(Cas { bucket, key, seen: now, delivery })?;
            return Ok(Err(CasError::CasFailed(again)));
        }
        Ok(self.write(&bucket, &key, Some(value)).map_err(CasError::StoreError))
    }
}

impl atomics::HostCas for View<'_, State> {
    fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Resource<Cas>> {
        let bucket = self.bucket(&bucket)?;
        match self.read(&bucket, &key) {
            Ok(seen) => {
                let delivery = self.capability.delivery;
                Ok(Ok(self.table.push(Cas { bucket, key, seen, delivery })?))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        let delivery = self.capability.delivery;
        let remembered = self.table.get(&cas)?;
        // A value seen by an earlier delivery is not in this one's read set, so the commit could
        // not validate it: read it again.
        if remembered.delivery != delivery {
            let (bucket, key) = (remembered.bucket.clone(), remembered.key.clone());
            let seen = match self.read(&bucket, &key) {
                Ok(seen) => seen,
                Err(error) => return Ok(Err(error)),
            };
            let remembered = self.table.get_mut(&cas)?;
            (remembered.seen, remembered.delivery) = (seen, delivery);
        }
        Ok(Ok(self.table.get(&cas)?.seen.as_ref().map(|value| value.to_vec())))
    }

    fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for View<'_, State> {
    fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        let bucket = self.bucket(&bucket)?;
        if let Err(error) = check_batch(keys.len()) {
            return Ok(Err(error));
        }
        // Bounds the copies if a guest repeats one key.
        let mut left_bytes = BATCH_MAX_BYTES;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match self.read(&bucket, &key) {
                Ok(value) => {
                    let value_bytes = value.as_ref().map_or(0, Bytes::len);
                    let Some(left) = left_bytes.checked_sub(value_bytes) else {
                        let words = format!(
                            "the values have more than {BATCH_MAX_BYTES} bytes: ask for fewer \
                             keys at a time"
                        );
                        return Ok(Err(Error::Other(words)));
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
        if let Err(error) = check_batch(key_values.len()) {
            return Ok(Err(error));
        }
        for (key, value) in key_values {
            if let Err(error) = self.write(&bucket, &key, Some(value)) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        let bucket = self.bucket(&bucket)?;
        if let Err(error) = check_batch(keys.len()) {
            return Ok(Err(error));
        }
        for key in keys {
            if let Err(error) = self.write(&bucket, &key, None) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use atomics::HostCas;
    use batch::Host as _;
    use keyvalue::{Host as _, HostBucket as _};
    use usher_event::{StateReader, StateSnapshot};
    use wasmtime::component::ResourceTable;

    use super::*;
    use crate::capability::{Capability as _, Grants};
    use crate::testing::{Committed, clock, delivery, plugin};
    use usher_event::{Effects, StateRead, StateWrite};

    /// Committed state that changes between deliveries.
    #[derive(Default)]
    struct Changing(Mutex<Committed>);

    impl Changing {
        fn set(&self, committed: Committed) {
            *self.0.lock().unwrap() = committed;
        }
    }

    impl StateReader for Changing {
        fn snapshot(&self) -> Box<dyn StateSnapshot> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).snapshot()
        }
    }

    struct Instance {
        committed: Arc<Changing>,
        state: State,
        table: ResourceTable,
    }

    impl Instance {
        fn new() -> Self {
            let committed = Arc::<Changing>::default();
            let service: Arc<dyn StateReader> = committed.clone();
            let grants = Grants::default().allowing(NAME);
            let service = Some(("tested".parse().unwrap(), service));
            let shared = Arc::new(State::share(&plugin(), &grants, service));
            let state = State::new(&shared, &clock());
            Self { committed, state, table: ResourceTable::new() }
        }

        fn view(&mut self) -> View<'_, State> {
            View { capability: &mut self.state, table: &mut self.table }
        }

        fn begin(&mut self) {
            self.state.begin(&delivery());
        }

        fn take(&mut self) -> (Vec<StateRead>, Vec<StateWrite>) {
            let mut effects = Effects::default();
            self.state.take(&mut effects);
            (effects.reads, effects.writes)
        }

        fn open(&mut self) -> Resource<Bucket> {
            self.view().open("b".to_owned()).unwrap().unwrap()
        }
    }

    /// The same handle, as passed again by a guest that kept it.
    fn again<T: 'static>(handle: &Resource<T>) -> Resource<T> {
        Resource::new_borrow(handle.rep())
    }

    #[test]
    fn a_kept_handle_reads_again_in_each_delivery() {
        let mut instance = Instance::new();
        instance.committed.set(Committed::of([("b/k", "1")]));
        instance.begin();
        let bucket = instance.open();
        let cas = HostCas::new(&mut instance.view(), bucket, "k".to_owned()).unwrap().unwrap();
        let current = |instance: &mut Instance| {
            instance.view().current(again(&cas)).unwrap().unwrap().map(Bytes::from)
        };
        assert_eq!(current(&mut instance).as_deref(), Some(&b"1"[..]));
        assert_eq!(instance.take().0.len(), 1);

        instance.committed.set(Committed::of([("b/k", "2")]));
        instance.begin();
        for _ in 0..2 {
            assert_eq!(current(&mut instance).as_deref(), Some(&b"2"[..]));
        }
        assert_eq!(instance.take().0.len(), 1, "the read is part of the second delivery");
    }

    #[test]
    fn a_batch_of_too_many_keys_or_bytes_is_refused_before_it_begins() {
        let mut instance = Instance::new();
        instance
            .committed
            .set(Committed([("b/k".to_owned(), Bytes::from(vec![0; BATCH_MAX_BYTES / 2]))].into()));
        instance.begin();
        let bucket = instance.open();
        let keys = |count: usize| vec!["k".to_owned(); count];
        let words = |error: Error| match error {
            Error::Other(words) => words,
            other => panic!("{other:?}"),
        };
        let mut view = instance.view();
        let expected = "one call names 1001 keys, the limit is 1000";
        let many = keys(BATCH_MAX_KEYS + 1);
        let found = view.get_many(again(&bucket), many.clone()).unwrap();
        assert_eq!(words(found.unwrap_err()), expected);
        let deleted = view.delete_many(again(&bucket), many.clone()).unwrap();
        assert_eq!(words(deleted.unwrap_err()), expected);
        let values = many.into_iter().map(|key| (key, Vec::new())).collect();
        let set = view.set_many(again(&bucket), values).unwrap();
        assert_eq!(words(set.unwrap_err()), expected);

        assert!(view.get_many(again(&bucket), keys(2)).unwrap().is_ok());
        let found = view.get_many(again(&bucket), keys(3)).unwrap();
        assert!(words(found.unwrap_err()).contains("ask for fewer keys"));
        assert!(instance.take().1.is_empty());
    }

    #[test]
    fn a_page_without_keys_still_leads_on() {
        let mut instance = Instance::new();
        let committed = (0..1_500).map(|number| (format!("b/{number:04}"), Bytes::new()));
        instance.committed.set(Committed(committed.collect()));
        instance.begin();
        let bucket = instance.open();
        let mut view = instance.view();
        let deleted = (0..1_000).map(|number| format!("{number:04}")).collect();
        view.delete_many(again(&bucket), deleted).unwrap().unwrap();
        let first = view.list_keys(again(&bucket), None).unwrap().unwrap();
        assert_eq!((first.keys.len(), first.cursor.as_deref()), (0, Some("0999")));
        let second = view.list_keys(again(&bucket), first.cursor).unwrap().unwrap();
        assert_eq!((second.keys.len(), second.cursor), (500, None));
    }
}
