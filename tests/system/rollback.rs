//! A new version that fails its first deliveries is rolled back; an operator can roll one back,
//! too.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Folder, Router, guest, usher, wait_for};

use crate::scene::{Scene, event, types};

/// Number of echoes in a published batch.
const BATCH: u64 = 50;

/// Row 64 of the catalogue of hostile plugins: under load, no event is lost or handled twice, and
/// attempt counts show no retry.
#[test]
fn a_version_that_traps_at_its_first_deliveries_is_rolled_back_by_itself() -> Result<()> {
    let Scene { router, folder } = Scene::with("", &["echo"])?;
    let good = digest(&router)?;
    let mut published = 0;
    publish(&router, &mut published)?;
    folder.install(&guest("echo-trap")?, "echo.wasm")?;
    let refused = wait_for("the rollback", || {
        publish(&router, &mut published)?;
        let plugin = router.client().plugin("echo")?.context("no echo")?;
        Ok((!plugin["refused"].is_null()).then_some(plugin))
    })?;
    assert_eq!((&refused["state"], &refused["digest"]), (&json!("serving"), &good), "{refused}");
    let reason = refused["refused"]["reason"].as_str().context("no reason")?;
    assert!(reason.starts_with("rolled back: 5 of its first 5 deliveries failed"), "{reason}");
    publish(&router, &mut published)?;
    all_echoed_once(&router, published)?;

    let report = reports(&router)?.pop().context("it is not reported")?;
    assert_eq!(report["event"]["data"]["good"], good, "{report}");
    assert_eq!(report["event"]["subject"], "echo");
    assert_eq!(outcomes(&router)?, ["loaded", "loaded", "rolled_back"]);
    stays_off(&folder, router, &good)
}

/// The version stays off whatever happens, unless the file itself changes.
fn stays_off(folder: &Folder, router: Router, good: &Value) -> Result<()> {
    let path = folder.plugins().join("echo.wasm");
    let content = fs::read(&path)?;
    // Rewritten with the same bytes, it is the same version.
    fs::write(&path, &content)?;
    router.stop()?;
    let router = Router::start(folder)?;
    let plugin = router.client().wait_for_plugin("echo", "serving")?;
    assert_eq!(&plugin["digest"], good, "{plugin}");
    assert!(plugin["refused"]["reason"].is_string(), "{plugin}");
    let flow = router.client().publish_new("test.echo", "after", &json!({ "n": 0 }))?;
    let flow = router.client().settled_flow(flow.sequence)?;
    assert_eq!(types(&flow), ["test.echo", "test.echoed"]);
    assert_eq!(reports(&router)?.len(), 1);

    folder.install(&guest("echo-v2")?, "echo.wasm")?;
    let plugin = wait_for("the mended version", || {
        let plugin = router.client().plugin("echo")?.context("no echo")?;
        Ok((plugin["version"] == "2.0.0").then_some(plugin))
    })?;
    assert!(plugin["refused"].is_null(), "{plugin}");
    router.stop()
}

/// Loading at start and on a change share one code path.
#[test]
fn a_version_that_came_while_the_router_was_down_is_on_trial_too() -> Result<()> {
    let Scene { router, folder } = Scene::with("", &["echo"])?;
    let good = digest(&router)?;
    wait_for("the version to be kept", || {
        let kept = fs::read_dir(folder.data().join("plugins"))?;
        let mut names = kept.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        let is_kept = |name: Result<String>| name.is_ok_and(|name| name.ends_with(".wasm"));
        Ok(names.any(is_kept).then_some(()))
    })?;
    router.stop()?;
    folder.install(&guest("echo-trap")?, "echo.wasm")?;
    let router = Router::start(&folder)?;
    let mut published = 0;
    publish(&router, &mut published)?;
    wait_for("the rollback", || Ok((digest(&router)? == good).then_some(())))?;
    all_echoed_once(&router, published)?;
    router.stop()
}

#[test]
fn an_operator_goes_back_one_version() -> Result<()> {
    let Scene { router, folder } = Scene::with("", &["echo"])?;
    let first = digest(&router)?;
    let run = |verb: &str| usher(&["plugins", verb, "echo", "--url", router.url()], b"");
    let refused = run("rollback")?;
    assert!(refused.code == 1 && refused.stderr.contains("no earlier version"), "{refused:?}");
    folder.install(&guest("echo-v2")?, "echo.wasm")?;
    wait_for("the second version", || Ok((digest(&router)? != first).then_some(())))?;
    let back = run("rollback")?;
    assert_eq!((back.code, &*back.stdout), (0, "plugin echo rolled back\n"), "{back:?}");
    assert_eq!(digest(&router)?, first);
    let history = run("history")?;
    assert!(history.stdout.contains("an operator rolled it back"), "{history:?}");
    assert_eq!(outcomes(&router)?, ["loaded", "loaded", "rolled_back"]);
    router.stop()
}

fn publish(router: &Router, published: &mut u64) -> Result<()> {
    let events: Vec<Value> = (*published..*published + BATCH)
        .map(|n| event("test.echo", &n.to_string(), &json!({ "n": n })))
        .collect();
    router.client().publish_batch(&events)?;
    *published += BATCH;
    Ok(())
}

/// Every published event has exactly one echo, and no failed attempt was counted.
fn all_echoed_once(router: &Router, published: u64) -> Result<()> {
    let echoed = wait_for("every event to be echoed", || {
        let echoed = router.client().events_of_type("test.echoed")?;
        Ok((echoed.len() as u64 >= published).then_some(echoed))
    })?;
    let mut echoes: BTreeMap<u64, u64> = BTreeMap::new();
    for stored in echoed {
        let n = stored["event"]["data"]["n"].as_u64().context("no number")?;
        *echoes.entry(n).or_default() += 1;
    }
    assert_eq!(echoes.len() as u64, published, "events were lost");
    assert!(echoes.values().all(|count| *count == 1), "events were doubled");
    let subscription = router.client().subscription("echo/echo")?.context("no subscription")?;
    assert_eq!((&subscription["failed"], &subscription["dead"]), (&json!(0), &json!(0)));
    Ok(())
}

fn digest(router: &Router) -> Result<Value> {
    Ok(router.client().plugin("echo")?.map_or(Value::Null, |plugin| plugin["digest"].clone()))
}

fn reports(router: &Router) -> Result<Vec<Value>> {
    wait_for("the report", || {
        let reports = router.client().events_of_type("dev.usher.plugin.rolled-back")?;
        Ok((!reports.is_empty()).then_some(reports))
    })
}

fn outcomes(router: &Router) -> Result<Vec<String>> {
    let history = router.client().get_json("/plugins/echo/history")?;
    let history = history["history"].as_array().context("no history")?;
    Ok(history.iter().filter_map(|past| Some(past["outcome"].as_str()?.to_owned())).collect())
}
