//! Beside NATS JetStream on the same disk: one server, one stream, events of the same size, and a native
//! consumer that does what a listener's delivery comes to: publishes an event, then acknowledges the one
//! that it has handled and waits until the server has noted that. `nats-server` syncs its log every two
//! minutes by default; with `sync_interval: always` before it answers, as Usher does.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use usher_tests::{NatsServer, guest, target_dir};

use crate::hops::{self, Setup};
use crate::publish;
use crate::rounds::median;
use crate::sample::{self, Sample};
use crate::table::Table;

/// Events of a batch: published, and handled, at the same time.
const BATCH: usize = 512;
/// Batches that consumers handle at the same time.
const CONSUMERS: usize = 4;

#[derive(clap::Args)]
pub(crate) struct PeersArgs {
    /// The program `nats-server`.
    #[arg(long, env = "NATS_SERVER")]
    nats_server: PathBuf,
    /// Events of a round.
    #[arg(long, default_value_t = 50_000)]
    events: usize,
    /// Rounds; each row is the median of them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Folder to write to, on the disk to be measured.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PeersArgs) -> anyhow::Result<()> {
    let folder = args.folder.clone().unwrap_or_else(target_dir);
    let component = std::fs::read(guest("hop")?)?;
    let sample = sample::events_of_size(256)?;
    let setup = Setup::hop(&component);
    let mut times = [const { Vec::new() }; 6];
    for round in 0..args.rounds {
        let default = jetstream(args, &folder, "2m", &sample)?;
        let always = jetstream(args, &folder, "always", &sample)?;
        let published = publish::time_per_event(&folder, BATCH, &sample)?;
        let hop = hops::run(&folder, &setup, &sample, args.events)?.per_hop();
        let all = [default.publish, always.publish, published, default.hop, always.hop, hop];
        for (times, time) in times.iter_mut().zip(all) {
            times.push(time);
        }
        eprintln!("round {round}: {all:?}");
    }
    let mut table = Table::new();
    let [publish, publish_always, published, hop, hop_always, hopped] = times.map(median);
    table.row("JetStream publish, batches of 512", publish, None);
    table.row("JetStream publish, sync_interval: always", publish_always, None);
    table.row("Usher publish, fsync", published, Some((publish, "JetStream's default")));
    table.row("JetStream hop: consume, publish, double ack", hop, None);
    table.row("JetStream hop, sync_interval: always", hop_always, None);
    table.row("Usher hop, fsync and sandbox", hopped, Some((hop, "JetStream's default")));
    if args.json { table.print_json() } else { table.print() }
}

/// Time per event.
pub(crate) struct Times {
    publish: Duration,
    pub(crate) hop: Duration,
}

fn jetstream(
    args: &PeersArgs,
    folder: &Path,
    sync_interval: &str,
    sample: &Sample,
) -> anyhow::Result<Times> {
    let data = tempfile::tempdir_in(folder)?;
    let settings = format!("sync_interval: {sync_interval}");
    let server = NatsServer::start(&args.nats_server, data.path(), &settings)?;
    native(&server.url(), 1, args.events, sample)
}

/// A native producer and native consumers of a stream on this server and its peers.
pub(crate) fn native(
    url: &str,
    replicas: usize,
    events: usize,
    sample: &Sample,
) -> anyhow::Result<Times> {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    executor.block_on(async {
        let client = async_nats::connect(url).await?;
        let context = jetstream::new(client);
        let stream = stream::Config {
            name: "EVENTS".to_owned(),
            subjects: vec!["in.>".to_owned(), "out.>".to_owned()],
            num_replicas: replicas,
            ..stream::Config::default()
        };
        let stream = context.create_stream(stream).await?;
        let start = Instant::now();
        for batch in (0..events).step_by(BATCH) {
            let numbers = batch..events.min(batch + BATCH);
            let mut under_way = Vec::with_capacity(BATCH);
            for number in numbers {
                let event = sample.event(number)?.encoded().clone();
                under_way.push(context.publish("in.event", event).await?.into_future());
            }
            try_join_all(under_way).await?;
        }
        let publish = start.elapsed().div_f64(events as f64);

        let consumer: PullConsumer = stream
            .create_consumer(pull::Config {
                durable_name: Some("listener".to_owned()),
                filter_subject: "in.>".to_owned(),
                max_ack_pending: (CONSUMERS * BATCH) as i64,
                ..pull::Config::default()
            })
            .await?;
        let emission = sample.event(0)?.encoded().clone();
        let start = Instant::now();
        let consumers = (0..CONSUMERS).map(|_| {
            let (context, consumer, emission) =
                (context.clone(), consumer.clone(), emission.clone());
            tokio::spawn(async move {
                let mut handled = 0;
                loop {
                    let mut batch = consumer.fetch().max_messages(BATCH).messages().await?;
                    let under_way = FuturesUnordered::new();
                    while let Some(message) = batch.next().await {
                        let message = message.map_err(anyhow::Error::from_boxed)?;
                        let (context, emission) = (context.clone(), emission.clone());
                        under_way.push(async move {
                            context.publish("out.event", emission).await?.await?;
                            message.double_ack().await.map_err(anyhow::Error::from_boxed)
                        });
                    }
                    let done = under_way.len();
                    if done == 0 {
                        return anyhow::Ok(handled);
                    }
                    handled += done;
                    under_way
                        .map(|done| done)
                        .collect::<Vec<_>>()
                        .await
                        .into_iter()
                        .collect::<Result<Vec<_>, _>>()?;
                }
            })
        });
        let mut handled = 0;
        for consumer in try_join_all(consumers).await? {
            handled += consumer?;
        }
        let hop = start.elapsed().div_f64(events as f64);
        ensure!(handled == events, "{handled} of {events} events were handled");
        Ok(Times { publish, hop })
    })
}
