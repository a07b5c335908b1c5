//! Tables are derived: missing, damaged or old ones cost nothing but time; newer ones than the journal
//! tell that the journal has lost something.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use usher_broker::traits::*;
use usher_broker::{
    Changes, Disposition, EmbeddedBroker, ManualClock, OpenError, Options, Order, Retention,
};
use usher_event::{StateAddress, StateWrite};

use crate::{contents, scene};

async fn contents_of(data: &Path) -> Vec<String> {
    contents::read(&scene::open(data).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_made_anew() {
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("data");
    scene::make(&data).await;
    let expected = contents_of(&data).await;
    let tables = data.join("tables");
    let old = work.path().join("old");
    scene::copy(&tables, &old);
    fs::remove_dir_all(&tables).unwrap();
    assert_eq!(contents_of(&data).await, expected, "missing");
    for file in scene::files(&tables) {
        fs::write(file, b"damaged").unwrap();
    }
    assert_eq!(contents_of(&data).await, expected, "damaged");
    assert!(usher_broker::rebuild(&data).unwrap() > 0);
    assert_eq!(contents_of(&data).await, expected, "rebuilt");
    let broker = scene::open(&data).unwrap();
    scene::work(&broker, "third").await;
    let newer = contents::read(&broker).await.unwrap();
    drop(broker);
    fs::rename(&tables, work.path().join("new")).unwrap();
    scene::copy(&old, &tables);
    assert_eq!(contents_of(&data).await, newer, "older than the journal");

    // A journal that ends before them.
    let journal = data.join("journal");
    let before = work.path().join("journal");
    scene::copy(&journal, &before);
    let broker = scene::open(&data).unwrap();
    scene::work(&broker, "fourth").await;
    drop(broker);
    fs::remove_dir_all(&journal).unwrap();
    scene::copy(&before, &journal);
    let refused = scene::open(&data).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("the journal has lost something"), "{refused}");
}

/// Tables say which journal they come from; a journal without its segments is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_belong_to_their_journal() {
    let work = tempfile::tempdir().unwrap();
    let (data, other) = (work.path().join("data"), work.path().join("other"));
    scene::make(&data).await;
    let expected = contents_of(&data).await;
    drop(scene::open(&other).unwrap());
    for kind in ["another's", "a file", "empty files"] {
        fs::remove_dir_all(data.join("tables")).unwrap();
        match kind {
            "another's" => scene::copy(&other.join("tables"), &data.join("tables")),
            "a file" => fs::write(data.join("tables"), b"tables").unwrap(),
            _ => {
                scene::copy(&other.join("tables"), &data.join("tables"));
                for file in scene::files(&data.join("tables")) {
                    fs::write(file, b"").unwrap();
                }
            }
        }
        assert_eq!(contents_of(&data).await, expected, "{kind}");
    }
    fs::remove_dir_all(data.join("journal")).unwrap();
    let verified = usher_broker::verify(&data).unwrap();
    assert!(!verified.is_sound());
    let refused = scene::open(&data).unwrap_err();
    assert!(refused.to_string().contains("no journal"), "{refused}");
    assert!(!data.join("journal").exists());
}

