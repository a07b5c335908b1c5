//! State and blobs: committed with the acknowledgement, or not at all.

use bytes::Bytes;
use std::sync::Arc;
use usher_broker::traits::*;
use usher_broker::{CONFLICTS_MAX, Changes, Disposition, Explanation, Lease, Settled, StateRecord};
use usher_event::{
    BlobChange, BlobInfo, Digest, FailureClass, Quota, StateAddress, StateRead, StateSnapshot,
    StateUsage, StateWrite,
};

use crate::harness::*;

fn address(key: &str) -> StateAddress {
    StateAddress { plugin: "p".parse().unwrap(), bucket: "b".into(), key: key.into() }
}

fn write(key: &str, value: Option<&str>, previous_bytes: Option<u32>) -> StateWrite {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    StateWrite { address: address(key), value, previous_bytes }
}

/// Publishes an event and acknowledges its delivery with these writes.
async fn commit(broker: &Arc<dyn Broker>, id: &str, writes: Vec<StateWrite>) {
    publish(broker, event("a", id)).await;
    let lease = lease_one(broker, "p/s").await;
    let changes = Changes { writes, ..Changes::default() };
    assert_eq!(settle(broker, &lease, Disposition::Ack(changes)).await, Settled::Committed);
}

fn get(snapshot: &dyn StateSnapshot, key: &str) -> Option<Bytes> {
    snapshot.get(&address(key)).unwrap()
}

pub async fn state_is_read_from_snapshots(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let before = broker.state().snapshot();
    commit(&broker, "1", vec![write("k", Some("one"), None), write("l", Some("x"), None)]).await;
    let after = broker.state().snapshot();
    commit(&broker, "2", vec![write("k", Some("two"), Some(3)), write("l", None, Some(1))]).await;
    let last = broker.state().snapshot();
    assert!(before.version() < after.version() && after.version() < last.version());
    assert_eq!(get(&*before, "k"), None);
    assert_eq!(get(&*after, "k").unwrap(), "one");
    assert_eq!(get(&*last, "k").unwrap(), "two");
    assert_eq!(get(&*last, "l"), None);
    let plugin = "p".parse().unwrap();
    let listed = |after: Option<(&str, &str)>| {
        let after = after.map(|(bucket, key)| (bucket.to_owned(), key.to_owned()));
        broker.list_state(&plugin, after, 10, None)
    };
    let value = StateRecord { bucket: "b".into(), key: "k".into(), value: "two".into() };
    assert_eq!(listed(None).await.unwrap(), [value]);
    // Each delivery settled after its event, and before the next one.
    let at = |sequence| broker.list_state(&plugin, None, 10, Some(sequence));
    let as_of = async |sequence| {
        let values = at(sequence).await.unwrap().into_iter();
        values.map(|one| (one.key, one.value)).collect::<Vec<_>>()
    };
    assert_eq!(as_of(1).await, []);
    assert_eq!(as_of(2).await, [("k".to_owned(), "one".into()), ("l".to_owned(), "x".into())]);
    for unknown in [0, 3] {
        assert!(
            matches!(at(unknown).await, Err(usher_broker::BrokerError::Invalid(_))),
            "{unknown}"
        );
    }
    assert_eq!(listed(Some(("b", "k"))).await.unwrap(), []);
    assert_eq!(listed(Some(("", "x"))).await.unwrap().len(), 1);
    assert_eq!(broker.list_state(&"other".parse().unwrap(), None, 10, None).await.unwrap(), []);
    assert_eq!(before.usage(&plugin).unwrap(), StateUsage::default());
    assert_eq!(after.usage(&plugin).unwrap(), StateUsage { bytes: 5 + 3, keys: 2 });
    assert_eq!(last.usage(&plugin).unwrap(), StateUsage { bytes: 5, keys: 1 });
}

/// A read-modify-write of one counter, based on a snapshot.
fn increment(lease: &Lease, snapshot: &dyn StateSnapshot) -> usher_broker::Settlement {
    let value = get(snapshot, "counter");
    let number: u64 =
        value.as_ref().map_or(0, |v| std::str::from_utf8(v).unwrap().parse().unwrap());
    let reads = vec![StateRead::Key { address: address("counter"), version: snapshot.version() }];
    let text = (number + 1).to_string();
    let previous = value.map(|value| value.len() as u32);
    let writes = vec![write("counter", Some(&text), previous)];
    settlement(lease, Disposition::Ack(Changes { reads, writes, ..Changes::default() }))
}

