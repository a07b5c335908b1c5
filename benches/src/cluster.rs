//! Durable hops of a router whose journal is on JetStream: one server, and three, beside the journal in the
//! data folder and beside a native consumer on the same servers. All of them sync before they answer, and
//! share this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use usher_broker::{EmbeddedBroker, Options, Standby};
use usher_jetstream::{JetStreamJournal, JetStreamOptions};
use usher_tests::{NatsServer, guest, target_dir};

use crate::executors;
use crate::hops::{self, Setup};
use crate::load::Paced;
use crate::peers;
use crate::rounds::median;
use crate::sample;
use crate::table::Table;
use crate::takeovers::{self, End};

#[derive(clap::Args)]
pub(crate) struct ClusterArgs {
    /// The program `nats-server`.
    #[arg(long, env = "NATS_SERVER")]
    nats_server: PathBuf,
    /// Events of a round.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    /// Events of a round of the native consumer.
    #[arg(long, default_value_t = 5_000)]
    native_events: usize,
    /// Rounds; each row is the median of them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Owners that are killed, and as many that are stopped, to time what follows.
    #[arg(long, default_value_t = 50)]
    takeovers: usize,
    /// Deliveries of 5 ms that are timed, for each node.
    #[arg(long, default_value_t = 4_000)]
    slow_events: usize,
    /// Seconds of publishing at 2,000 events a second.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Folder to write to, on the disk to be measured.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) const SETTINGS: &str = "sync_interval: always";

pub(crate) fn run(args: &ClusterArgs) -> anyhow::Result<()> {
    let folder = args.folder.clone().unwrap_or_else(target_dir);
    let component = std::fs::read(guest("hop")?)?;
    let sample = sample::events_of_size(256)?;
    let setup = Setup::hop(&component);
    let mut times = [const { Vec::new() }; 4];
    for round in 0..args.rounds {
        let embedded = hops::run(&folder, &setup, &sample, args.events)?;
        let mut all = vec![embedded.per_hop()];
        let mut batches = vec![embedded.mean_batch()];
        for count in [1, 3] {
            let data = tempfile::tempdir_in(&folder)?;
            let servers = NatsServer::cluster(&args.nats_server, data.path(), SETTINGS, count)?;
            let broker = open(&servers, data.path())?;
            let hop = hops::run_on(broker, &setup, &sample, args.events, async |_| Ok(()))?;
            all.push(hop.per_hop());
            batches.push(hop.mean_batch());
            if count == 3 {
                let url = servers.first().map(NatsServer::url).unwrap_or_default();
                all.push(peers::native(&url, count, args.native_events, &sample)?.hop);
            }
        }
        for (times, time) in times.iter_mut().zip(&all) {
            times.push(*time);
        }
        eprintln!("round {round}: {all:?}; hops a commit: {batches:?}");
    }
    let mut table = Table::new();
    let [embedded, one, three, native] = times.map(median);
    table.row("hop, journal in the data folder", embedded, None);
    table.row("hop, journal on one server", one, Some((embedded, "data folder")));
    table.row("hop, journal on three servers", three, Some((embedded, "data folder")));
    table.row("native consumer on three servers", native, Some((three, "Usher's there")));
    for (end, name) in [(End::Killed, "owner killed"), (End::Stopped, "owner stopped")] {
        let times = takeovers::times(&args.nats_server, &folder, end, args.takeovers)?;
        let (count, slowest) = (times.len(), times.iter().max().copied().unwrap_or_default());
        table.row(&format!("{name}, until another is ready, median"), median(times), None);
        table.row(&format!("{name}, slowest of {count}"), slowest, None);
    }
    let mut one = None;
    for nodes in [1, 2, 4] {
        let events = args.slow_events * nodes;
        let each = executors::per_delivery(&args.nats_server, &folder, nodes, events)?;
        let name = format!("deliveries of {} ms, {nodes} nodes", executors::SLEEP.as_millis());
        table.row(&name, each, one.map(|one| (one, "one node's")));
        one.get_or_insert(each);
    }
    let time = Duration::from_secs(args.seconds);
    let paced = Paced { clients: 16, requests_per_second: 1_000, events_per_request: 2, time };
    let latencies = executors::latency(&args.nats_server, &folder, paced)?;
    for (name, latency_ms) in ["p50", "p99", "p99.9", "max"].into_iter().zip(latencies) {
        let name = format!("publish to emission at 2,000/s, {name}");
        table.row(&name, Duration::from_secs_f64(latency_ms / 1_000.0), None);
    }
    if args.json { table.print_json() } else { table.print() }
}

fn place(servers: &[NatsServer]) -> JetStreamOptions {
    let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
    JetStreamOptions { replicas: servers.len(), ..JetStreamOptions::new(urls, "node") }
}

fn open(servers: &[NatsServer], data: &Path) -> anyhow::Result<Arc<EmbeddedBroker>> {
    let standby = Standby::open(Options::new(data.join("node")), |folder, local| {
        Ok(Arc::new(JetStreamJournal::open(folder, local, place(servers))?))
    });
    Ok(standby?.claim()?)
}
