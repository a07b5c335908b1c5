//! One delivery's reads and writes of state, over a snapshot. Each read is recorded with the
//! snapshot's version, so that the commit can validate it; each write is preceded by a read of its
//! address, which also keeps usage exact.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use usher_event::{
    Content, Given, GivenUsage, PluginName, StateAddress, StateRead, StateReader, StateSnapshot,
    StateUsage, StateWrite, StoreError,
};

use crate::Limits;
use crate::limits::size;

/// Maximum length of a bucket name and of a key.
pub(crate) const NAME_MAX_BYTES: usize = 1024;
/// Maximum distinct addresses per delivery; also bounds the buckets it may list.
const ADDRESSES_MAX: usize = 10_000;
/// Keys in one page of a listing.
pub(crate) const PAGE_KEYS: usize = 1_000;

/// Why an operation on state failed; the message goes to the guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    /// A limit was exceeded; fails the delivery.
    #[error("{0}")]
    Limit(String),
    /// The guest passed an invalid argument.
    #[error("{0}")]
    Invalid(String),
    /// The store failed.
    #[error("state can't be read: {0}")]
    Store(String),
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.0)
    }
}

/// One address that the delivery has read or written.
struct Known {
    /// Size of the committed value, if there is one.
    committed_bytes: Option<u32>,
    /// The staged write; `Some(None)` is a deletion.
    staged: Option<Option<Bytes>>,
}

type Keys = BTreeMap<Arc<str>, Known>;

/// One page of a bucket's keys, sorted.
pub(crate) struct Page {
    /// At most [`PAGE_KEYS`]. May be empty before the last page, if this delivery deleted every key
    /// of the page.
    pub(crate) keys: Vec<Arc<str>>,
    /// The next page starts after this key; `None` on the last page.
    pub(crate) next: Option<Arc<str>>,
}

/// A delivery's view of its plugin's state.
pub(crate) struct Staging {
    plugin: PluginName,
    snapshot: Box<dyn StateSnapshot>,
    version: u64,
    buckets: BTreeMap<Arc<str>, Keys>,
    addresses: usize,
    listed: BTreeSet<Arc<str>>,
    /// Usage after the commit; `None` before the first write.
    usage: Option<StateUsage>,
    limit_reached: Option<String>,
}

impl Staging {
    pub(crate) fn open(plugin: &PluginName, reader: &dyn StateReader) -> Self {
        let snapshot = reader.snapshot();
        Self {
            plugin: plugin.clone(),
            version: snapshot.version(),
            snapshot,
            buckets: BTreeMap::new(),
            addresses: 0,
            listed: BTreeSet::new(),
            usage: None,
            limit_reached: None,
        }
    }

    pub(crate) fn take_limit_reached(&mut self) -> Option<String> {
        self.limit_reached.take()
    }

    /// Reads a key, including this delivery's own writes.
    pub(crate) fn get(
        &mut self,
        bucket: &Arc<str>,
        key: &str,
    ) -> Result<Option<Bytes>, StateError> {
        if let Some(known) = self.buckets.get(bucket).and_then(|keys| keys.get(key)) {
            if let Some(staged) = &known.staged {
                return Ok(staged.clone());
            }
            if known.committed_bytes.is_none() {
                return Ok(None);
            }
            return Ok(self.snapshot.get(&self.address(bucket, key.into()))?);
        }
        Ok(self.look(bucket, key)?.1)
    }

    /// Stages a write; `None` deletes the key.
    pub(crate) fn put(
        &mut self,
        bucket: &Arc<str>,
        key: &str,
        value: Option<Bytes>,
        limits: &Limits,
    ) -> Result<(), StateError> {
        let size_bytes = value.as_ref().map(Bytes::len);
        if let Some(size_bytes) = size_bytes
            && size_bytes > size(limits.state_value_bytes)
        {
            return Err(self.refuse(format!(
                "the value has {size_bytes} bytes, the limit is {}",
                limits.state_value_bytes
            )));
        }
        if self.buckets.get(bucket).and_then(|keys| keys.get(key)).is_none() {
            self.look(bucket, key)?;
        }
        let usage = match self.usage {
            Some(usage) => usage,
            None => self.snapshot.usage(&self.plugin)?,
        };
        self.usage = Some(usage);
        let Some(known) = self.buckets.get_mut(bucket).and_then(|keys| keys.get_mut(key)) else {
            return Err(StateError::Store("an address that was read is unknown".to_owned()));
        };
        let before_bytes = match &known.staged {
            Some(staged) => staged.as_ref().map(|value| value.len() as u64),
            None => known.committed_bytes.map(u64::from),
        };
        let name_bytes = (bucket.len() + key.len()) as u64;
        let after_bytes = size_bytes.map(|size_bytes| size_bytes as u64);
        let after = usage.replacing(name_bytes, before_bytes, after_bytes);
        if let Err(error) = limits.quota().check_state(usage, after) {
            return Err(self.refuse(error.to_string()));
        }
        known.staged = Some(value);
        self.usage = Some(after);
        Ok(())
    }

