//! Benchmarks in one run on one machine: bare wasmtime, usher-runtime, durable publish and durable
//! hops; publishing over HTTP; latency at a steady rate; NATS JetStream; a long backlog; routing by
//! content; neighbouring plugins; plugins by language. Absolute figures depend on the machine; compare the ratios.

mod backlog;
mod bare;
mod baseline;
mod cluster;
mod disk;
mod executors;
mod hops;
mod http;
mod languages;
mod latency;
mod load;
mod native;
mod neighbours;
mod nodes;
mod peers;
mod process;
mod publish;
mod rounds;
mod route;
mod runtime;
mod sample;
mod table;
mod takeovers;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use usher_broker::Order;
use usher_runtime::{Isolation, Limits};

use crate::table::Table;

/// Number of ordering keys in the rows with ordering.
const KEYS: usize = 1_000;

#[derive(Parser)]
#[command(about = "Benchmarks of Usher; run them through `cargo xtask bench`")]
struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    /// One hop of an event, layer by layer.
    Hop(HopArgs),
    /// A long backlog: what time and memory grow with it.
    Backlog(backlog::BacklogArgs),
    /// Publishing over HTTP: what access and TLS cost, and what onlookers cost the hops.
    Http(http::HttpArgs),
    /// From a request to the emission on disk, at a steady rate.
    Latency(latency::LatencyArgs),
    /// Publish and hop beside NATS JetStream.
    Peers(peers::PeersArgs),
    /// Hops with the journal on JetStream, and changes of the owner.
    Cluster(cluster::ClusterArgs),
    /// Routing by content: expressions, conditions on data, many subscriptions.
    Route(route::RouteArgs),
    /// What a delivery costs by language, beside bare wasmtime and without recording.
    Languages(languages::LanguagesArgs),
    /// How plugins affect each other: many idle ones, one that spins, one that is replaced.
    Neighbours(neighbours::NeighboursArgs),
}

#[derive(clap::Args)]
struct HopArgs {
    /// Events per row of durable hops.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    #[command(flatten)]
    stage: StageArgs,
    /// Another build of this program, to be compared with: five runs of each in turn, medians.
    #[arg(long, value_name = "PATH")]
    baseline: Option<PathBuf>,
}

/// What durable hops need, and how the table is printed.
#[derive(clap::Args)]
struct StageArgs {
    /// CloudEvents, one JSON object per line, for the rows of real events. Skipped if the file is
    /// missing.
    #[arg(long)]
    github: Option<PathBuf>,
    /// Folder to write to, on the disk to be measured.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The benchmark's listener, as built by `cargo xtask plugins`.
    #[arg(long)]
    guest: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl StageArgs {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    fn guest(&self) -> PathBuf {
        let default = || format!("{}/target/guests/hop.wasm", Self::ROOT).into();
        self.guest.clone().unwrap_or_else(default)
    }

    fn component(&self) -> anyhow::Result<Vec<u8>> {
        let guest = self.guest();
        std::fs::read(&guest).with_context(|| {
            format!("can't read {}: run `cargo xtask plugins` first", guest.display())
        })
    }

    fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| format!("{}/target", Self::ROOT).into())
    }

    /// The real events, if there are any.
    fn real_events(&self) -> Option<sample::Sample> {
        let default = || format!("{}/../shared/data/events/github.ndjson", Self::ROOT).into();
        let file = self.github.clone().unwrap_or_else(default);
        let read = sample::read(&file);
        read.inspect_err(|error| eprintln!("no row of real events: {error:#}")).ok()
    }
}

impl HopArgs {
    /// Those of each run of a comparison.
    fn each(&self) -> Vec<String> {
        let mut all = vec!["hop".to_owned(), "--events".to_owned(), self.events.to_string()];
        let StageArgs { github, folder, guest, .. } = &self.stage;
        let paths = [("--github", github), ("--folder", folder), ("--guest", guest)];
        for (name, path) in paths {
            all.extend(path.iter().flat_map(|path| [name.to_owned(), path.display().to_string()]));
        }
        all
    }
}

