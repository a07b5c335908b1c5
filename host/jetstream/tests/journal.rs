//! The journal on a real server: what every provider does, and what several nodes make of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by failing what went wrong"
)]

#[path = "../../journal/tests/provider/mod.rs"]
mod provider;

use std::path::Path;
use std::time::Duration;

use provider::{append, does_what_a_journal_does, fill, positions};
use tempfile::TempDir;
use usher_jetstream::{JetStreamJournal, JetStreamOptions};
use usher_journal::{Entry, Journal, JournalError, LocalOptions};
use usher_tests::{NatsServer, wait_for};

/// A server, and folders of nodes.
struct Scene {
    server: NatsServer,
    folder: TempDir,
}

impl Scene {
    /// `None` where there is no server.
    fn new() -> Option<Self> {
        Self::with("sync_interval: always")
    }

    fn with(settings: &str) -> Option<Self> {
        let program = NatsServer::program()?;
        let folder = tempfile::tempdir().unwrap();
        let server = NatsServer::start(&program, folder.path(), settings).unwrap();
        Some(Self { server, folder })
    }

    fn options(&self, node: &str) -> JetStreamOptions {
        JetStreamOptions {
            stream: "tickets".to_owned(),
            replicas: 1,
            takeover_after: Duration::from_millis(500),
            ..JetStreamOptions::new([self.server.url()], node)
        }
    }

    fn try_node(&self, node: &str) -> Result<JetStreamJournal, JournalError> {
        let folder = self.folder.path().join(node);
        JetStreamJournal::open(&folder, LocalOptions::default(), self.options(node))
    }

    fn node(&self, node: &str) -> JetStreamJournal {
        self.try_node(node).unwrap()
    }
}

fn until_end(journal: &JetStreamJournal, end: u64) {
    wait_for("the replica to follow", || Ok((journal.end() >= end).then_some(()))).unwrap();
}

#[test]
fn does_what_a_journal_does_there_too() {
    let Some(scene) = Scene::new() else { return };
    does_what_a_journal_does(&scene.node("a"));
}

#[test]
fn a_node_follows_takes_over_and_fences_the_owner() {
    let Some(scene) = Scene::new() else { return };
    let (a, b) = (scene.node("a"), scene.node("b"));
    fill(&a, 50);
    until_end(&b, 50);
    assert_eq!(a.id(), b.id());
    assert_eq!(positions(&b, 0), (0..50).collect::<Vec<_>>());
    let refused = append(&b, 0, 50).unwrap_err();
    assert!(matches!(refused, JournalError::Fenced { .. }), "{refused}");

    let epoch = b.claim().unwrap();
    append(&b, epoch, 50).unwrap();
    // The former owner doesn't know yet.
    let fenced = append(&a, epoch - 1, 50).unwrap_err();
    assert!(fenced.to_string().contains(&format!("epoch {epoch} has begun")), "{fenced}");
    append(&a, epoch - 1, 50).unwrap_err();
    assert_eq!(a.end(), 50);
    fill(&b, 60);
    drop(a);
    let a = scene.node("a");
    assert_eq!(positions(&a, 0), (0..60).collect::<Vec<_>>());
}

/// Both want it, and one gets it: a claim that another's came before says so.
#[test]
fn of_two_claims_at_once_one_holds() {
    let Some(scene) = Scene::new() else { return };
    let nodes = ["a", "b", "c"].map(|node| scene.node(node));
    let epochs: Vec<_> = std::thread::scope(|scope| {
        let claims = nodes.each_ref().map(|node| scope.spawn(|| node.claim()));
        claims.map(|claim| claim.join().unwrap()).into_iter().collect()
    });
    let newest = epochs.iter().flatten().max().copied().unwrap();
    let mut written = 0;
    for (node, epoch) in nodes.iter().zip(&epochs) {
        match epoch {
            Ok(epoch) => {
                let appended = append(node, *epoch, 0);
                assert_eq!(appended.is_ok(), *epoch == newest, "{epochs:?}: {appended:?}");
                written += usize::from(appended.is_ok());
            }
            Err(error) => assert!(matches!(error, JournalError::Fenced { .. }), "{error}"),
        }
    }
    assert_eq!(written, 1);
}

/// Longer than a message may be, and larger than all that the server takes at once.
#[test]
fn a_long_record_goes_in_parts() {
    let Some(scene) = Scene::new() else { return };
    let (a, b) = (scene.node("a"), scene.node("b"));
    let long: Vec<u8> = (0..5 * 1_024 * 1_024_u32).map(|n| (n % 251) as u8).collect();
    let epoch = a.claim().unwrap();
    let entry = Entry { first_sequence: 1, events: 1, payload: &[&long, b"end"] };
    a.append(epoch, 0, &entry).unwrap();
    until_end(&b, 1);
    for journal in [&a, &b] {
        let record = journal.read(0, 1).unwrap().next().unwrap().unwrap();
        assert_eq!(
            (record.payload.len(), &record.payload[..long.len()]),
            (long.len() + 3, &long[..])
        );
    }
}