/// Invariant 4: concurrent deliveries that change the same state lose no update.
pub async fn a_changed_read_runs_again(disk: Disk) {
    const DELIVERIES: u64 = 12;
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    for id in 0..DELIVERIES {
        publish(&broker, event("a", id)).await;
    }
    let (mut done, mut conflicts) = (0, 0);
    while done < DELIVERIES {
        // All ready deliveries read from one snapshot, so only one of them can commit.
        let snapshot = broker.state().snapshot();
        let leases = soon(broker.lease(&name("p/s"), 5)).await.unwrap();
        assert!(leases.iter().all(|lease| lease.delivery.attempt == 1));
        let batch = leases.iter().map(|lease| increment(lease, &*snapshot)).collect();
        for settled in soon(broker.settle(batch)).await.unwrap() {
            match settled {
                Settled::Committed => done += 1,
                Settled::Conflict => conflicts += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(get(&*broker.state().snapshot(), "counter").unwrap(), DELIVERIES.to_string());
    assert!(conflicts > 0);
    assert_eq!(broker.stats().conflicts, conflicts);
    assert_eq!(broker.stats().failed, 0);
}

/// Invariant 13: a delivery that keeps conflicting gets its turn, and the others get theirs after
/// it.
pub async fn a_starved_delivery_runs_alone(disk: Disk) {
    let broker = disk.open();
    for subscription in ["p/slow", "p/quick", "q/other"] {
        broker.subscribe(to_type(subscription, "a")).await.unwrap();
    }
    for id in 0..8 {
        publish(&broker, event("a", id)).await;
    }
    let mut slow = lease_one(&broker, "p/slow").await;
    for round in 0..=CONFLICTS_MAX {
        let old = broker.state().snapshot();
        let quick = lease_one(&broker, "p/quick").await;
        let now = broker.state().snapshot();
        let settled = soon(broker.settle(vec![increment(&quick, &*now)])).await.unwrap();
        assert_eq!(settled, [Settled::Committed]);
        let settled = soon(broker.settle(vec![increment(&slow, &*old)])).await.unwrap();
        assert_eq!(settled, [Settled::Conflict]);
        if round < CONFLICTS_MAX {
            let sequence = slow.delivery.sequence;
            slow = lease_again(&broker, "p/slow", sequence).await;
        }
    }
    // Leases already granted are settled first; then the delivery has its plugin to itself.
    let mut out = Vec::new();
    for subscription in ["p/slow", "p/quick"] {
        while let Some(lease) = lease_if_any(&broker, subscription).await {
            out.push(lease);
        }
    }
    assert!(
        out.iter().all(|lease| lease.delivery.sequence != 1
            || lease.delivery.subscription.as_str() != "p/slow")
    );
    assert!(lease_if_any(&broker, "q/other").await.is_some(), "another plugin goes on");
    let statuses = soon(broker.subscriptions()).await.unwrap();
    let slow =
        statuses.iter().find(|status| status.subscription.name.as_str() == "p/slow").unwrap();
    // The one that waits for its turn isn't forgotten.
    assert_eq!((slow.lag + slow.in_flight, slow.in_flight < 8), (8, true));
    for lease in &out {
        settle(&broker, lease, Disposition::Release).await;
    }
    let alone = lease_one(&broker, "p/slow").await;
    assert_eq!((alone.delivery.sequence, alone.delivery.attempt), (1, 1));
    for subscription in ["p/slow", "p/quick"] {
        assert!(nothing_ready(&broker, subscription).await, "{subscription}");
    }
    let now = broker.state().snapshot();
    let settled = soon(broker.settle(vec![increment(&alone, &*now)])).await.unwrap();
    assert_eq!(settled, [Settled::Committed]);
    lease_one(&broker, "p/slow").await;
    lease_one(&broker, "p/quick").await;
}

pub async fn a_listing_is_a_read(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", "lister")).await;
    let lister = lease_one(&broker, "p/s").await;
    let version = broker.state().snapshot().version();
    commit(&broker, "other", vec![write("new", Some("x"), None)]).await;
    let listed =
        |version| StateRead::Bucket { plugin: "p".parse().unwrap(), bucket: "b".into(), version };
    let changes = |version| Changes { reads: vec![listed(version)], ..Changes::default() };
    let settled = settle(&broker, &lister, Disposition::Ack(changes(version))).await;
    assert_eq!(settled, Settled::Conflict);
    let again = lease_one(&broker, "p/s").await;
    let version = broker.state().snapshot().version();
    let settled = settle(&broker, &again, Disposition::Ack(changes(version))).await;
    assert_eq!(settled, Settled::Committed);
}

pub async fn buckets_list_their_keys_in_pages(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let mut writes: Vec<_> =
        ["b", "a", "ab", "c\0d", ""].map(|key| write(key, Some("v"), None)).into();
    let mut elsewhere = write("z", Some("v"), None);
    elsewhere.address.bucket = "b2".into();
    writes.push(elsewhere);
    commit(&broker, "1", writes).await;
    let snapshot = broker.state().snapshot();
    let plugin = "p".parse().unwrap();
    let page = |after, max| snapshot.keys(&plugin, "b", after, max).unwrap();
    let all = page(None, 10);
    assert_eq!(all.keys, ["", "a", "ab", "b", "c\0d"].map(std::sync::Arc::from));
    assert!(!all.more);
    let some = page(Some("a"), 2);
    assert_eq!(some.keys, ["ab", "b"].map(std::sync::Arc::from));
    assert!(some.more);
    assert!(page(Some("c\0d"), 2).keys.is_empty());
}

pub fn info(content: &[u8]) -> BlobInfo {
    BlobInfo {
        digest: Digest::of(content),
        size_bytes: content.len() as u64,
        content_type: "text/plain".into(),
    }
}

async fn change_blobs(
    broker: &Arc<dyn Broker>,
    subscription: &str,
    blobs: Vec<BlobChange>,
) -> Settled {
    let id = format!("{blobs:?}/{subscription}/{}", broker.stats().last_sequence);
    publish(broker, event("a", id)).await;
    let lease = lease_one(broker, subscription).await;
    settle(broker, &lease, Disposition::Ack(Changes { blobs, ..Changes::default() })).await
}

pub async fn blobs_live_as_long_as_someone_keeps_them(disk: Disk) {
    let broker = disk.open();
    let store = broker.blobs();
    let staged = store.write(b"content").unwrap();
    let digest = staged.digest();
    assert_eq!(digest, Digest::of(b"content"));
    assert_eq!(store.write(b"content").unwrap().digest(), digest);
    assert!(store.read(&digest).unwrap().is_none(), "no commit refers to it");
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let put = BlobChange::Put(info(b"content"));
    assert_eq!(change_blobs(&broker, "p/s", vec![put.clone()]).await, Settled::Committed);
    let (found, content) = store.read(&digest).unwrap().unwrap();
    assert_eq!((found, content), (info(b"content"), Bytes::from_static(b"content")));
    broker.unsubscribe(&name("p/s")).await.unwrap();

    broker.subscribe(to_type("q/s", "a")).await.unwrap();
    let other = store.write(b"other").unwrap();
    let both_staged = [staged, other.clone()];
    let other = other.digest();
    let both = vec![put, BlobChange::Put(info(b"other"))];
    assert_eq!(change_blobs(&broker, "q/s", both).await, Settled::Committed);
    drop(both_staged);
    let plugin = "q".parse().unwrap();
    let mut expected = vec![info(b"content"), info(b"other")];
    expected.sort_by_key(|info| info.digest);
    assert_eq!(store.list(&plugin, None, 10).unwrap(), expected);
    assert_eq!(store.list(&plugin, Some(&expected[0].digest), 10).unwrap(), expected[1..]);
    assert_eq!(store.list(&"p".parse().unwrap(), None, 10).unwrap(), [info(b"content")]);
    let all = broker.list_blobs(None, 10).await.unwrap();
    assert_eq!(all.iter().map(|record| record.info.clone()).collect::<Vec<_>>(), expected);
    let rest = broker.list_blobs(Some(expected[0].digest), 10).await.unwrap();
    assert_eq!(rest.len(), 1);

    // One of two owners deletes the blob: the content stays for the other.
    let deleted = vec![BlobChange::Delete(digest), BlobChange::Delete(other)];
    assert_eq!(change_blobs(&broker, "q/s", deleted).await, Settled::Committed);
    assert!(store.read(&digest).unwrap().is_some());
    assert!(store.read(&other).unwrap().is_none());
    drop((store, broker));
    let broker = disk.open();
    assert!(broker.blobs().read(&digest).unwrap().is_some());
}

pub async fn a_blob_without_content_fails_the_delivery(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let put = vec![BlobChange::Put(info(b"never written"))];
    assert_eq!(change_blobs(&broker, "p/s", put).await, Settled::RetryAt(START_MS + 1_000));
}

/// Invariant 4: all changes of a delivery are committed, or none.
pub async fn nothing_of_a_failed_delivery_is_left(disk: Disk) {
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let lease = lease_one(&broker, "p/s").await;
    let snapshot = broker.state().snapshot();
    commit(&broker, "2", vec![write("k", Some("x"), None)]).await;
    let content = info(b"content");
    let staged = broker.blobs().write(b"content").unwrap();
    // The read conflicts: emission, write and blob are dropped with it.
    let changes = Changes {
        emissions: vec![usher_broker::NewEvent { event: emission(&lease, "b", 0), delay: None }],
        reads: vec![StateRead::Key { address: address("k"), version: snapshot.version() }],
        writes: vec![write("l", Some("y"), None)],
        blobs: vec![BlobChange::Put(content.clone())],
        staged: vec![staged],
        ..Changes::default()
    };
    let settled = settle(&broker, &lease, Disposition::Ack(changes)).await;
    assert_eq!(settled, Settled::Conflict);
    assert_eq!(broker.stats().last_sequence, 2);
    assert_eq!(get(&*broker.state().snapshot(), "l"), None);
    assert!(broker.blobs().read(&content.digest).unwrap().is_none());
    assert_eq!(lease_one(&broker, "p/s").await.delivery.attempt, 1);
}

/// Settles as many deliveries, all in flight together, in one batch; returns the outcome of each.
pub async fn settle_together(broker: &Arc<dyn Broker>, changes: Vec<Changes>) -> Vec<Settled> {
    let mut leases = Vec::new();
    for _ in &changes {
        publish(broker, event("a", broker.stats().last_sequence)).await;
        leases.push(lease_one(broker, "p/s").await);
    }
    let batch = leases.iter().zip(changes);
    let batch = batch.map(|(lease, changes)| settlement(lease, Disposition::Ack(changes)));
    soon(broker.settle(batch.collect())).await.unwrap()
}

/// Invariant 4: of deliveries that would exceed the quota together, the one that exceeds it leaves
/// nothing.
pub async fn deliveries_in_flight_together_keep_to_the_quota_of_state(disk: Disk) {
    const RETRIED: Settled = Settled::RetryAt(START_MS + 1_000);
    let broker = disk.open();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    broker.subscribe(to_type("p/failed", "b")).await.unwrap();
    let version = broker.state().snapshot().version();
    let one = |quota: Quota, key: &str, value: &str| Changes {
        reads: vec![StateRead::Key { address: address(key), version }],
        writes: vec![write(key, Some(value), None)],
        quota,
        ..Changes::default()
    };
    // Each has a bucket and a key of one byte.
    let bytes = |state_bytes| Quota { state_bytes, ..Quota::default() };
    let keys = |state_keys| Quota { state_keys, ..Quota::default() };
    let usage = || broker.state().snapshot().usage(&"p".parse().unwrap()).unwrap();

    let two = vec![one(bytes(9), "a", "1"), one(bytes(9), "b", "12345")];
    assert_eq!(settle_together(&broker, two).await, [Settled::Committed, RETRIED]);
    assert_eq!(usage(), StateUsage { bytes: 3, keys: 1 });
    assert_eq!(get(&*broker.state().snapshot(), "b"), None);
    // One byte less in total: it fits exactly.
    let two = vec![one(bytes(8), "c", "1"), one(bytes(8), "d", "")];
    assert_eq!(settle_together(&broker, two).await, [Settled::Committed, Settled::Committed]);
    assert_eq!(usage(), StateUsage { bytes: 8, keys: 3 });

    let emissions = |lease: &Lease| {
        vec![usher_broker::NewEvent { event: emission(lease, "b", 0), delay: None }]
    };
    publish(&broker, event("a", "over")).await;
    let lease = lease_one(&broker, "p/s").await;
    let over = Changes { emissions: emissions(&lease), ..one(keys(3), "e", "1") };
    assert_eq!(settle(&broker, &lease, Disposition::Ack(over)).await, RETRIED);
    assert!(nothing_ready(&broker, "p/failed").await, "its emission was appended");
    let explained = broker.explain(lease.delivery.sequence, &name("p/s")).await.unwrap();
    let Some(Explanation::Delivery { status, .. }) = explained else { panic!("{explained:?}") };
    let failure = &status.failures[0].record;
    assert_eq!(failure.class, FailureClass::Limit);
    assert_eq!(failure.reason, "state has 3 keys, which is the limit");

    // Shrinking is always allowed, whatever the quota.
    let version = broker.state().snapshot().version();
    let reads = vec![StateRead::Key { address: address("a"), version }];
    let writes = vec![write("a", None, Some(1))];
    let shrinking = Changes { reads, writes, quota: bytes(0), ..Changes::default() };
    assert_eq!(settle_together(&broker, vec![shrinking]).await, [Settled::Committed]);
    assert_eq!(usage(), StateUsage { bytes: 5, keys: 2 });
}

/// The same for blobs, also across a restart.
pub async fn deliveries_in_flight_together_keep_to_the_quota_of_blobs(disk: Disk) {
    const RETRIED: Settled = Settled::RetryAt(START_MS + 1_000);
    let plugin = "p".parse().unwrap();
    let quota = Quota { blobs_bytes: 10, ..Quota::default() };
    let put = |broker: &Arc<dyn Broker>, contents: &[&[u8]]| Changes {
        blobs: contents.iter().map(|content| BlobChange::Put(info(content))).collect(),
        staged: contents.iter().map(|content| broker.blobs().write(content).unwrap()).collect(),
        quota,
        ..Changes::default()
    };
    let delete = |content: &[u8]| Changes {
        blobs: vec![BlobChange::Delete(Digest::of(content))],
        ..Changes::default()
    };
    let broker = disk.open();
    let kept = |broker: &Arc<dyn Broker>| broker.blobs().kept_bytes(&plugin).unwrap();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();

    let two = vec![put(&broker, &[b"1234"]), put(&broker, &[b"1234567"])];
    assert_eq!(settle_together(&broker, two).await, [Settled::Committed, RETRIED]);
    assert_eq!(kept(&broker), 4);
    assert!(broker.blobs().read(&Digest::of(b"1234567")).unwrap().is_none());
    // Identical content counts once, within one delivery and across two.
    let two = vec![put(&broker, &[b"12345", b"12345"]), put(&broker, &[b"12345", b"1"])];
    assert_eq!(settle_together(&broker, two).await, [Settled::Committed, Settled::Committed]);
    assert_eq!(kept(&broker), 10);
    drop(broker);

    let broker = disk.open();
    assert_eq!(kept(&broker), 10);
    // Deleting a blob that the plugin doesn't hold frees no quota.
    let two = vec![delete(b"never put"), put(&broker, &[b"x"])];
    assert_eq!(settle_together(&broker, two).await, [Settled::Committed, RETRIED]);
    let again = vec![delete(b"1234"), delete(b"1234"), put(&broker, &[b"abcd"])];
    assert_eq!(settle_together(&broker, again).await, [const { Settled::Committed }; 3]);
    assert_eq!(kept(&broker), 10);
    assert_eq!(settle_together(&broker, vec![put(&broker, &[b"x"])]).await, [RETRIED]);
}
