//! A plugin that keeps failing, as its operator and its neighbours see it.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Folder, Router, usher};

use crate::scene::{Scene, event, types};

/// Quick probes, and a quarantine that comes soon enough for a test.
const TABLES: &str = "[retry]\nfirst_delay_ms = 10\nmax_attempts = 3\n\
    [plugin.trap.breaker]\nfirst_wait_ms = 10\nmax_wait_ms = 10\nquarantine_failures = 8\n";

fn batch(ty: &str, from: u64, count: u64) -> Vec<Value> {
    (from..from + count).map(|n| event(ty, &format!("{ty}-{n}"), &json!({}))).collect()
}

#[test]
fn a_plugin_that_fails_at_everything_is_quarantined_and_its_neighbour_never_notices() -> Result<()>
{
    let Scene { router, folder } = Scene::with(TABLES, &["trap", "echo"])?;
    router.client().publish_batch(&batch("test.trap", 0, 50))?;
    let trap = router.client().wait_for_plugin("trap", "quarantined")?;
    let reason = trap["reason"].as_str().context("no reason")?;
    assert!(reason.starts_with("9 events failed within 60 s"), "{reason}");
    assert!(reason.contains("usher plugins release trap"), "{reason}");
    let subscription = router.client().subscription("trap/trap")?.context("no subscription")?;
    assert_eq!(subscription["state"], "paused", "{subscription}");

    let reported = usher_tests::wait_for("the quarantine to be reported", || {
        Ok(router.client().events_of_type("dev.usher.plugin.quarantined")?.pop())
    })?;
    assert_eq!(reported["event"]["source"], "/usher");
    assert_eq!(reported["event"]["subject"], "trap");
    assert_eq!(reported["event"]["data"]["class"], "trap", "{reported}");
    neighbour(&router, 1)?;

    // A restart changes nothing, and reports nothing twice.
    router.stop()?;
    let router = Router::start(&folder)?;
    router.client().wait_for_plugin("trap", "quarantined")?;
    neighbour(&router, 2)?;
    let reports = router.client().events_of_type("dev.usher.plugin.quarantined")?;
    assert_eq!(reports.len(), 1, "{reports:?}");

    released(&folder, &router)
}

/// An operator releases it; it fails again and is quarantined again.
fn released(folder: &Folder, router: &Router) -> Result<()> {
    let url = router.url();
    let done = usher(&["plugins", "release", "trap", "--url", url], b"")?;
    assert_eq!((done.code, &*done.stdout), (0, "plugin trap released\n"), "{done:?}");
    usher_tests::wait_for("the second report", || {
        let reports = router.client().events_of_type("dev.usher.plugin.quarantined")?;
        Ok((reports.len() == 2).then_some(()))
    })?;
    let audit = usher(&["audit", "--json", "--url", url], b"")?.json()?;
    let last = audit["records"].as_array().context("no records")?.last().cloned();
    let last = last.context("nothing is recorded")?;
    assert_eq!((&last["action"], &last["plugin"]), (&json!("release"), &json!("trap")), "{last}");
    // Without its file it is merely removed.
    std::fs::remove_file(folder.plugins().join("trap.wasm"))?;
    router.client().wait_for_plugin("trap", "removed")?;
    neighbour(router, 3)
}

fn neighbour(router: &Router, round: u64) -> Result<()> {
    for receipt in router.client().publish_batch(&batch("test.echo", round * 100, 20))? {
        let flow = router.client().settled_flow(receipt.sequence)?;
        assert_eq!(types(&flow), ["test.echo", "test.echoed"]);
    }
    Ok(())
}

#[test]
fn a_paused_plugin_waits_across_a_restart_until_it_is_resumed() -> Result<()> {
    let Scene { router, folder } = Scene::with("", &["echo"])?;
    let paused = usher(&["plugins", "pause", "echo", "--url", router.url()], b"")?;
    assert_eq!((paused.code, &*paused.stdout), (0, "plugin echo paused\n"), "{paused:?}");
    let again = usher(&["plugins", "pause", "echo", "--url", router.url()], b"")?;
    assert!(again.code == 1 && again.stderr.contains("paused already"), "{again:?}");
    let receipt = router.client().publish_new("test.echo", "1", &json!({}))?;
    router.stop()?;
    let router = Router::start(&folder)?;
    router.client().wait_for_plugin("echo", "paused")?;
    let flow = router.client().get_json(&format!("/flows/{}", receipt.sequence))?;
    assert_eq!((types(&flow).len(), &flow["settled"]), (1, &json!(false)), "{flow}");
    let resumed = usher(&["plugins", "resume", "echo", "--url", router.url(), "--json"], b"")?;
    assert_eq!(resumed.json()?["paused"], false, "{resumed:?}");
    assert_eq!(types(&router.client().settled_flow(receipt.sequence)?).len(), 2);
    Ok(())
}
