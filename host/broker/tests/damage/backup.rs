//! Copies of a store in use.

use std::fs;

use usher_broker::traits::*;
use usher_broker::{Beside, BrokerError, EventQuery};

use crate::scene::nothing;
use crate::{contents, scene};

/// Invariant 1: a copy contains everything acknowledged before it was begun, and a broker continues
/// from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_made_under_load_is_whole() {
    let work = tempfile::tempdir().unwrap();
    let (data, copy) = (work.path().join("data"), work.path().join("copy"));
    let broker = scene::open(&data).unwrap();
    scene::work(&broker, "before").await;
    let before = broker.stats().last_sequence;

    let publisher = tokio::spawn({
        let broker = std::sync::Arc::clone(&broker);
        async move {
            for batch in scene::events("meanwhile", 400).chunks(4) {
                broker.publish(batch.to_vec()).await.unwrap();
            }
        }
    });
    let report = broker.backup(copy.clone(), nothing()).await.unwrap();
    publisher.await.unwrap();
    assert!(report.last_sequence >= before, "{report:?}");
    assert_eq!(report.folder, copy.canonicalize().unwrap());
    assert!(report.blobs > 0 && report.rows > report.last_sequence);
    assert!(!work.path().join("copy.part").exists());

    let verified = usher_broker::verify(&copy).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
    let restored = scene::open(&copy).unwrap();
    assert_eq!(restored.stats().last_sequence, report.last_sequence);
    let query = |max: u64| EventQuery { from: 1, max: max as usize, ..EventQuery::default() };
    let (old, new) = (
        broker.events(query(report.last_sequence)).await.unwrap().events,
        restored.events(query(1_000)).await.unwrap().events,
    );
    assert_eq!(format!("{old:?}"), format!("{new:?}"));
    contents::read(&restored).await.unwrap();
    // The copy recognises its events: a duplicate stays a duplicate, others are appended.
    let repeated = restored.publish(scene::events("before", 1)).await.unwrap();
    assert_eq!(repeated[0].sequence, 1);
    scene::work(&restored, "after").await;
    restored.close().await.unwrap();
    drop(restored);
    let verified = usher_broker::verify(&copy).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_a_copy_is_refused_and_leaves_nothing() {
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("data");
    let broker = scene::open(&data).unwrap();
    scene::work(&broker, "a").await;
    fs::create_dir(work.path().join("there")).unwrap();
    fs::create_dir(work.path().join("left.part")).unwrap();
    let cases = [
        ("relative".into(), "no absolute path"),
        (work.path().join("there"), "is there already"),
        (work.path().join("left"), "interrupted"),
        (data.join("inside"), "in the data folder itself"),
        (work.path().join("no/such/folder"), "cannot make a folder"),
    ];
    for (to, words) in cases {
        let error = broker.backup(to.clone(), nothing()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{}: {error}", to.display());
    }
    // The copy contains what is written beside the store, or there is no copy.
    let failing = || -> Beside { Box::new(|_| Err(std::io::Error::other("no room"))) };
    let error = broker.backup(work.path().join("copy"), failing()).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Backup(words) if words.contains("no room")), "{error}");
    assert!(!work.path().join("copy").exists() && !work.path().join("copy.part").exists());
    let file = |folder: &std::path::Path| folder.join("beside");
    let beside: Beside = Box::new(move |folder| fs::write(file(folder), "12345").map(|()| 5));
    let (with, without) = (work.path().join("with"), work.path().join("without"));
    let more = broker.backup(with.clone(), beside).await.unwrap().bytes;
    assert_eq!(more, broker.backup(without, nothing()).await.unwrap().bytes + 5);
    assert_eq!(fs::read(file(&with)).unwrap(), b"12345");
    // A blob that fails its check can't be copied.
    let blob = scene::files(&data.join("blobs")).remove(0);
    fs::write(&blob, "something else").unwrap();
    let error = broker.backup(work.path().join("copy"), nothing()).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Backup(words) if words.contains("damaged")), "{error}");
    assert!(!work.path().join("copy").exists() && !work.path().join("copy.part").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_copy_at_a_time() {
    let work = tempfile::tempdir().unwrap();
    let broker = scene::open(&work.path().join("data")).unwrap();
    scene::work(&broker, "a").await;
    let copies =
        (0..4).map(|number| broker.backup(work.path().join(format!("copy-{number}")), nothing()));
    let made = futures(copies.collect()).await;
    let refused = |made: &Result<_, BrokerError>| matches!(made, Err(BrokerError::Conflict(_)));
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
    assert_eq!(made.iter().filter(|made| refused(made)).count(), 3, "{made:?}");
    broker.backup(work.path().join("later"), nothing()).await.unwrap();
}

/// Polls all futures before the first one completes.
async fn futures<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs.into_iter().map(Option::unwrap).collect()
}
