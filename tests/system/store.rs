//! The data folder: copied while in use, checked, refused when damaged.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Finished, Folder, Router, usher};

use crate::scene::{Scene, event};

fn verify(folder: &Path) -> Result<Finished> {
    usher(&[Path::new("store"), Path::new("verify"), folder, Path::new("--json")], b"")
}

fn backup(router: &Router, to: &Path) -> Result<Finished> {
    let to = to.to_str().context("not UTF-8")?;
    usher(&["store", "backup", to, "--json", "--url", router.url()], b"")
}

/// Waits for the log message about recovery.
fn recovery(router: &Router) -> Result<String> {
    router.wait_for_log("what recovery found", |line| {
        let message = line["fields"]["message"].as_str()?;
        message.starts_with("recovery: ").then(|| message.to_owned())
    })
}

/// The segment that is written to.
fn newest_journal(folder: &Folder) -> Result<PathBuf> {
    let entries = fs::read_dir(folder.data().join("journal"))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let journals =
        paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "segment"));
    journals.max().context("no segment")
}

/// Invariant 1: a backup contains everything acknowledged before it began, and a router continues
/// from it.
#[test]
fn a_router_goes_on_from_a_backup_made_under_load() -> Result<()> {
    let scene = Scene::with("", &["emit"])?;
    for n in 0..50 {
        scene.client().publish_new("t", &format!("before-{n}"), &json!({ "n": n }))?;
    }
    let before = scene.client().get_json("/events?max=1000")?["last"].as_u64().unwrap();
    let restored = Folder::new()?;
    let running = AtomicBool::new(true);
    let made = thread::scope(|scope| {
        let publisher = scope.spawn(|| -> Result<()> {
            let mut n = 0;
            while running.load(Ordering::Relaxed) {
                scene.client().publish_new("t", &format!("meanwhile-{n}"), &json!({}))?;
                n += 1;
            }
            Ok(())
        });
        let made = backup(&scene.router, &restored.data());
        running.store(false, Ordering::Relaxed);
        publisher.join().unwrap()?;
        made
    })?;
    assert_eq!(made.code, 0, "{made:?}");
    let last = made.json()?["last_sequence"].as_u64().context("no last_sequence")?;
    assert!(last >= before, "{made:?}, but {before} events were there");

    let checked = verify(&restored.data())?;
    assert_eq!((checked.code, &checked.json()?["sound"]), (0, &json!(true)), "{checked:?}");
    restored.install_guests(&["emit"])?;
    let router = Router::start(&restored)?;
    router.client().wait_for_plugin("emit", "serving")?;
    for n in 0..50 {
        let again =
            router.client().publish(&event("t", &format!("before-{n}"), &json!({ "n": n })))?;
        assert!(again.duplicate, "before-{n} is not in the backup");
    }
    let next = router.client().publish_new("t", "after", &json!({}))?;
    router.client().settled_flow(next.sequence)?;
    router.stop()?;
    let checked = verify(&restored.data())?;
    assert_eq!(checked.code, 0, "{checked:?}");
    scene.router.stop()
}

/// Decisions about plugins, by an operator or by the router, survive a restore.
#[test]
fn a_paused_and_a_quarantined_plugin_are_so_after_a_restore() -> Result<()> {
    const TABLES: &str = "[retry]\nfirst_delay_ms = 10\nmax_attempts = 3\n\
        [plugin.trap.breaker]\nfirst_wait_ms = 10\nmax_wait_ms = 10\nquarantine_failures = 8\n";
    let Scene { router, folder } = Scene::with(TABLES, &["trap", "echo"])?;
    let events: Vec<_> = (0..50).map(|n| event("test.trap", &n.to_string(), &json!({}))).collect();
    router.client().publish_batch(&events)?;
    router.client().wait_for_plugin("trap", "quarantined")?;
    // Both are persisted before they are reported.
    usher_tests::wait_for("the quarantine to be reported", || {
        Ok(router.client().events_of_type("dev.usher.plugin.quarantined")?.pop())
    })?;
    let paused = usher(&["plugins", "pause", "echo", "--url", router.url()], b"")?;
    assert_eq!(paused.code, 0, "{paused:?}");
    let history = router.client().get_json("/plugins/echo/history")?;

    let restored = Folder::new()?;
    let made = backup(&router, &restored.data())?;
    assert_eq!(made.code, 0, "{made:?}");
    router.stop()?;
    drop(folder);
    let checked = verify(&restored.data())?;
    assert_eq!(checked.code, 0, "{checked:?}");

    restored.install_guests(&["trap", "echo"])?;
    let router = Router::start(&restored)?;
    router.client().wait_for_plugin("trap", "quarantined")?;
    router.client().wait_for_plugin("echo", "paused")?;
    let restored_history = router.client().get_json("/plugins/echo/history")?;
    let count = |history: &Value| history["history"].as_array().map_or(0, Vec::len);
    assert!(count(&history) > 0 && count(&restored_history) >= count(&history));
    let reports = router.client().events_of_type("dev.usher.plugin.quarantined")?;
    assert_eq!(reports.len(), 1, "{reports:?}");
    router.stop()
}

