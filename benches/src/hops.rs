//! Durable hops: an event leased, handled by the sandboxed listener, and its emission and
//! acknowledgement committed and fsynced. The backlog is published first; the clock runs from the
//! listener's installation until the last acknowledgement is on disk.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use usher_broker::traits::*;
use usher_broker::{
    EmbeddedBroker, IN_FLIGHT_MAX, Options, Order, RetryPolicy, Start, Subscription,
};
use usher_event::Listener;
use usher_filter::{Filter, Projection};
use usher_router::{BreakerPolicy, EmissionLimits, Installation, RestoredState, Router};
use usher_runtime::Isolation;

use crate::runtime;
use crate::sample::{self, Sample};

/// Maximum size of a run's backlog.
pub(crate) const STORED_MAX_BYTES: usize = 1024 * 1024 * 1024;
/// Approximate disk usage per hop: the emission's record and keys.
pub(crate) const STORED_BYTES_PER_HOP: usize = 256;
/// The event type that the neighbouring listener spins on.
pub(crate) const SPINS: &str = "test.spin";
/// Events per publish call.
const PUBLISH_BATCH: usize = 512;

/// Result of a run.
pub(crate) struct Run {
    hops: usize,
    commits: u64,
    taken: Duration,
}

impl Run {
    pub(crate) fn per_hop(&self) -> Duration {
        self.taken.div_f64(self.hops as f64)
    }

    /// Mean number of hops per commit.
    pub(crate) fn mean_batch(&self) -> usize {
        self.hops.div_ceil(usize::try_from(self.commits).unwrap_or(usize::MAX).max(1))
    }
}

/// Opens a broker in a folder, with default options.
pub(crate) fn open(data: &Path) -> anyhow::Result<Arc<EmbeddedBroker>> {
    Ok(EmbeddedBroker::open(Options::new(data))?)
}

/// One thread for broker and router, and one for each core for listeners.
pub(crate) fn executors() -> anyhow::Result<(Runtime, Runtime)> {
    let cores = std::thread::available_parallelism()?.get();
    let threads = |count| Builder::new_multi_thread().worker_threads(count).enable_all().build();
    Ok((threads(1)?, threads(cores)?))
}

/// Publishes the events with these indices.
pub(crate) async fn publish(
    broker: &EmbeddedBroker,
    sample: &Sample,
    numbers: Range<usize>,
) -> anyhow::Result<()> {
    for start in numbers.clone().step_by(PUBLISH_BATCH) {
        let batch = (start..numbers.end.min(start + PUBLISH_BATCH)).map(|n| sample.event(n));
        broker.publish(batch.collect::<Result<_, _>>()?).await?;
    }
    Ok(())
}

/// Subscribes a listener to the matching events, from the oldest, with this concurrency.
pub(crate) fn installation(
    listener: Arc<dyn Listener>,
    filter: &str,
    order: Order,
    instances: usize,
) -> anyhow::Result<Installation> {
    let subscription = Subscription {
        name: format!("{}/go", listener.name()).parse()?,
        filter: Filter::parse(filter)?,
        start: Start::Earliest,
        order,
        retry: RetryPolicy { max_attempts: 1, ..RetryPolicy::default() },
        max_in_flight: IN_FLIGHT_MAX,
        pace: Default::default(),
        projection: Default::default(),
        expires: false,
    };
    Ok(Installation {
        listener,
        subscriptions: vec![subscription],
        instances,
        emissions: EmissionLimits::default(),
        breaker: BreakerPolicy::default(),
        trial: None,
        held: RestoredState::default(),
    })
}

/// A filter for the listener's input: excludes its own emissions and [`SPINS`].
pub(crate) fn all_but(emitted: &str) -> String {
    format!(
        r#"{{"all":[{{"not":{{"exact":{{"type":"{emitted}"}}}}}},{{"not":{{"exact":{{"type":"{SPINS}"}}}}}}]}}"#
    )
}