/// An append waits while the server is gone, and is there once when it is back.
#[test]
fn a_server_that_is_gone_for_a_while_loses_nothing() {
    let Some(mut scene) = Scene::new() else { return };
    let (a, b) = (scene.node("a"), scene.node("b"));
    fill(&a, 20);
    let epoch = a.claim().unwrap();
    scene.server.kill().unwrap();
    std::thread::scope(|scope| {
        let appended = scope.spawn(|| append(&a, epoch, 20));
        scene.server.start_again().unwrap();
        appended.join().unwrap().unwrap();
    });
    until_end(&b, 21);
    assert_eq!(positions(&b, 0), (0..21).collect::<Vec<_>>());
    // Who is to stop doesn't wait.
    scene.server.kill().unwrap();
    std::thread::scope(|scope| {
        let appended = scope.spawn(|| append(&a, epoch, 21));
        a.stop();
        let stopped = appended.join().unwrap().unwrap_err();
        assert!(stopped.to_string().contains("stopped while"), "{stopped}");
    });
}

/// What a replica lacks is fetched; what was given up meanwhile makes it begin anew.
#[test]
fn a_node_that_was_away_catches_up() {
    let Some(scene) = Scene::new() else { return };
    let local = LocalOptions { segment_bytes: 1 };
    let open = |node: &str| {
        JetStreamJournal::open(&scene.folder.path().join(node), local, scene.options(node)).unwrap()
    };
    let (a, b) = (open("a"), open("b"));
    fill(&a, 10);
    until_end(&b, 10);
    drop(b);
    let epoch = a.claim().unwrap();
    let long = vec![7; 600_000];
    for position in 10..20 {
        let first_sequence = provider::first_sequence(position);
        let entry = Entry { first_sequence, events: provider::events(position), payload: &[&long] };
        a.append(epoch, position, &entry).unwrap();
    }
    let b = open("b");
    assert_eq!((b.start(), b.end()), (0, 20));
    drop(b);
    let start = a.trim(15).unwrap();
    assert!(start > 10, "{start}");
    let (b, c) = (open("b"), open("c"));
    assert_eq!((b.start(), b.end()), (0, 20));
    assert_eq!((c.start(), c.end()), (start, 20));
    std::fs::remove_dir_all(scene.folder.path().join("b")).unwrap();
    drop((a, c));
    let c = open("c");
    assert_eq!((c.start(), c.end()), (start, 20));
}

/// A writer that was interrupted left parts behind: they don't count as the blob.
#[test]
fn a_blob_of_which_a_part_is_missing_is_written_again() {
    let Some(scene) = Scene::new() else { return };
    let (a, b) = (scene.node("a"), scene.node("b"));
    let epoch = a.claim().unwrap();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let client = async_nats::connect(scene.server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let part = async_nats::jetstream::message::PublishMessage::build()
            .header("Usher-Part", "1/2")
            .payload("be".into());
        let subject = format!("usher.blob.tickets.begun.{epoch}");
        let sent = context.send_publish(subject, part).await.unwrap();
        sent.await.unwrap();
    });
    for node in [&a, &b] {
        assert_eq!(node.blobs().unwrap(), ["begun"]);
        assert_eq!(node.blob("begun").unwrap(), None);
    }
    assert!(!a.has_put_blob("begun"));
    a.put_blob("begun", b"begun").unwrap();
    assert!(a.has_put_blob("begun"));
    assert_eq!(b.blob("begun").unwrap().as_deref(), Some(&b"begun"[..]));
}

#[test]
fn owners_tell_that_they_are_there_and_that_they_leave() {
    let Some(scene) = Scene::new() else { return };
    let (a, b) = (scene.node("a"), scene.node("b"));
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Nobody is the owner.
    executor.block_on(b.until_vacant());
    a.claim().unwrap();
    let owner = wait_for("the owner to be heard", || Ok(b.owner())).unwrap();
    assert_eq!((owner.node.as_str(), owner.epoch, owner.is_leaving), ("a", 1, false));
    executor.block_on(async {
        let vacant = tokio::time::timeout(Duration::from_secs(2), b.until_vacant()).await;
        vacant.unwrap_err();
    });
    a.close().unwrap();
    executor.block_on(b.until_vacant());
    assert!(b.owner().unwrap().is_leaving);
}

