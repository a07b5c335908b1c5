//! A data folder of format 3, as version 0.1.0 left it when it was killed: open deliveries, retries,
//! dead letters, delayed emissions, lanes, state, blobs and a schedule; and all it answered before.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use usher_broker::traits::*;
use usher_broker::{EmbeddedBroker, OpenError};

use crate::{contents, golden, scene};

/// The folder, and its contents.
fn unpack() -> (TempDir, PathBuf, Vec<String>) {
    let work = tempfile::tempdir().unwrap();
    let data = golden::unpack_format_3(work.path());
    let text = fs::read_to_string(data.with_extension("txt")).unwrap();
    (work, data, text.lines().map(str::to_owned).collect())
}

fn format(data: &Path) -> String {
    fs::read_to_string(data.join("format")).unwrap()
}

async fn is_all_there(data: &Path, expected: &[String]) -> std::sync::Arc<EmbeddedBroker> {
    let broker = scene::open(data).unwrap();
    let found = contents::read(&broker).await.unwrap();
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(format(data), "usher 4\n");
    assert!(data.join("log.v3").is_dir() && !data.join("log").exists());
    broker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_format_3_goes_on_where_it_was() {
    let (_work, data, expected) = unpack();
    let broker = is_all_there(&data, &expected).await;
    let stats = broker.stats();
    assert!(stats.dead_letters > 0 && stats.delayed > 0, "{stats:?}");
    // Deliveries that were under way are delivered again, and the window still knows its events.
    let first = broker.lease(&scene::name("p/free"), 1).await.unwrap();
    assert_eq!(first[0].delivery.attempt, 1);
    assert!(broker.publish(scene::events("first", 1)).await.unwrap()[0].duplicate);
    scene::work(&broker, "second").await;
    broker.close().await.unwrap();
    drop(broker);
    let verified = usher_broker::verify(&data).unwrap();
    assert!(verified.is_sound(), "{verified:#?}");
    // The way back, as docs/storage.md has it: the old database is as it was.
    for new in ["journal", "tables"] {
        fs::remove_dir_all(data.join(new)).unwrap();
    }
    fs::rename(data.join("log.v3"), data.join("log")).unwrap();
    fs::write(data.join("format"), "usher 3\n").unwrap();
    is_all_there(&data, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_was_interrupted_begins_again() {
    // Killed while the journal was written, and after it was renamed.
    for leftover in ["journal.new", "journal"] {
        let (_work, data, expected) = unpack();
        let half = data.join(leftover);
        fs::create_dir(&half).unwrap();
        fs::write(half.join("00000000000000000000.segment"), b"half").unwrap();
        drop(is_all_there(&data, &expected).await);
        assert!(!data.join("journal.new").exists());
    }
    // Killed after the format was written.
    let (_work, data, expected) = unpack();
    drop(is_all_there(&data, &expected).await);
    fs::rename(data.join("log.v3"), data.join("log")).unwrap();
    is_all_there(&data, &expected).await;
}

/// The way back, half gone: there is nothing to upgrade, and a journal that must not be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_format_without_its_database_is_refused() {
    let (_work, data, expected) = unpack();
    drop(is_all_there(&data, &expected).await);
    fs::write(data.join("format"), "usher 3\n").unwrap();
    let before = scene::contents_of_files(&data.join("journal"));
    let refused = scene::open(&data).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert_eq!(scene::contents_of_files(&data.join("journal")), before);
    fs::write(data.join("format"), "usher 4\n").unwrap();
    is_all_there(&data, &expected).await;
}

#[tokio::test]
async fn a_damaged_folder_of_format_3_is_refused_and_stays_as_it_is() {
    let (_work, data, _) = unpack();
    let refused = usher_broker::verify(&data).unwrap_err();
    assert!(matches!(refused, OpenError::OlderFormat { found: 3, .. }), "{refused}");
    let blob = scene::files(&data.join("blobs")).remove(0);
    fs::write(&blob, "something else").unwrap();
    let refused = scene::open(&data).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("its content has another digest"), "{refused}");
    assert!(data.join("log").is_dir() && !data.join("journal").exists());
    assert_eq!(format(&data), "usher 3\n");
}