fn main() -> anyhow::Result<()> {
    match Args::parse().suite {
        Suite::Hop(args) => hop(args),
        Suite::Backlog(args) => backlog::run(args),
        Suite::Http(args) => http::run(&args),
        Suite::Latency(args) => latency::run(&args),
        Suite::Peers(args) => peers::run(&args),
        Suite::Cluster(args) => cluster::run(&args),
        Suite::Route(args) => route::run(&args),
        Suite::Languages(args) => languages::run(args),
        Suite::Neighbours(args) => neighbours::run(args),
    }
}

fn hop(args: HopArgs) -> anyhow::Result<()> {
    if let Some(baseline) = &args.baseline {
        return baseline::compare(baseline, &args.each(), args.stage.json);
    }
    let stage = &args.stage;
    let component = stage.component()?;
    let state = std::fs::read(stage.guest().with_file_name("state.wasm"))
        .context("can't read state.wasm beside it: run `cargo xtask plugins` first")?;
    let folder = stage.folder();
    let mut table = Table::new();
    let small = sample::events_of_size(256)?;
    let large = sample::events_of_size(8 * 1024)?;

    let [bare, interruptible, through_runtime] = rounds::time_per_call(
        rounds::WARM_ROUND_CALLS,
        [
            bare::calls(&component, &small)?,
            bare::interruptible_calls(&component, &small)?,
            runtime::calls(&component, &small, Isolation::Warm, Limits::default())?,
        ],
    )?;
    table.row("bare wasmtime call", bare, None);
    table.row("bare wasmtime call, interruptible", interruptible, Some((bare, "bare call")));
    table.row("usher-runtime, warm", through_runtime, Some((bare, "bare call")));
    let [bare, through_runtime] = rounds::time_per_call(
        rounds::FRESH_ROUND_CALLS,
        [
            bare::fresh_calls(&component, &small)?,
            runtime::calls(&component, &small, Isolation::Fresh, Limits::default())?,
        ],
    )?;
    table.row("bare wasmtime call, fresh instance", bare, None);
    table.row("usher-runtime, fresh", through_runtime, Some((bare, "bare fresh call")));

    for batch in [1, 64, 512] {
        let mark = disk::time_per_record(&folder, batch, small.encoded_bytes())?;
        table.row(&format!("append + fdatasync, batches of {batch}"), mark, None);
        let publish = publish::time_per_event(&folder, batch, &small)?;
        table.row(&format!("durable publish, batches of {batch}"), publish, Some((mark, "append")));
    }

    let plain_hop = |order| hops::Setup { order, ..hops::Setup::hop(&component) };
    let counting = |order| hops::Setup {
        emitted: sample::STATE_EMITS,
        order,
        has_state: true,
        ..hops::Setup::hop(&state)
    };
    let by_subject = || Order::key("subject").context("it is an attribute");
    let keyed = sample::events_about(KEYS)?;
    let plain = hops::run(&folder, &plain_hop(Order::None), &keyed, args.events)?.per_hop();
    table.row("durable hop, no order", plain, None);
    for (name, setup) in [
        ("durable hop, in order of 1,000 keys", plain_hop(by_subject()?)),
        ("durable hop with a count in state, in order of 1,000 keys", counting(by_subject()?)),
        ("durable hop with a count in state, no order", counting(Order::None)),
    ] {
        let run = hops::run(&folder, &setup, &keyed, args.events)?;
        table.row(name, run.per_hop(), Some((plain, "no order")));
    }

    let mut rows = vec![("256 B", small), ("8 KiB", large)];
    rows.extend(stage.real_events().map(|real| ("273 real events", real)));
    for (name, sample) in rows {
        let events = args.events.min(hops::STORED_MAX_BYTES / sample.encoded_bytes());
        let run = hops::run(&folder, &plain_hop(Order::None), &sample, events)?;
        let mark = disk::time_per_record(&folder, run.mean_batch(), hops::STORED_BYTES_PER_HOP)?;
        table.row(
            &format!(
                "append + fdatasync, as much as these hops store, {} at a time",
                run.mean_batch()
            ),
            mark,
            None,
        );
        table.row(&format!("durable hop, {name}"), run.per_hop(), Some((mark, "append")));
    }
    if stage.json { table.print_json() } else { table.print() }
}