/// A node that decided to take over, and is slow, leaves an owner alone that was faster, or that it just
/// didn't hear.
#[test]
fn who_is_late_overtakes_nobody() {
    let Some(scene) = Scene::new() else { return };
    let [a, b, c] = ["a", "b", "c"].map(|node| scene.node(node));
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(b.until_vacant());
    let epoch = a.claim().unwrap();
    let fenced = b.claim().unwrap_err();
    assert!(matches!(fenced, JournalError::Fenced { newer, .. } if newer == epoch), "{fenced}");
    // As one that heard nothing of an epoch that it knows.
    wait_for("the claim to be followed", || Ok(c.owner())).unwrap();
    let deaf = JetStreamOptions { takeover_after: Duration::ZERO, ..scene.options("d") };
    let folder = scene.folder.path().join("d");
    let deaf = JetStreamJournal::open(&folder, LocalOptions::default(), deaf).unwrap();
    executor.block_on(deaf.until_vacant());
    let fenced = deaf.claim().unwrap_err();
    assert!(matches!(fenced, JournalError::Fenced { newer, .. } if newer == epoch), "{fenced}");
    append(&a, epoch, 0).unwrap();
}

/// Blobs are there for every node, and go only with the owner who wrote them last.
#[test]
fn a_blob_is_found_by_every_node_and_removed_by_none_that_was_overtaken() {
    let Some(scene) = Scene::new() else { return };
    let (a, b) = (scene.node("a"), scene.node("b"));
    a.claim().unwrap();
    let long: Vec<u8> = (0..3 * 1_024 * 1_024_u32).map(|n| (n % 251) as u8).collect();
    for (name, content) in [("long", &long[..]), ("empty", b""), ("short", b"x")] {
        assert_eq!(b.blob(name).unwrap(), None);
        a.put_blob(name, content).unwrap();
        a.put_blob(name, content).unwrap();
        assert_eq!(b.blob(name).unwrap().as_deref(), Some(content), "{name}");
    }
    b.claim().unwrap();
    b.put_blob("short", b"x").unwrap();
    // The former owner doesn't know yet.
    a.remove_blob("short").unwrap();
    a.remove_blob("empty").unwrap();
    let c = scene.node("c");
    assert_eq!(c.blob("short").unwrap().as_deref(), Some(&b"x"[..]));
    assert_eq!(c.blob("empty").unwrap(), None);
    let mut names = c.blobs().unwrap();
    names.sort();
    assert_eq!(names, ["long", "short"]);
    b.remove_blob("short").unwrap();
    assert_eq!(scene.node("d").blobs().unwrap(), ["long"]);
}

#[test]
fn a_stream_that_is_not_this_journals_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let context = executor.block_on(async {
        async_nats::jetstream::new(async_nats::connect(scene.server.url()).await.unwrap())
    });
    // Somebody else's.
    executor.block_on(async {
        let config = async_nats::jetstream::stream::Config {
            name: "tickets".to_owned(),
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
    });
    let refused = scene.try_node("a").unwrap_err();
    assert!(refused.to_string().contains("is not a journal of Usher"), "{refused}");
    executor.block_on(context.delete_stream("tickets")).unwrap();

    let a = scene.node("a");
    fill(&a, 5);
    // With a limit that loses records.
    executor.block_on(async {
        let stream = context.get_stream("tickets").await.unwrap();
        let mut config = stream.cached_info().config.clone();
        config.max_age = Duration::from_secs(3_600);
        context.update_stream(&config).await.unwrap();
    });
    let refused = scene.try_node("b").unwrap_err();
    assert!(refused.to_string().contains("max_age"), "{refused}");

    // Deleted while it is in use, and made anew by another node.
    executor.block_on(context.delete_stream("tickets")).unwrap();
    let b = scene.node("b");
    let epoch = a.claim().map(|_| ()).unwrap_err();
    assert!(epoch.to_string().contains("made anew"), "{epoch}");
    drop((a, b));
    let refused = scene.try_node("a").unwrap_err();
    assert!(refused.to_string().contains("another journal"), "{refused}");
}

/// The servers lost what they had acknowledged.
#[test]
fn a_stream_that_has_lost_its_end_is_refused() {
    let Some(mut scene) = Scene::with("sync_interval: always") else { return };
    let a = scene.node("a");
    fill(&a, 5);
    a.close().unwrap();
    drop(a);
    scene.server.kill().unwrap();
    let store = scene.folder.path().join("store");
    let backup = scene.folder.path().join("backup");
    copy(&store, &backup);
    scene.server.start_again().unwrap();
    let a = scene.node("a");
    fill(&a, 12);
    a.close().unwrap();
    drop(a);
    scene.server.kill().unwrap();
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&backup, &store).unwrap();
    scene.server.start_again().unwrap();
    let refused = scene.try_node("a").unwrap_err();
    assert!(refused.to_string().contains("old backup was restored"), "{refused}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(path, target).unwrap();
        }
    }
}