    /// Lists a bucket's keys after `after`. Reads a single page of committed keys, even if this
    /// delivery deleted all of them, to bound the duration of the call.
    pub(crate) fn keys(
        &mut self,
        bucket: &Arc<str>,
        after: Option<&str>,
    ) -> Result<Page, StateError> {
        if !self.listed.contains(bucket) {
            if self.listed.len() >= ADDRESSES_MAX {
                return Err(self.refuse("too many buckets listed in one delivery".to_owned()));
            }
            self.listed.insert(bucket.clone());
        }
        let nothing = Keys::new();
        let overlay = self.buckets.get(bucket).unwrap_or(&nothing);
        let committed = self.snapshot.keys(&self.plugin, bucket, after, PAGE_KEYS)?;
        // Committed keys beyond the horizon have not been read yet.
        let horizon = if committed.more { committed.keys.last().cloned() } else { None };
        let is_deleted =
            |key: &Arc<str>| matches!(overlay.get(key), Some(Known { staged: Some(None), .. }));
        let kept = committed.keys.into_iter().filter(|key| !is_deleted(key));
        let mut page: BTreeSet<Arc<str>> = kept.collect();
        // Keys this delivery added.
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let to = horizon.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let staged = overlay
            .range::<str, _>((from, to))
            .filter(|(_, known)| matches!(known.staged, Some(Some(_))));
        page.extend(staged.map(|(key, _)| key.clone()));
        let is_cut = page.len() > PAGE_KEYS;
        let keys: Vec<_> = page.into_iter().take(PAGE_KEYS).collect();
        let next = if is_cut { keys.last().cloned() } else { horizon };
        Ok(Page { keys, next })
    }

    /// The reads to validate and the writes to apply at commit.
    pub(crate) fn into_effects(self) -> (Vec<StateRead>, Vec<StateWrite>) {
        let Self { plugin, version, buckets, addresses, listed, .. } = self;
        let mut reads = Vec::with_capacity(addresses + listed.len());
        let mut writes = Vec::new();
        for (bucket, keys) in buckets {
            for (key, known) in keys {
                let address = StateAddress { plugin: plugin.clone(), bucket: bucket.clone(), key };
                reads.push(StateRead::Key { address: address.clone(), version });
                // Deleting a key that was never committed is a no-op.
                if let Some(value) = known.staged
                    && (value.is_some() || known.committed_bytes.is_some())
                {
                    let previous_bytes = known.committed_bytes;
                    writes.push(StateWrite { address, value, previous_bytes });
                }
            }
        }
        reads.extend(listed.into_iter().map(|bucket| StateRead::Bucket {
            plugin: plugin.clone(),
            bucket,
            version,
        }));
        (reads, writes)
    }

    /// What the delivery could read: the committed values of the keys it used and of the buckets
    /// it listed, read again from its snapshot, as far as there is room. A store that fails by now
    /// leaves gaps.
    pub(super) fn record(&self, given: &mut Given, mut room_bytes: usize) {
        // Whether there was room.
        let mut note = |bucket: &Arc<str>, key: &Arc<str>| {
            if let Ok(Some(value)) = self.snapshot.get(&self.address(bucket, key.clone())) {
                match room_bytes.checked_sub(bucket.len() + key.len() + value.len()) {
                    Some(left_bytes) => room_bytes = left_bytes,
                    None => given.is_cut = true,
                }
                if given.is_cut {
                    return false;
                }
                let keys = given.state.entry(bucket.to_string()).or_default();
                keys.insert(key.to_string(), Content::of(&value));
            }
            true
        };
        for (bucket, keys) in &self.buckets {
            if !keys.keys().all(|key| note(bucket, key)) {
                return;
            }
        }
        for bucket in &self.listed {
            let mut after: Option<Arc<str>> = None;
            while let Ok(page) =
                self.snapshot.keys(&self.plugin, bucket, after.as_deref(), PAGE_KEYS)
            {
                if !page.keys.iter().all(|key| note(bucket, key)) {
                    return;
                }
                after = page.keys.last().cloned();
                if !page.more {
                    break;
                }
            }
        }
        if self.usage.is_some()
            && let Ok(StateUsage { bytes, keys }) = self.snapshot.usage(&self.plugin)
        {
            given.state_usage = Some(GivenUsage { bytes, keys });
        }
    }

