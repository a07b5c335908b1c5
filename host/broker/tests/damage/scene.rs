//! A store with data in each of its tables, in journals as well as in table files.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use usher_broker::traits::*;
use usher_broker::{
    Beside, Changes, Disposition, EmbeddedBroker, Lease, ManualClock, NewEvent, Options, Order,
    RetryPolicy, Settled, Settlement, Start, Subscription,
};
use usher_event::{
    BlobChange, BlobInfo, Digest, Event, Failure, FailureClass, StateAddress, StateWrite,
    SubscriptionName, Value,
};
use usher_filter::Filter;

const START_MS: u64 = 1_800_000_000_000;

/// Opens a folder as a router does.
pub(crate) fn open(folder: &Path) -> Result<Arc<EmbeddedBroker>, usher_broker::OpenError> {
    let mut options = Options::new(folder);
    options.clock = Arc::new(ManualClock::at(START_MS));
    options.seed = 7;
    options.duplicates_window_events = 1_000;
    options.disk_reserve_bytes = 0;
    EmbeddedBroker::open(options)
}

pub(crate) fn name(name: &str) -> SubscriptionName {
    name.parse().unwrap()
}

/// Events of one type and many sizes, with ids prefixed by `word`.
pub(crate) fn events(word: &str, count: usize) -> Vec<Event> {
    let event = |number: usize| {
        Event::builder(format!("{word}-{number}"), "/tests", "a")
            .subject(format!("s{}", number % 3))
            .extension("correlationid", Value::String(format!("flow-{word}-{number}")))
            .data(vec![b'a' + (number % 26) as u8; number * 37 % 900])
            .build()
            .unwrap()
    };
    (0..count).map(event).collect()
}

pub(crate) fn subscription(name_of: &str, order: Order) -> Subscription {
    Subscription {
        name: name(name_of),
        filter: Filter::parse(r#"{"exact":{"type":"a"}}"#).unwrap(),
        start: Start::Earliest,
        order,
        retry: RetryPolicy { jitter: 0.0, ..RetryPolicy::default() },
        max_in_flight: 64,
        pace: Default::default(),
        projection: Default::default(),
        expires: false,
    }
}

pub(crate) fn settlement(lease: &Lease, disposition: Disposition) -> Settlement {
    Settlement {
        subscription: lease.delivery.subscription.clone(),
        sequence: lease.delivery.sequence,
        token: lease.token,
        digest: Some(Digest::of(b"plugin")),
        version: Some("1.0.0".into()),
        took: Duration::from_micros(42),
        disposition,
    }
}

/// Adds nothing to a backup of the store.
pub(crate) fn nothing() -> Beside {
    Box::new(|_| Ok(0))
}

fn failure(reason: &str) -> Failure {
    Failure {
        class: FailureClass::Trap,
        reason: reason.into(),
        backtrace: Some("0: f".into()),
        recording: None,
    }
}

/// What an acknowledged delivery changes: an emission, a delayed one, a state write, a blob.
fn changes(broker: &EmbeddedBroker, lease: &Lease) -> Changes {
    let sequence = lease.delivery.sequence;
    let emission = |position: usize| {
        let id = format!("{sequence}/{position}");
        let source = format!("/plugins/{}", lease.delivery.subscription.plugin());
        Event::builder(id, source, "b").data("emitted").build().unwrap()
    };
    let content = Bytes::from(format!("content {sequence}").repeat(20));
    let staged = broker.blobs().write(&content).unwrap();
    let digest = staged.digest();
    let size_bytes = content.len() as u64;
    let info = BlobInfo { digest, size_bytes, content_type: "text/plain".into() };
    let address = StateAddress {
        plugin: lease.delivery.subscription.plugin().parse().unwrap(),
        bucket: "b".into(),
        key: format!("k{sequence}").into(),
    };
    Changes {
        emissions: vec![
            NewEvent { event: emission(0), delay: None },
            NewEvent { event: emission(1), delay: Some(Duration::from_secs(3_600)) },
        ],
        writes: vec![StateWrite { address, value: Some(content), previous_bytes: None }],
        blobs: vec![BlobChange::Put(info)],
        staged: vec![staged],
        ..Changes::default()
    }
}

/// Publishes events, and settles deliveries in every possible way.
pub(crate) async fn work(broker: &EmbeddedBroker, word: &str) {
    for (name, order) in [("p/free", Order::None), ("q/keyed", Order::Key("subject".into()))] {
        broker.subscribe(subscription(name, order)).await.unwrap();
    }
    for batch in events(word, 48).chunks(6) {
        broker.publish(batch.to_vec()).await.unwrap();
    }
    for subscription in ["p/free", "q/keyed"] {
        let leases = broker.lease(&name(subscription), 9).await.unwrap();
        for (position, lease) in leases.iter().enumerate() {
            let disposition = match position % 4 {
                0 | 1 => Disposition::Ack(changes(broker, lease)),
                2 => Disposition::Retry { failure: failure("not now"), after: None },
                _ => Disposition::Reject { failure: failure("never") },
            };
            let settled = broker.settle(vec![settlement(lease, disposition)]).await.unwrap();
            assert!(!matches!(settled[0], Settled::Stale | Settled::Conflict), "{settled:?}");
        }
    }
}

/// Makes a closed store: a copy of one in use, so that each table has a file, with newer data in a
/// journal.
pub(crate) async fn make(folder: &Path) {
    let first = tempfile::tempdir().unwrap();
    let broker = open(first.path()).unwrap();
    work(&broker, "first").await;
    broker.backup(folder.to_owned(), None, nothing()).await.unwrap();
    drop(broker);
    let broker = open(folder).unwrap();
    work(&broker, "second").await;
    broker.close().await.unwrap();
    drop(broker);
    // Opening truncates the zeroes that a new journal is filled with.
    drop(open(folder).unwrap());
}

/// Copies a folder recursively.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files below a folder, recursively.
pub(crate) fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// All files below a folder, with their contents.
pub(crate) fn contents_of_files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    files(folder).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}
