//! Hot-swaps a plugin repeatedly under load and accounts for every event.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use usher_api::Timestamp;

use crate::artefacts::guest;
use crate::folder::Folder;
use crate::http::{Client, event};
use crate::router::Router;
use crate::wait::wait_for;

/// Events per batch.
const BATCH: usize = 4;

/// The load during the swaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Batches without a pause.
    Steady,
    /// One batch for each version, so that the log hardly grows.
    Light,
}

/// Result of the swaps.
#[derive(Clone, Debug)]
pub struct Swaps {
    /// Events published meanwhile; each was handled exactly once.
    pub published: usize,
    /// From saving a version to the commit of the first event it handled, in ascending order.
    took_ms: Vec<u64>,
}

impl Swaps {
    /// Swaps two versions of the guest `echo` `swaps` times under load. Each swap uses a unique
    /// digest, so that it is compiled. Calls `before_each` with the number of each swap.
    ///
    /// # Errors
    /// An event was lost or handled twice, a version didn't start to serve, or `before_each`
    /// failed.
    pub fn run(
        folder: &Folder,
        router: &Router,
        load: Load,
        swaps: usize,
        mut before_each: impl FnMut(usize) -> Result<()>,
    ) -> Result<Self> {
        let client = router.client();
        let versions = [fs::read(guest("echo-v2")?)?, fs::read(guest("echo")?)?];
        let done = AtomicBool::new(false);
        let mut saves: Vec<(SystemTime, usize)> = Vec::new();
        let published = AtomicUsize::new(0);
        thread::scope(|scope| {
            let producer = (load == Load::Steady).then(|| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        publish(client, &published)?;
                    }
                    anyhow::Ok(())
                })
            });
            let mut turns = (0..swaps).zip(versions.iter().enumerate().cycle());
            let swapped = turns.try_for_each(|(turn, (number, bytes))| {
                before_each(turn)?;
                let before = digest(client)?;
                let version = folder.root().join("next.wasm");
                fs::write(&version, stamped(bytes, turn))?;
                saves.push((SystemTime::now(), number));
                folder.install(&version, "echo.wasm")?;
                wait_for("the other version to serve", || {
                    Ok((digest(client)? != before).then_some(()))
                })?;
                // Wait for a handled event, so that the next swap happens under load.
                let acked = acked(client)?;
                if load == Load::Light {
                    publish(client, &published)?;
                }
                wait_for("it to handle events", || Ok((self::acked(client)? > acked).then_some(())))
            });
            done.store(true, Ordering::Relaxed);
            let joined = producer.map(|producer| producer.join());
            let joined = joined.transpose().map_err(|_| anyhow!("the producer panicked"))?;
            swapped.and(joined.unwrap_or(Ok(())))
        })?;
        let published = published.into_inner();
        wait_for("every event to be handled", || {
            Ok((acked(client)? >= published as u64).then_some(()))
        })?;
        let took_ms = judge(client, published, &saves)?;
        Ok(Self { published, took_ms })
    }

    /// The given percentile of swap times, in milliseconds.
    pub fn took_ms(&self, percent: usize) -> u64 {
        let last = self.took_ms.len().saturating_sub(1);
        self.took_ms.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// Adds a custom section: another digest, same behaviour.
fn stamped(component: &[u8], number: usize) -> Vec<u8> {
    // A section is its id (0: custom), its size, the size of its name, its name, its content; both
    // sizes are below 128 and so take one byte.
    let stamp = format!("{number:08}");
    let [name_bytes, section_bytes] = [4, 5 + stamp.len() as u8];
    let head = [&[0, section_bytes, name_bytes], b"turn".as_slice()].concat();
    [component, &head, stamp.as_bytes()].concat()
}

fn publish(client: &Client, published: &AtomicUsize) -> Result<()> {
    let first = published.load(Ordering::Relaxed);
    let batch: Vec<Value> = (first..first + BATCH)
        .map(|n| event("test.echo", &n.to_string(), &json!({ "n": n })))
        .collect();
    client.publish_batch(&batch)?;
    published.store(first + BATCH, Ordering::Relaxed);
    Ok(())
}

/// Checks that every event was handled once; returns how long each version took to handle its first
/// event, ascending.
fn judge(client: &Client, published: usize, saves: &[(SystemTime, usize)]) -> Result<Vec<u64>> {
    let mut echoes: BTreeMap<u64, usize> = BTreeMap::new();
    let mut recorded: Vec<(u64, usize)> = Vec::new();
    for stored in client.events_of_type("test.echoed")? {
        let data = stored.pointer("/event/data").context("an echo without data")?;
        let number = data.get("n").and_then(Value::as_u64).context("an echo of nothing")?;
        *echoes.entry(number).or_default() += 1;
        let by = usize::from(data.get("v") != Some(&json!(2)));
        recorded.push((millis(stored.get("recorded"))?, by));
    }
    ensure!(echoes.len() == published, "{published} published, {} handled", echoes.len());
    ensure!(echoes.values().all(|count| *count == 1), "events were handled twice");
    let mut took_ms = Vec::new();
    for (save, number) in saves {
        let save_ms = u64::try_from(save.duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
        // `recorded` is ordered by sequence, hence by time.
        let later = recorded.partition_point(|(time_ms, _)| *time_ms < save_ms);
        let mut later = recorded.iter().skip(later).filter(|(_, by)| by == number);
        let (first_ms, _) = later.next().context("a version that was saved handled nothing")?;
        took_ms.push(first_ms - save_ms);
    }
    took_ms.sort_unstable();
    Ok(took_ms)
}

/// RFC 3339 as Unix milliseconds.
fn millis(time: Option<&Value>) -> Result<u64> {
    let text = time.and_then(Value::as_str).context("no time")?;
    Ok(Timestamp::from_text(text).with_context(|| format!("{text} is no time"))?.as_ms())
}

fn digest(client: &Client) -> Result<Value> {
    let plugin = client.plugin("echo")?;
    Ok(plugin.and_then(|plugin| plugin.get("digest").cloned()).unwrap_or_default())
}

fn acked(client: &Client) -> Result<u64> {
    let subscriptions = client.get_json("/subscriptions")?;
    let subscriptions = subscriptions.get("subscriptions").and_then(Value::as_array);
    let of_echo = subscriptions
        .context("no subscriptions")?
        .iter()
        .filter(|subscription| subscription.get("plugin") == Some(&json!("echo")));
    Ok(of_echo.filter_map(|one| one.get("acked").and_then(Value::as_u64)).sum())
}