    /// First read of an address; records it.
    fn look(
        &mut self,
        bucket: &Arc<str>,
        key: &str,
    ) -> Result<(Arc<str>, Option<Bytes>), StateError> {
        if key.len() > NAME_MAX_BYTES {
            let words = format!("the key has {} bytes, the limit is {NAME_MAX_BYTES}", key.len());
            return Err(StateError::Invalid(words));
        }
        if self.addresses >= ADDRESSES_MAX {
            let words = format!("one delivery may use {ADDRESSES_MAX} different keys");
            return Err(self.refuse(words));
        }
        let key: Arc<str> = key.into();
        let value = self.snapshot.get(&self.address(bucket, key.clone()))?;
        let committed_bytes =
            value.as_ref().map(|value| u32::try_from(value.len()).unwrap_or(u32::MAX));
        let keys = self.buckets.entry(bucket.clone()).or_default();
        if let Entry::Vacant(vacant) = keys.entry(key.clone()) {
            vacant.insert(Known { committed_bytes, staged: None });
            self.addresses += 1;
        }
        Ok((key, value))
    }

    fn address(&self, bucket: &Arc<str>, key: Arc<str>) -> StateAddress {
        StateAddress { plugin: self.plugin.clone(), bucket: bucket.clone(), key }
    }

