//! Plugins replaced while they work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use serde_json::{Value, json};
use usher_tests::{guest, wait_for};

use crate::scene::{Scene, event};

const SWAPS: usize = 6;
const BATCH: usize = 25;

/// Invariant 12: each delivery was the work of one version.
#[test]
fn swaps_under_load_lose_and_double_nothing() -> Result<()> {
    let scene = Scene::with("", &["echo"])?;
    let versions = [guest("echo-v2")?, guest("echo")?];
    let done = AtomicBool::new(false);

    let published = thread::scope(|scope| -> Result<usize> {
        let producer = scope.spawn(|| -> Result<usize> {
            let mut published = 0;
            while !done.load(Ordering::Relaxed) {
                let batch: Vec<Value> = (published..published + BATCH)
                    .map(|n| event("test.echo", &n.to_string(), &json!({ "n": n })))
                    .collect();
                scene.client().publish_batch(&batch)?;
                published += BATCH;
            }
            Ok(published)
        });
        let swapped = (0..SWAPS).zip(versions.iter().cycle()).try_for_each(|(_, version)| {
            let before = digest(&scene)?;
            scene.folder.install(version, "echo.wasm")?;
            wait_for("the other version to serve", || {
                Ok((digest(&scene)? != before).then_some(()))
            })?;
            // Let it work: the swap is only worth something between two loads.
            let acked = acked(&scene)?;
            wait_for("it to handle events", || Ok((self::acked(&scene)? > acked).then_some(())))
        });
        done.store(true, Ordering::Relaxed);
        let published = producer.join().expect("the producer panicked")?;
        swapped.map(|()| published)
    })?;

    wait_for("every event to be handled", || {
        Ok((acked(&scene)? >= published as u64).then_some(()))
    })?;
    let mut echoes: BTreeMap<u64, usize> = BTreeMap::new();
    let mut by_second = 0;
    for stored in scene.client().events_of_type("test.echoed")? {
        let data = &stored["event"]["data"];
        *echoes.entry(data["n"].as_u64().unwrap()).or_default() += 1;
        by_second += usize::from(data["v"] == 2);
    }
    assert_eq!(echoes.len(), published, "events were lost");
    assert!(echoes.values().all(|count| *count == 1), "events were doubled");
    assert!(by_second > 0 && by_second < published, "{by_second} of {published} by the second");
    Ok(())
}

fn digest(scene: &Scene) -> Result<Value> {
    Ok(scene.client().plugin("echo")?.map_or(Value::Null, |plugin| plugin["digest"].clone()))
}

fn acked(scene: &Scene) -> Result<u64> {
    let subscriptions = scene.client().get_json("/subscriptions")?;
    let subscriptions = subscriptions["subscriptions"].as_array().unwrap();
    let of_echo = subscriptions.iter().filter(|subscription| subscription["plugin"] == "echo");
    Ok(of_echo.filter_map(|subscription| subscription["acked"].as_u64()).sum())
}
