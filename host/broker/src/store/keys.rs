//! Keys of the tables. Integers are big-endian, so that byte order is numeric order.

use usher_event::{Digest, PluginName, ScheduleName, StateAddress};

/// A sequence, or any other number that is a whole key.
pub(crate) fn number(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Two numbers: flow and sequence, due time and number.
pub(crate) fn pair(first: u64, second: u64) -> Vec<u8> {
    [first.to_be_bytes(), second.to_be_bytes()].concat()
}

/// `subscriptions`, `cursors`.
pub(crate) fn subscription(id: u32) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// `retries`, `parked`.
pub(crate) fn retry(subscription: u32, sequence: u64) -> Vec<u8> {
    [&subscription.to_be_bytes()[..], &sequence.to_be_bytes()].concat()
}

/// `dead_by_delivery`, and what all `attempts` of a delivery begin with.
pub(crate) fn delivery(sequence: u64, subscription: u32) -> Vec<u8> {
    [&sequence.to_be_bytes()[..], &subscription.to_be_bytes()].concat()
}

/// `attempts`.
pub(crate) fn attempt(sequence: u64, subscription: u32, number: u32) -> Vec<u8> {
    [&sequence.to_be_bytes()[..], &subscription.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// `correlations`: what all rows of one `correlationid` begin with.
pub(crate) fn correlation_prefix(correlationid: &str) -> Vec<u8> {
    [correlationid.as_bytes(), &[0]].concat()
}

/// `correlations`.
pub(crate) fn correlation(correlationid: &str, sequence: u64) -> Vec<u8> {
    [correlationid.as_bytes(), &[0], &sequence.to_be_bytes()].concat()
}

/// `state`: what all keys of a plugin begin with.
pub(crate) fn buckets(plugin: &PluginName) -> Vec<u8> {
    [plugin.as_str().as_bytes(), &[0]].concat()
}

/// `state`: what all keys of a bucket begin with. The bucket's length keeps buckets apart whatever
/// bytes their names hold; a longer name than 64 KiB is refused before it gets here.
pub(crate) fn bucket(plugin: &PluginName, bucket: &str) -> Vec<u8> {
    let length = u16::try_from(bucket.len()).unwrap_or(u16::MAX);
    [&buckets(plugin)[..], &length.to_be_bytes(), bucket.as_bytes()].concat()
}

/// `state`.
pub(crate) fn state(address: &StateAddress) -> Vec<u8> {
    let mut key = bucket(&address.plugin, &address.bucket);
    key.extend_from_slice(address.key.as_bytes());
    key
}

/// `state`: the smallest key above this one, which is the key plus a zero byte.
pub(crate) fn after_state(plugin: &PluginName, bucket: &str, key: &str) -> Vec<u8> {
    [&self::bucket(plugin, bucket)[..], key.as_bytes(), &[0]].concat()
}

/// `blobs`.
pub(crate) fn blob(digest: &Digest, plugin: &str) -> Vec<u8> {
    [&digest.as_bytes()[..], plugin.as_bytes()].concat()
}

/// `blobs_by_plugin`: what all rows of a plugin begin with.
pub(crate) fn plugin_blobs(plugin: &str) -> Vec<u8> {
    [plugin.as_bytes(), &[0]].concat()
}

/// `blobs_by_plugin`.
pub(crate) fn plugin_blob(plugin: &str, digest: &Digest) -> Vec<u8> {
    [plugin.as_bytes(), &[0], digest.as_bytes()].concat()
}

/// `schedules`.
pub(crate) fn schedule(name: &ScheduleName) -> Vec<u8> {
    name.as_str().as_bytes().to_vec()
}

/// The lowest key that is higher than all keys with this prefix; `None` if there can't be one.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(end)
}

/// The number at the end of a key.
pub(crate) fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The number at the beginning of a key.
pub(crate) fn first_number(key: &[u8]) -> Option<u64> {
    key.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_above_all_its_keys() {
        assert_eq!(after_prefix(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(after_prefix(&[1, 255]), Some(vec![2]));
        assert_eq!(after_prefix(&[255, 255]), None);
        assert_eq!(after_prefix(&[]), None);
    }

    #[test]
    fn buckets_never_run_into_each_other() {
        let plugin: PluginName = "a".parse().unwrap();
        let key = |bucket: &str, key: &str| {
            state(&StateAddress { plugin: plugin.clone(), bucket: bucket.into(), key: key.into() })
        };
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_ne!(key("a\0b", "c"), key("a", "\0bc"));
        assert!(!key("ab", "c").starts_with(&bucket(&plugin, "a")));
    }

    #[test]
    fn byte_order_is_numeric_order() {
        assert!(number(255) < number(256));
        assert!(retry(1, u64::MAX) < retry(2, 0));
        assert_eq!(last_number(&pair(3, 4)), Some(4));
        assert_eq!(first_number(&pair(3, 4)), Some(3));
        assert_eq!(first_number(&[1]), None);
    }
}