    /// Records that a limit was exceeded, which fails the delivery even if the guest ignores the
    /// error.
    fn refuse(&mut self, words: String) -> StateError {
        self.limit_reached.get_or_insert_with(|| words.clone());
        StateError::Limit(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Committed;

    fn open(committed: &Committed) -> Staging {
        Staging::open(&"tested".parse().unwrap(), committed)
    }

    fn set(staging: &mut Staging, key: &str, value: &'static str) {
        staging.put(&"b".into(), key, Some(value.into()), &Limits::default()).unwrap();
    }

    fn delete(staging: &mut Staging, key: &str) {
        staging.put(&"b".into(), key, None, &Limits::default()).unwrap();
    }

    fn keys(staging: &mut Staging, after: Option<&str>) -> (Vec<String>, Option<String>) {
        let Page { keys, next } = staging.keys(&"b".into(), after).unwrap();
        let text = |key: &Arc<str>| key.to_string();
        (keys.iter().map(text).collect(), next.as_ref().map(text))
    }

    #[test]
    fn a_delivery_reads_what_it_wrote() {
        let committed = Committed::of([("b/old", "1"), ("b/gone", "2")]);
        let mut staging = open(&committed);
        set(&mut staging, "new", "3");
        delete(&mut staging, "gone");
        let mut get = |key: &str| staging.get(&"b".into(), key).unwrap();
        assert_eq!(get("old").as_deref(), Some(&b"1"[..]));
        assert_eq!(get("new").as_deref(), Some(&b"3"[..]));
        assert_eq!(get("gone"), None);
        assert_eq!(get("never"), None);
    }

    #[test]
    fn effects_hold_every_address_once() {
        let committed = Committed::of([("b/old", "12")]);
        let mut staging = open(&committed);
        set(&mut staging, "old", "3");
        set(&mut staging, "old", "4");
        delete(&mut staging, "never");
        staging.get(&"b".into(), "looked").unwrap();
        keys(&mut staging, None);
        let (reads, writes) = staging.into_effects();
        let [write] = &writes[..] else { panic!("expected one write, found {writes:?}") };
        assert_eq!(write.value.as_deref(), Some(&b"4"[..]));
        assert_eq!(write.previous_bytes, Some(2));
        let read: Vec<_> = reads
            .iter()
            .map(|read| match read {
                StateRead::Key { address, version: 7 } => address.key.to_string(),
                StateRead::Bucket { bucket, version: 7, .. } => format!("{bucket}/"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(read, ["looked", "never", "old", "b/"]);
    }

    #[test]
    fn listings_show_what_the_delivery_changed() {
        let committed = Committed::of([("b/a", ""), ("b/c", ""), ("b/e", ""), ("other/x", "")]);
        let mut staging = open(&committed);
        set(&mut staging, "b", "");
        set(&mut staging, "z", "");
        delete(&mut staging, "c");
        delete(&mut staging, "never");
        assert_eq!(
            keys(&mut staging, None),
            (["a", "b", "e", "z"].map(str::to_owned).into(), None)
        );
        assert_eq!(keys(&mut staging, Some("b")), (["e", "z"].map(str::to_owned).into(), None));
        assert_eq!(keys(&mut staging, Some("z")), (Vec::new(), None));
    }

    #[test]
    fn long_listings_come_in_pages_that_miss_nothing() {
        let mut committed = Committed::default();
        for number in 0..2 * PAGE_KEYS + 10 {
            committed.0.insert(format!("b/{number:05}"), Bytes::new());
        }
        let mut staging = open(&committed);
        // A deleted stretch longer than a page, and additions between and behind.
        for number in 5..PAGE_KEYS + 8 {
            delete(&mut staging, &format!("{number:05}"));
        }
        set(&mut staging, "00003x", "");
        set(&mut staging, "zzz", "");
        let mut seen = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let (page, next) = keys(&mut staging, after.as_deref());
            assert!(page.len() <= PAGE_KEYS);
            assert!(next.is_none() || next > after, "the next page lies further on");
            seen.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        let mut expected: Vec<_> = (0..5)
            .chain(PAGE_KEYS + 8..2 * PAGE_KEYS + 10)
            .map(|number| format!("{number:05}"))
            .chain(["00003x".to_owned(), "zzz".to_owned()])
            .collect();
        expected.sort();
        assert_eq!(seen, expected);
    }

    #[test]
    fn quotas_count_keys_and_bytes_exactly() {
        let committed = Committed::of([("b/k", "123")]);
        // b + k + 3 bytes are there; another key of b + x + 3 bytes fits exactly.
        let limits = Limits { state_bytes: 10, state_keys: 2, ..Limits::default() };
        let put = |staging: &mut Staging, key: &str, value: Option<&'static str>| {
            staging.put(&"b".into(), key, value.map(Bytes::from), &limits)
        };
        let mut staging = open(&committed);
        assert_eq!(put(&mut staging, "x", Some("123")), Ok(()));
        assert!(matches!(put(&mut staging, "x", Some("1234")), Err(StateError::Limit(_))));
        assert!(matches!(put(&mut staging, "y", Some("")), Err(StateError::Limit(_))));
        assert_eq!(put(&mut staging, "k", None), Ok(()));
        assert_eq!(put(&mut staging, "x", Some("12345678")), Ok(()));
        assert!(staging.take_limit_reached().is_some());
    }

    #[test]
    fn an_old_overrun_can_be_reduced() {
        let committed = Committed::of([("b/k", "1234567890"), ("b/l", "")]);
        let limits = Limits { state_bytes: 5, state_keys: 1, ..Limits::default() };
        let mut staging = open(&committed);
        let mut put = |key: &str, value: &'static str| {
            staging.put(&"b".into(), key, Some(value.into()), &limits)
        };
        assert_eq!(put("k", "123456789"), Ok(()));
        assert!(put("k", "12345678901").is_err());
    }

    #[test]
    fn one_delivery_looks_at_so_many_addresses_and_no_more() {
        let committed = Committed::default();
        let mut staging = open(&committed);
        for number in 0..ADDRESSES_MAX {
            staging.get(&"b".into(), &number.to_string()).unwrap();
        }
        assert!(staging.get(&"b".into(), "0").is_ok());
        let error = staging.get(&"b".into(), "one more").unwrap_err();
        assert!(matches!(error, StateError::Limit(_)));
        let long = "k".repeat(NAME_MAX_BYTES + 1);
        assert!(matches!(open(&committed).get(&"b".into(), &long), Err(StateError::Invalid(_))));
    }
}