#[test]
fn a_backup_goes_to_a_new_folder_only() -> Result<()> {
    let scene = Scene::empty()?;
    let there = scene.folder.root().join("there");
    fs::create_dir(&there)?;
    let refused = backup(&scene.router, &there)?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("is there already"), "{refused:?}");
    let answer = scene.client().post("/backup?folder=relative")?;
    assert_eq!(answer.status, 400);
    let answer = scene.client().post(&format!("/backup?folder={}", there.display()))?;
    assert_eq!(answer.status, 409);
    assert_eq!(fs::read_dir(&there)?.count(), 0);
    scene.router.stop()
}

#[test]
fn verify_leaves_a_folder_in_use_alone() -> Result<()> {
    let scene = Scene::empty()?;
    let refused = verify(&scene.folder.data())?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("in use by process"), "{refused:?}");
    scene.router.stop()
}

/// Invariant 9: damage in the middle prevents the start, and the store is left unchanged.
#[test]
fn damage_refuses_the_start_and_names_the_place() -> Result<()> {
    let scene = Scene::empty()?;
    for n in 0..20 {
        scene.client().publish_new("t", &n.to_string(), &json!({ "n": n }))?;
    }
    scene.router.kill()?;
    let journal = newest_journal(&scene.folder)?;
    let whole = fs::read(&journal)?;
    let place = whole.windows(2).position(|two| two == b"\"1").unwrap_or(400) as u64;
    File::options().write(true).open(&journal)?.write_all_at(b"\xff", place)?;
    let damaged = fs::read(&journal)?;

    let run = usher(&[Path::new("run"), Path::new("--config"), &scene.folder.config()], b"")?;
    assert_eq!(run.code, 1, "{run:?}");
    let name = journal.file_name().unwrap().to_str().unwrap();
    assert!(run.stderr.contains(&format!("journal {name} at byte ")), "{run:?}");
    assert!(fs::read(&journal)? == damaged, "the journal was changed");
    let checked = verify(&scene.folder.data())?;
    assert_eq!(checked.code, 1, "{checked:?}");
    let problems = &checked.json()?["problems"];
    let words = problems[0]["what"].as_str().unwrap_or_default();
    assert!(words.starts_with(&format!("journal {name} at byte ")), "{problems}");

    fs::write(&journal, whole)?;
    let router = Router::start(&scene.folder)?;
    assert_eq!(router.client().get_json("/events")?["last"], json!(20));
    router.stop()
}

#[test]
fn recovery_says_what_it_found() -> Result<()> {
    let scene = Scene::empty()?;
    scene.client().publish_new("t", "1", &json!({}))?;
    scene.router.stop()?;
    let router = Router::start(&scene.folder)?;
    assert_eq!(recovery(&router)?, "recovery: clean; the store was closed");
    router.client().publish_new("t", "2", &json!({}))?;
    router.kill()?;
    // Half of a commit, as a crash leaves it.
    let journal = newest_journal(&scene.folder)?;
    let end = fs::read(&journal)?.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    // Records begin at multiples of eight bytes.
    let torn = [1, 9, 0, 0, 0, 0, 0, 7];
    let end = end.next_multiple_of(8) as u64;
    File::options().write(true).open(&journal)?.write_all_at(&torn, end)?;
    let checked = verify(&scene.folder.data())?;
    assert_eq!((checked.code, &checked.json()?["torn_bytes"]), (0, &json!(8)), "{checked:?}");

    let router = Router::start(&scene.folder)?;
    assert!(recovery(&router)?.starts_with("recovery: torn tail"));
    let bytes =
        router.wait_for_log("the bytes", |line: &Value| line["fields"]["bytes"].as_u64())?;
    assert_eq!(bytes, 8);
    assert_eq!(router.client().get_json("/events")?["last"], json!(2));
    router.stop()
}
