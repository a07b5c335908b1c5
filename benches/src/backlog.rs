//! A long backlog: a subscription that starts at the oldest of millions of events. Measures what
//! must not grow with it: time per hop, memory, restart time.
//!
//! The listener is native and emits one event per delivery, so a hop costs what broker and router
//! contribute to a sandboxed one.

use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::runtime::Runtime;
use usher_broker::traits::*;
use usher_broker::{EmbeddedBroker, Order};
use usher_router::Router;

use crate::hops::{self, all_but, executors, installation, open};
use crate::native::Echo;
use crate::process::{folder_bytes, resident_bytes, written_bytes};
use crate::sample::{self, Sample};

/// Size of an event in the storage encoding.
const EVENT_BYTES: usize = 256;

/// Size of a second, shorter log whose restart is timed for comparison.
const RESTART_EVENTS: usize = 1_000_000;

/// Number of parts the backlog is split into; each is timed.
const PARTS: usize = 10;

#[derive(clap::Args)]
pub(crate) struct BacklogArgs {
    /// Events published before the subscription starts.
    #[arg(long, default_value_t = 5_000_000)]
    events: usize,
    /// Folder to write to, on the disk to be measured.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Measurements of one part of the backlog.
struct Part {
    rate: f64,
    resident_bytes: u64,
}

pub(crate) fn run(args: BacklogArgs) -> anyhow::Result<()> {
    ensure!(args.events >= PARTS, "use at least {PARTS} events");
    let folder =
        args.folder.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    let data = tempfile::tempdir_in(folder)?;
    let (executor, guests) = executors()?;
    let sample = sample::events_of_size(EVENT_BYTES)?;
    let events = args.events;

    let written = written_bytes()?;
    let published = Instant::now();
    let first = events.min(RESTART_EVENTS);
    executor.block_on(publish(data.path(), &sample, 0..first))?;
    say(&format!("restart with {first} events"), &restart(data.path(), &executor)?)?;
    if first < events {
        executor.block_on(publish(data.path(), &sample, first..events))?;
        say(&format!("restart with {events} events"), &restart(data.path(), &executor)?)?;
    }
    say(&format!("published {events} events, restarts included"), &seconds(published.elapsed()))?;
    say("on disk", &mib(folder_bytes(data.path())?))?;

    let broker = open(data.path())?;
    let before = resident_bytes()?;
    say("resident memory before", &mib(before))?;
    let parts = executor.block_on(drain(&broker, &guests, events))?;
    for (number, part) in parts.iter().enumerate() {
        let hops = format!("{:>9.0} hops/s   {:>7} resident", part.rate, mib(part.resident_bytes));
        say(&format!("part {} of {PARTS}", number + 1), &hops)?;
    }
    let log_bytes = broker.stats().log_bytes;
    executor.block_on(broker.close())?;
    drop(broker);
    let written = (written_bytes()? - written) as f64 / log_bytes as f64;
    say("bytes written / bytes of the events", &format!("{written:.2}"))?;
    say("on disk, emitted events included", &mib(folder_bytes(data.path())?))?;
    say(&format!("restart with {} events", 2 * events), &restart(data.path(), &executor)?)?;

    if let (Some(start), Some(end)) = (parts.first(), parts.last()) {
        say("rate at the end / at the start", &format!("{:.2}", end.rate / start.rate))?;
        let grown = end.resident_bytes as f64 / start.resident_bytes as f64;
        say("resident at the end / at the start", &format!("{grown:.2}"))?;
    }
    Ok(())
}

/// Publishes events with a broker that is opened for it.
async fn publish(data: &Path, sample: &Sample, numbers: Range<usize>) -> anyhow::Result<()> {
    let broker = open(data)?;
    hops::publish(&broker, sample, numbers).await?;
    // Like a crash: dropped without an orderly shutdown.
    drop(broker);
    Ok(())
}

/// Time from opening until the broker responds.
fn restart(data: &Path, executor: &Runtime) -> anyhow::Result<String> {
    let start = Instant::now();
    let broker = open(data)?;
    executor.block_on(broker.subscriptions())?;
    let taken = start.elapsed();
    drop(broker);
    Ok(seconds(taken))
}

/// Runs a listener through the whole backlog.
async fn drain(
    broker: &Arc<EmbeddedBroker>,
    guests: &Runtime,
    events: usize,
) -> anyhow::Result<Vec<Part>> {
    let listener = Arc::new(Echo::new(sample::HOP_EMITS)?);
    let filter = all_but(sample::HOP_EMITS);
    let instances = guests.metrics().num_workers();
    let installation = installation(listener, &filter, Order::None, instances)?;
    let router = Router::new(Arc::clone(broker) as Arc<dyn Broker>, guests.handle().clone());
    let mut committed = broker.committed();
    let mut start = Instant::now();
    router.install(installation).await?;
    let mut parts: Vec<Part> = Vec::new();
    let mut taken_before = 0;
    while parts.len() < PARTS {
        committed.changed().await?;
        let stats = broker.stats();
        ensure!(stats.dead_letters == 0, "{} deliveries were rejected", stats.dead_letters);
        let taken = stats.acked;
        if taken as usize * PARTS >= events * (parts.len() + 1) {
            let hops = (taken - taken_before) as f64;
            let rate = hops / start.elapsed().as_secs_f64();
            parts.push(Part { rate, resident_bytes: resident_bytes()? });
            (taken_before, start) = (taken, Instant::now());
        }
    }
    router.shutdown(Duration::from_secs(5)).await;
    Ok(parts)
}

fn say(what: &str, how_much: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{what:<48} {how_much}")?;
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
