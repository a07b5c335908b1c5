//! Copies of a store in use.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use usher_broker::traits::*;
use usher_broker::{Beside, BrokerError, Document, EmbeddedBroker, EventQuery, Options};

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
    let report = broker.backup(copy.clone(), None, nothing()).await.unwrap();
    publisher.await.unwrap();
    assert!(report.last_sequence >= before, "{report:?}");
    assert_eq!(report.folder, copy.canonicalize().unwrap());
    assert!(report.blobs > 0 && report.segments > 0 && report.linked_bytes == 0);
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

/// What a copy leaves out goes with its first commit, and only if nothing was committed to it before: a data
/// folder that was made from a backup and goes on keeps what it gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_leaves_out_what_it_is_told_to() {
    let work = tempfile::tempdir().unwrap();
    let (data, copy) = (work.path().join("data"), work.path().join("copy"));
    let kept = |content: &'static [u8]| {
        ["secret", "plain"]
            .map(|name| Document { name: name.into(), content: Some(Bytes::from_static(content)) })
    };
    let open = |folder: &Path| {
        let not_in_copies = vec!["secret".into()];
        EmbeddedBroker::open(Options { not_in_copies, ..Options::new(folder) }).unwrap()
    };
    let names = async |broker: &EmbeddedBroker| -> Vec<String> {
        broker.documents("").await.unwrap().into_keys().map(String::from).collect()
    };
    let broker = open(&data);
    broker.keep(kept(b"old").to_vec()).await.unwrap();
    broker.backup(copy.clone(), None, nothing()).await.unwrap();
    drop(broker);
    assert_eq!(names(&open(&data)).await, ["plain", "secret"], "it is no copy");
    let salvaged = work.path().join("salvaged");
    usher_broker::salvage(&copy, &salvaged).unwrap();
    for folder in [copy, salvaged] {
        // Killed before it committed anything.
        drop(open(&folder));
        let broker = open(&folder);
        broker.publish(scene::events("after", 1)).await.unwrap();
        assert_eq!(names(&broker).await, ["plain"], "{}", folder.display());
        broker.keep(kept(b"new").to_vec()).await.unwrap();
        drop(broker);
        assert_eq!(names(&open(&folder)).await, ["plain", "secret"], "{}", folder.display());
        assert!(!folder.join("copy").exists());
    }
}

/// A later copy shares what it has in common with an earlier one; each is whole without the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_shares_files_with_an_earlier_one() {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name);
    let open = |folder: &std::path::Path| {
        let mut options = usher_broker::Options::new(folder);
        options.disk_reserve_bytes = 0;
        // Segments of 1 MiB; nothing is old enough to go.
        options.retention.max_bytes = Some(8 << 20);
        usher_broker::EmbeddedBroker::open(options).unwrap()
    };
    let broker = open(&path("data"));
    scene::work(&broker, "before").await;
    let publish = async |word: &str, count: u64| {
        for number in 0..count {
            let event = usher_event::Event::builder(format!("{word}-{number}"), "/tests", "big");
            let event = event.data(vec![number as u8; 100_000]).build().unwrap();
            broker.publish(vec![event]).await.unwrap();
        }
    };
    publish("first", 25).await;
    let first = broker.backup(path("first"), None, nothing()).await.unwrap();
    assert!(first.segments == 3 && first.linked_bytes == 0, "{first:?}");
    publish("second", 12).await;
    scene::work(&broker, "second").await;
    let second = broker.backup(path("second"), Some(path("first")), nothing()).await.unwrap();
    assert!(second.segments > first.segments && second.blobs > first.blobs, "{second:?}");
    let new_bytes = second.bytes - second.linked_bytes;
    // Two segments, and the blobs.
    assert!(second.linked_bytes > 2_000_000 && new_bytes < 2_500_000, "{second:?}");
    let expected = contents::read(&broker).await.unwrap();
    broker.close().await.unwrap();

    // A router goes on from one of them; what the other has stays what it was.
    for name in ["second", "first"] {
        let verified = usher_broker::verify(&path(name)).unwrap();
        assert!(verified.is_sound(), "{name}: {verified:#?}");
    }
    let files = scene::contents_of_files(&path("first"));
    let restored = open(&path("second"));
    assert!(contents::read(&restored).await.unwrap() == expected);
    let publish = async |word: &str| {
        let event = usher_event::Event::builder(word, "/tests", "big");
        let event = event.data(vec![1; 250_000]).build().unwrap();
        restored.publish(vec![event]).await.unwrap();
    };
    for word in ["a", "b", "c", "d", "e", "f"] {
        publish(word).await;
    }
    // It has gone another way than the first since.
    restored.close().await.unwrap();
    assert!(scene::contents_of_files(&path("first")) == files);
    let diverged = open(&path("first"));
    let name = path("diverged");
    let shared = diverged.backup(name.clone(), Some(path("second")), nothing()).await.unwrap();
    assert!(shared.linked_bytes < second.linked_bytes + 100_000, "{shared:?}");
    let verified = usher_broker::verify(&name).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
    // Without the earlier one.
    fs::remove_dir_all(path("second")).unwrap();
    assert_eq!(open(&name).stats().last_sequence, first.last_sequence);

    let refused = async |base: std::path::PathBuf| {
        let made = diverged.backup(path("new"), Some(base), nothing()).await;
        assert!(!path("new").exists());
        made.unwrap_err().to_string()
    };
    assert!(refused("first".into()).await.contains("no absolute path"));
    assert!(refused(path("second")).await.contains("no earlier backup"));
    assert!(refused(path("first")).await.contains("the data folder itself"));
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
        let error = broker.backup(to.clone(), None, nothing()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{}: {error}", to.display());
    }
    // The copy contains what is written beside the store, or there is no copy.
    let failing = || -> Beside { Box::new(|_| Err(std::io::Error::other("no room"))) };
    let error = broker.backup(work.path().join("copy"), None, failing()).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Backup(words) if words.contains("no room")), "{error}");
    assert!(!work.path().join("copy").exists() && !work.path().join("copy.part").exists());
    let file = |folder: &std::path::Path| folder.join("beside");
    let beside: Beside = Box::new(move |folder| fs::write(file(folder), "12345").map(|()| 5));
    let (with, without) = (work.path().join("with"), work.path().join("without"));
    let more = broker.backup(with.clone(), None, beside).await.unwrap().bytes;
    assert_eq!(more, broker.backup(without, None, nothing()).await.unwrap().bytes + 5);
    assert_eq!(fs::read(file(&with)).unwrap(), b"12345");
    // A blob that fails its check can't be copied.
    let blob = scene::files(&data.join("blobs")).remove(0);
    fs::write(&blob, "something else").unwrap();
    let error = broker.backup(work.path().join("copy"), None, nothing()).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Backup(words) if words.contains("damaged")), "{error}");
    assert!(!work.path().join("copy").exists() && !work.path().join("copy.part").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_copy_at_a_time() {
    let work = tempfile::tempdir().unwrap();
    let broker = scene::open(&work.path().join("data")).unwrap();
    scene::work(&broker, "a").await;
    let copies = (0..4)
        .map(|number| broker.backup(work.path().join(format!("copy-{number}")), None, nothing()));
    let made = futures(copies.collect()).await;
    let refused = |made: &Result<_, BrokerError>| matches!(made, Err(BrokerError::Conflict(_)));
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
    assert_eq!(made.iter().filter(|made| refused(made)).count(), 3, "{made:?}");
    broker.backup(work.path().join("later"), None, nothing()).await.unwrap();
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
