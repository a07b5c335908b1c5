//! Plugins replaced while they work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use usher_tests::{guest, wait_for};

use crate::footprint::Holds;
use crate::scene::{Scene, event};

/// How many times the versions take turns, unless `USHER_SWAPS` says otherwise.
const SWAPS: usize = 50;
/// The most there may be: the log of the test is read to its end.
const SWAPS_MAX: usize = 1_000;
/// Swaps after which everything that is made once has been made.
const WARM_UP: usize = 10;
/// Events of a batch; there is always one on its way.
const BATCH: usize = 25;
/// What the log's own tables, in memory until they are written out, and the allocator may keep.
const SLACK_BYTES: u64 = 96 * 1_024 * 1_024;

/// Invariants 11 and 12: each delivery was the work of one version, and of the versions that went
/// nothing is left.
#[test]
fn swaps_under_load_lose_and_double_nothing() -> Result<()> {
    let swaps = match std::env::var("USHER_SWAPS") {
        Ok(swaps) => swaps.parse::<usize>()?.clamp(WARM_UP + 1, SWAPS_MAX),
        Err(_) => SWAPS,
    };
    let scene = Scene::with("", &["echo"])?;
    let versions = [guest("echo-v2")?, guest("echo")?];
    let done = AtomicBool::new(false);
    let mut saves: Vec<(SystemTime, usize)> = Vec::new();
    let mut warm = None;

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
        let turns = (0..swaps).zip(versions.iter().enumerate().cycle());
        let swapped = turns.into_iter().try_for_each(|(turn, (number, version))| {
            if turn == WARM_UP {
                warm = Some(Holds::now(&scene)?);
            }
            let before = digest(&scene)?;
            saves.push((SystemTime::now(), number));
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
    let mut recorded: Vec<(u64, usize)> = Vec::new();
    for stored in scene.client().events_of_type("test.echoed")? {
        let data = &stored["event"]["data"];
        *echoes.entry(data["n"].as_u64().unwrap()).or_default() += 1;
        recorded.push((millis(&stored["recorded"])?, usize::from(data["v"] != 2)));
    }
    assert_eq!(echoes.len(), published, "events were lost");
    assert!(echoes.values().all(|count| *count == 1), "events were doubled");

    let mut took_ms = Vec::new();
    for (save, number) in saves {
        let save_ms = u64::try_from(save.duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
        let mut later =
            recorded.iter().filter(|(time_ms, by)| *time_ms >= save_ms && *by == number);
        let (first_ms, _) = later.next().context("a version that was saved handled nothing")?;
        took_ms.push(first_ms - save_ms);
    }
    took_ms.sort_unstable();
    let at = |part: usize| took_ms[(took_ms.len() - 1) * part / 100];
    println!(
        "{swaps} swaps, {published} events; save to first event on the new version: \
         median {} ms, 95th percentile {} ms, longest {} ms",
        at(50),
        at(95),
        at(100)
    );
    let warm = warm.context("too few swaps")?;
    let flat = wait_for("everything to return", || {
        let now = Holds::now(&scene)?;
        let is_back = now.descriptors <= warm.descriptors
            && now.memory_bytes <= warm.memory_bytes + SLACK_BYTES;
        Ok(is_back.then_some(now))
    });
    let flat = flat.with_context(|| format!("{warm:?} became {:?}", Holds::now(&scene)))?;
    println!("{warm:?} after {WARM_UP} swaps, {flat:?} in the end");
    Ok(())
}

/// RFC 3339 as Unix milliseconds.
fn millis(time: &Value) -> Result<u64> {
    let text = time.as_str().context("no time")?;
    let time = OffsetDateTime::parse(text, &Rfc3339)?;
    Ok(u64::try_from(time.unix_timestamp_nanos() / 1_000_000)?)
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