/// Retention removes whole segments, and what is left is enough to make the tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_matters_of_a_segment_is_carried_forward() {
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("data");
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let open = |max_bytes| {
        let mut options = Options::new(&data);
        options.clock = Arc::clone(&clock) as Arc<dyn usher_broker::Clock>;
        options.seed = 7;
        options.disk_reserve_bytes = 0;
        options.duplicates_window_events = 100;
        options.retention = Retention { max_bytes, ..Retention::default() };
        EmbeddedBroker::open(options).unwrap()
    };
    let broker = open(Some(2 << 20));
    scene::work(&broker, "first").await;
    for subscription in ["p/free", "q/keyed"] {
        broker.unsubscribe(&scene::name(subscription)).await.unwrap();
    }
    let filler = |round: u64| {
        let event = |number: u64| {
            let id = format!("filler-{round}-{number}");
            let data = vec![b'a' + (number % 26) as u8; 60_000];
            usher_event::Event::builder(id, "/tests", "filler").data(data).build().unwrap()
        };
        (0..20).map(event).collect::<Vec<_>>()
    };
    for round in 0..12 {
        broker.publish(filler(round)).await.unwrap();
    }
    // Retention is looked at by the clock; space is given back behind that.
    let journal = data.join("journal");
    let begins_late = || {
        let first = scene::files(&journal)
            .into_iter()
            .find(|file| file.extension().is_some_and(|extension| extension == "segment"));
        !first.unwrap().ends_with("00000000000000000000.segment")
    };
    tokio::time::timeout(Duration::from_secs(30), async {
        let mut committed = broker.committed();
        for round in 100.. {
            clock.advance(2_000);
            broker.publish(filler(round)).await.unwrap();
            if begins_late() {
                break;
            }
            committed.changed().await.unwrap();
        }
    })
    .await
    .unwrap();
    let seen = |broker: &EmbeddedBroker| {
        let stats = broker.stats();
        (stats.first_sequence, stats.last_sequence, stats.dead_letters, stats.delayed)
    };
    broker.close().await.unwrap();
    drop(broker);
    // Without retention nothing changes any more.
    let broker = open(None);
    let (numbers, expected) = (seen(&broker), contents::read(&broker).await.unwrap());
    assert!(numbers.0 > 1 && numbers.2 > 0 && numbers.3 > 0, "{numbers:?}");
    assert!(expected.iter().any(|line| line.contains("DeadLetter")));
    broker.close().await.unwrap();
    drop(broker);
    let verified = usher_broker::verify(&data).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
    fs::remove_dir_all(data.join("tables")).unwrap();
    let verified = usher_broker::verify(&data).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
    let broker = open(None);
    assert_eq!(seen(&broker), numbers);
    let found = contents::read(&broker).await.unwrap();
    assert!(found == expected, "{} lines of {}", found.len(), expected.len());
    drop(broker);
    // What was not given up can't be missing.
    let oldest = scene::files(&journal)
        .into_iter()
        .find(|file| file.extension().is_some_and(|extension| extension == "segment"));
    fs::remove_file(oldest.unwrap()).unwrap();
    let refused = EmbeddedBroker::open(Options::new(&data)).unwrap_err();
    assert!(refused.to_string().contains("its oldest segments are missing"), "{refused}");
}

/// State that is written over and over takes no more room than it is large, and what is left is enough
/// to make the tables; the recent past of it can still be asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_replaced_give_their_room_back() {
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("data");
    let open = || {
        let mut options = Options::new(&data);
        options.clock = Arc::new(ManualClock::at(1_800_000_000_000));
        options.disk_reserve_bytes = 0;
        // Segments of 1 MiB.
        options.retention = Retention { max_bytes: Some(8 << 20), ..Retention::default() };
        EmbeddedBroker::open(options).unwrap()
    };
    let broker = open();
    scene::work(&broker, "first").await;
    for subscription in ["p/free", "q/keyed"] {
        broker.unsubscribe(&scene::name(subscription)).await.unwrap();
    }
    let name = "r/state";
    broker.subscribe(scene::subscription(name, Order::None)).await.unwrap();
    let first = data.join("journal/00000000000000000000.segment");
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let value = |sequence: u64| Bytes::from(sequence.to_string().repeat(10_000));
    let mut rounds = 0;
    while rounds < 60 || size(&first) > 300_000 {
        assert!(rounds < 3_000, "nothing was given back");
        rounds += 1;
        broker.publish(scene::events(&format!("round-{rounds}"), 1)).await.unwrap();
        for lease in broker.lease(&scene::name(name), 1).await.unwrap() {
            let sequence = lease.delivery.sequence;
            let address = StateAddress {
                plugin: "r".parse().unwrap(),
                bucket: "b".into(),
                key: format!("k{}", sequence % 5).into(),
            };
            let before = broker.state().snapshot().get(&address).unwrap();
            let previous_bytes = before.map(|value| value.len() as u32);
            let writes = vec![StateWrite { address, value: Some(value(sequence)), previous_bytes }];
            let disposition = Disposition::Ack(Changes { writes, ..Changes::default() });
            broker.settle(vec![scene::settlement(&lease, disposition)]).await.unwrap();
        }
    }
    let last = broker.stats().last_sequence;
    let plugin = "r".parse().unwrap();
    let state = |at| broker.list_state(&plugin, None, 100, at);
    let now = state(None).await.unwrap();
    assert_eq!(now.len(), 5);
    let before = state(Some(last - 1)).await.unwrap();
    assert!(before.len() == 5 && before != now);
    let refused = state(Some(60)).await.map(|rows| rows.len());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("is not known"), "{refused}");
    let expected = contents::read(&broker).await.unwrap();
    broker.close().await.unwrap();
    drop(broker);
    let verified = usher_broker::verify(&data).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
    fs::remove_dir_all(data.join("tables")).unwrap();
    let broker = open();
    assert!(broker.list_state(&plugin, None, 100, None).await.unwrap() == now);
    let found = contents::read(&broker).await.unwrap();
    assert!(found == expected, "{} lines of {}", found.len(), expected.len());
}