/// The listener under test and its options.
#[derive(Clone)]
pub(crate) struct Setup<'a> {
    pub(crate) component: &'a [u8],
    /// The type it emits; excluded from its subscription.
    pub(crate) emitted: &'a str,
    pub(crate) order: Order,
    pub(crate) has_state: bool,
    /// What of an event's data it gets.
    pub(crate) projection: Projection,
    /// Subscriptions besides that are made from then on, begin with the oldest event and match none.
    pub(crate) newcomers: usize,
}

impl<'a> Setup<'a> {
    /// The benchmark's listener, in no order, without state, on whole events.
    pub(crate) fn hop(component: &'a [u8]) -> Self {
        Self {
            component,
            emitted: sample::HOP_EMITS,
            order: Order::None,
            has_state: false,
            projection: Projection::default(),
            newcomers: 0,
        }
    }
}

/// A subscription of `other/NAME` that matches nothing.
pub(crate) fn idle(name: &str, start: Start) -> anyhow::Result<Subscription> {
    Ok(Subscription {
        name: format!("other/{name}").parse()?,
        filter: Filter::from_json(&json!({ "exact": { "type": format!("other.{name}") } }))?,
        start,
        order: Order::None,
        retry: RetryPolicy::default(),
        max_in_flight: 1,
        pace: Default::default(),
        projection: Default::default(),
        expires: false,
    })
}

/// The broker and router of a run.
pub(crate) struct Stage<'a> {
    pub(crate) broker: &'a EmbeddedBroker,
    pub(crate) router: &'a Router,
}

/// Publishes `events` events and runs them through the listener.
pub(crate) fn run(
    folder: &Path,
    setup: &Setup<'_>,
    sample: &Sample,
    events: usize,
) -> anyhow::Result<Run> {
    run_beside(folder, setup, sample, events, async |_| Ok(()))
}

/// Like [`run`], with `beside` called before the clock starts.
pub(crate) fn run_beside(
    folder: &Path,
    setup: &Setup<'_>,
    sample: &Sample,
    events: usize,
    beside: impl AsyncFnOnce(&Stage<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Run> {
    let data = tempfile::tempdir_in(folder)?;
    run_on(open(data.path())?, setup, sample, events, beside)
}

/// Like [`run_beside`], on this broker, which is closed at the end.
pub(crate) fn run_on(
    broker: Arc<EmbeddedBroker>,
    setup: &Setup<'_>,
    sample: &Sample,
    events: usize,
    beside: impl AsyncFnOnce(&Stage<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Run> {
    let (executor, guests) = executors()?;
    executor.block_on(async {
        let listener =
            runtime::load(setup.component, &broker, setup.has_state, Isolation::Warm).await?;
        let router = Router::new(Arc::clone(&broker) as Arc<dyn Broker>, guests.handle().clone());
        beside(&Stage { broker: &broker, router: &router }).await?;
        publish(&broker, sample, 0..events).await?;
        let instances = guests.metrics().num_workers();
        let filter = all_but(setup.emitted);
        let mut installation = installation(listener, &filter, setup.order.clone(), instances)?;
        for subscription in &mut installation.subscriptions {
            subscription.projection = setup.projection.clone();
        }
        let before = broker.stats();
        let mut committed = broker.committed();
        let start = Instant::now();
        let hops = async {
            router.install(installation).await?;
            loop {
                committed.changed().await?;
                let stats = broker.stats();
                if stats.acked + stats.dead_letters >= events as u64 {
                    break anyhow::Ok((stats, start.elapsed()));
                }
            }
        };
        let newcomers = async {
            for n in 0..setup.newcomers {
                broker.subscribe(idle(&format!("new{n}"), Start::Earliest)?).await?;
            }
            Ok(())
        };
        let ((stats, taken), ()) = tokio::try_join!(hops, newcomers)?;
        ensure!(stats.dead_letters == 0, "{} deliveries were rejected", stats.dead_letters);
        router.shutdown(Duration::from_secs(5)).await;
        broker.close().await?;
        Ok(Run { hops: events, commits: stats.commits - before.commits, taken })
    })
}
