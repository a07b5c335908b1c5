//! How the embedded engine treats its files.

use std::path::Path;
use std::sync::Arc;

use usher_broker::traits::*;
use usher_broker::{
    BrokerError, Changes, EmbeddedBroker, ManualClock, MemoryDisk, OpenError, Options, Settled,
};
use usher_conformance::side_effects::{info, settle_together};
use usher_conformance::*;
use usher_event::{BlobChange, Quota};

/// Invariant 9: no operation runs on a store whose contents are unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_commit_poisons() {
    let disk = MemoryDisk::default();
    let broker: Arc<dyn Broker> = EmbeddedBroker::on(&disk, Options::new("unused")).unwrap();
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    publish(&broker, event("a", 1)).await;
    let mut poisoned = broker.poisoned();
    let taker = {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move {
            loop {
                broker.lease(&name("p/s"), 1).await?;
            }
        })
    };
    disk.fail_next_commit();
    let refused = broker.publish(vec![event("a", 2)]).await.unwrap_err();
    assert!(
        matches!(&refused, BrokerError::Poisoned(reason) if reason.contains("injected failure"))
    );
    soon(poisoned.wait_for(Option::is_some)).await.unwrap();
    let taker: Result<(), BrokerError> = soon(taker).await.unwrap();
    assert!(matches!(taker, Err(BrokerError::Poisoned(_))));
    for refused in [
        broker.publish(vec![event("a", 3)]).await.map(drop),
        broker.subscribe(to_type("p/t", "a")).await,
        broker.event(1).await.map(drop),
        broker.close().await,
    ] {
        assert!(matches!(refused, Err(BrokerError::Poisoned(_))), "{refused:?}");
    }
    drop(broker);
    let broker: Arc<dyn Broker> = EmbeddedBroker::on(&disk, Options::new("unused")).unwrap();
    assert_eq!(broker.stats().last_sequence, 1);
    assert_eq!(lease_one(&broker, "p/s").await.delivery.sequence, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_instance_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first: Arc<dyn Broker> = EmbeddedBroker::open(Options::new(folder.path())).unwrap();
    let refused = EmbeddedBroker::open(Options::new(folder.path())).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { pid: Some(_), .. }));
    drop(first);
    EmbeddedBroker::open(Options::new(folder.path())).unwrap();
}

/// Invariant 9: a process that dies while writing leaves half a batch at the end of the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_journal_is_cut_to_what_was_committed() {
    const BATCH: u64 = 4;
    let folder = tempfile::tempdir().unwrap();
    let broker: Arc<dyn Broker> = EmbeddedBroker::open(Options::new(folder.path())).unwrap();
    for batch in 0..5 {
        let batch = (0..BATCH).map(|id| event("a", batch * BATCH + id)).collect();
        soon(broker.publish(batch)).await.unwrap();
    }
    drop(broker);
    let files = std::fs::read_dir(folder.path().join("journal")).unwrap();
    let journal = files
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .unwrap();
    let whole = std::fs::read(&journal).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for lost in [1, 9, 60, 300] {
        let torn = folder.path().join(format!("torn-{lost}"));
        copy(folder.path(), &torn);
        let name = journal.file_name().unwrap();
        std::fs::write(torn.join("journal").join(name), &whole[..end - lost]).unwrap();
        // Invariant 9: a store that was closed has no torn tail; there it is damage.
        let refused = EmbeddedBroker::open(Options::new(&torn)).unwrap_err();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
        std::fs::remove_file(torn.join("journal").join("closed")).unwrap();
        // Tables that have what the journal hasn't say the same.
        let refused = EmbeddedBroker::open(Options::new(&torn)).unwrap_err();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
        std::fs::remove_dir_all(torn.join("tables")).unwrap();
        let broker: Arc<dyn Broker> = EmbeddedBroker::open(Options::new(&torn)).unwrap();
        let last = broker.stats().last_sequence;
        assert_eq!(last, 4 * BATCH, "the last batch is gone, and nothing else");
        for sequence in 1..=last {
            let stored = broker.event(sequence).await.unwrap().unwrap();
            assert_eq!(stored.event, event("a", sequence - 1));
        }
        assert_eq!(publish(&broker, event("a", "after")).await, last + 1);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name().to_string_lossy().starts_with("torn-") {
            continue;
        } else if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(source, target).unwrap();
        }
    }
}

/// Invariant 11: staged content that isn't committed is removed with its delivery, however it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_was_staged_in_vain_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(START_MS));
    let broker: Arc<dyn Broker> =
        EmbeddedBroker::open(Options { clock, ..Options::new(folder.path()) }).unwrap();
    let broker: Arc<dyn Broker> = broker;
    let blob_files = || {
        let shelves = std::fs::read_dir(folder.path().join("blobs")).unwrap();
        shelves
            .map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count())
            .sum::<usize>()
    };
    broker.subscribe(to_type("p/s", "a")).await.unwrap();
    let staged = |content: &[u8]| broker.blobs().write(content).unwrap();
    let gone = async || {
        soon(async {
            // Each answer follows a commit, after which the committer starts the cleanup.
            while blob_files() > 0 {
                broker.subscriptions().await.unwrap();
            }
        })
        .await;
    };
    let refused = Changes {
        blobs: vec![BlobChange::Put(info(b"too much"))],
        staged: vec![staged(b"too much")],
        quota: Quota { blobs_bytes: 1, ..Quota::default() },
        ..Changes::default()
    };
    assert_eq!(blob_files(), 1);
    let settled = settle_together(&broker, vec![refused]).await;
    assert_eq!(settled, [Settled::RetryAt(START_MS + 1_000)]);
    gone().await;

    // A trap: the content is not part of any settlement.
    let trapped = staged(b"trapped");
    assert_eq!(blob_files(), 1);
    drop(trapped);
    gone().await;
}
