//! How plugins affect each other: a thousand idle ones, one that never returns, and the time until
//! a replaced version takes over.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use usher_broker::traits::*;
use usher_broker::{Order, RetryPolicy};
use usher_event::{Delivery, Digest, Event, Listener, Outcome, PluginName};
use usher_runtime::{Isolation, Runtime, RuntimeOptions};
use usher_tests::{Folder, Load, Router as RouterProcess, Swaps, guest, target_dir};

use crate::hops::{self, Setup, Stage};
use crate::process::resident_bytes;
use crate::runtime;
use crate::sample::{self, Sample};
use crate::table::Table;

/// Concurrent spinning deliveries: the default concurrency of a plugin.
const SPINNING: usize = 16;
/// Size of an event in the storage encoding.
const EVENT_BYTES: usize = 256;

#[derive(clap::Args)]
pub(crate) struct NeighboursArgs {
    /// Events per row of durable hops.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Idle plugins loaded beside the one that works.
    #[arg(long, default_value_t = 1_000)]
    plugins: usize,
    /// Number of hot swaps.
    #[arg(long, default_value_t = 50)]
    swaps: usize,
    /// Folder to write to, on the disk to be measured.
    #[arg(long)]
    folder: Option<PathBuf>,
}

pub(crate) fn run(args: NeighboursArgs) -> anyhow::Result<()> {
    let component = std::fs::read(guest("hop")?)?;
    let spin = std::fs::read(guest("spin")?)?;
    let folder = args.folder.unwrap_or_else(target_dir);
    let sample = sample::events_of_size(EVENT_BYTES)?;
    let setup = Setup::hop(&component);
    let (events, plugins) = (args.events, args.plugins);
    let mut table = Table::new();

    let alone = hops::run(&folder, &setup, &sample, events)?.per_hop();
    table.row("durable hop, no other plugin", alone, None);
    let against = Some((alone, "no other plugin"));
    let mut memory = None;
    let crowded = hops::run_beside(&folder, &setup, &sample, events, async |stage| {
        memory = Some(load_many(stage, &component, plugins, &sample).await?);
        Ok(())
    })?;
    table.row(&format!("durable hop, {plugins} others are idle"), crowded.per_hop(), against);
    for spinning in [1, SPINNING] {
        let beside = hops::run_beside(&folder, &setup, &sample, events, async |stage| {
            spin_for_ever(stage, &spin, spinning).await
        })?;
        let name = format!("durable hop, another plugin spins in {spinning} deliveries");
        table.row(&name, beside.per_hop(), against);
    }
    table.print()?;

    let mut out = std::io::stdout().lock();
    let memory = memory.context("no plugins were loaded")?;
    let each_kib = |bytes: u64| bytes / 1_024 / plugins.max(1) as u64;
    writeln!(
        out,
        "each of {plugins} plugins takes {} KiB of memory, its code included, and {} KiB once an \
         instance of it waits",
        each_kib(memory.loaded_bytes),
        each_kib(memory.used_bytes),
    )?;
    for (what, load) in [("hardly any", Load::Light), ("steady", Load::Steady)] {
        let swaps = swap(load, args.swaps)?;
        writeln!(
            out,
            "{} swaps under {what} load: from saving a new version to its first event, compiling \
             included: median {} ms, 95th percentile {} ms, longest {} ms",
            args.swaps,
            swaps.took_ms(50),
            swaps.took_ms(95),
            swaps.took_ms(100),
        )?;
    }
    Ok(())
}

/// Total memory of many plugins.
struct Memory {
    /// After loading.
    loaded_bytes: u64,
    /// After each has handled one event, so that a warm instance is kept.
    used_bytes: u64,
}

/// Loads the component many times as distinct plugins, each with its own code, subscription and
/// worker.
async fn load_many(
    stage: &Stage<'_>,
    component: &[u8],
    count: usize,
    sample: &Sample,
) -> anyhow::Result<Memory> {
    let cache = tempfile::tempdir()?;
    let runtime = Runtime::new(RuntimeOptions {
        cache_dir: Some(cache.path().join("code")),
        ..RuntimeOptions::default()
    })?;
    let load = || runtime::load_into(&runtime, component, stage.broker, false, Isolation::Warm);
    // Warm-up: one-time allocations must not be counted.
    let delivery = runtime::delivery(sample)?;
    load().await?.handle(&delivery).await;
    let before_bytes = resident_bytes()?;
    let mut plugins = Vec::new();
    for number in 0..count {
        let name = format!("idle-{number}").parse()?;
        let plugin: Arc<dyn Listener> = Arc::new(Named { name, listener: load().await? });
        let filter = format!(r#"{{"exact":{{"type":"idle.{number}"}}}}"#);
        let wanted = hops::installation(Arc::clone(&plugin), &filter, Order::None, 1)?;
        stage.router.install(wanted).await?;
        plugins.push(plugin);
    }
    let loaded_bytes = resident_bytes()?.saturating_sub(before_bytes);
    for plugin in &plugins {
        plugin.handle(&delivery).await;
    }
    let used_bytes = resident_bytes()?.saturating_sub(before_bytes);
    Ok(Memory { loaded_bytes, used_bytes })
}

/// The same listener under another name.
struct Named {
    name: PluginName,
    listener: Arc<dyn Listener>,
}

#[async_trait]
impl Listener for Named {
    fn name(&self) -> &PluginName {
        &self.name
    }

    fn version(&self) -> &str {
        self.listener.version()
    }

    fn digest(&self) -> Digest {
        self.listener.digest()
    }

    async fn handle(&self, delivery: &Delivery) -> Outcome {
        self.listener.handle(delivery).await
    }
}

/// Installs a plugin that never returns, and disables everything that would stop it: no breaker,
/// unlimited attempts, no backoff.
async fn spin_for_ever(stage: &Stage<'_>, component: &[u8], spinning: usize) -> anyhow::Result<()> {
    let listener = runtime::load(component, stage.broker, false, Isolation::Warm).await?;
    let events = (0..spinning)
        .map(|number| Event::builder(format!("spin-{number}"), "/bench", hops::SPINS).build());
    stage.broker.publish(events.collect::<Result<_, _>>()?).await?;
    let filter = format!(r#"{{"exact":{{"type":"{}"}}}}"#, hops::SPINS);
    let mut wanted = hops::installation(listener.clone(), &filter, Order::None, spinning)?;
    wanted.breaker.failures = u32::MAX;
    wanted.breaker.quarantine_failures = u32::MAX;
    for subscription in &mut wanted.subscriptions {
        subscription.retry = RetryPolicy {
            first_delay: Duration::ZERO,
            max_delay: Duration::ZERO,
            max_attempts: u32::MAX,
            ..RetryPolicy::default()
        };
    }
    stage.router.install(wanted).await?;
    while listener.stats().instances < spinning as u64 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Hot-swaps a plugin of a running router by replacing its file.
fn swap(load: Load, swaps: usize) -> anyhow::Result<Swaps> {
    let folder = Folder::new()?;
    folder.install_guests(&["echo"])?;
    let router = RouterProcess::start(&folder).context("starting the router")?;
    router.client().wait_for_plugin("echo", "serving")?;
    let swapped = Swaps::run(&folder, &router, load, swaps, |_| Ok(()))?;
    router.stop()?;
    Ok(swapped)
}
