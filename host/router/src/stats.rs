//! Counters per subscription.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use usher_broker::Settled;
use usher_event::{Digest, FailureClass, PluginName, SubscriptionName};

/// Status of one subscription served by the router.
#[derive(Clone, Debug)]
pub struct DispatchStatus {
    /// The subscription.
    pub subscription: SubscriptionName,
    /// The plugin that serves it.
    pub plugin: PluginName,
    /// Digest of the serving component.
    pub digest: Digest,
    /// Why deliveries stopped without a request to stop; `None` while they run.
    pub stopped: Option<String>,
    /// Deliveries handled since installation, including failed ones.
    pub handled: u64,
    /// Failed deliveries by class; classes with a count of 0 are omitted.
    pub failed: BTreeMap<FailureClass, u64>,
    /// Total time spent in the listener.
    pub handle_time: Duration,
    /// Deliveries released without an attempt, such as those cut short by a shutdown.
    pub released: u64,
    /// Deliveries re-run because state they had read changed before the commit.
    pub conflicts: u64,
    /// Deliveries that became dead letters.
    pub dead: u64,
}

/// The counters behind [`DispatchStatus`]; they outlive a hot swap.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    handled: AtomicU64,
    handle_time_ns: AtomicU64,
    failed: [AtomicU64; FailureClass::ALL.len()],
    released: AtomicU64,
    conflicts: AtomicU64,
    dead: AtomicU64,
}

/// What one run adds; gathered by its worker without sharing.
#[derive(Debug, Default)]
pub(crate) struct RunStats {
    pub(crate) handled: u64,
    pub(crate) handle_time: Duration,
    pub(crate) released: u64,
}

impl Stats {
    pub(crate) fn add(&self, tally: &RunStats) {
        self.handled.fetch_add(tally.handled, Ordering::Relaxed);
        let nanos = u64::try_from(tally.handle_time.as_nanos()).unwrap_or(u64::MAX);
        self.handle_time_ns.fetch_add(nanos, Ordering::Relaxed);
        self.released.fetch_add(tally.released, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, class: FailureClass) {
        let counters = FailureClass::ALL.iter().zip(&self.failed);
        for (_, counter) in counters.filter(|(candidate, _)| **candidate == class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn settled(&self, settled: &Settled) {
        match settled {
            Settled::Conflict => self.conflicts.fetch_add(1, Ordering::Relaxed),
            Settled::Dead(_) => self.dead.fetch_add(1, Ordering::Relaxed),
            Settled::Committed
            | Settled::RetryAt(_)
            | Settled::HeldBack
            | Settled::Expired
            | Settled::Stale => 0,
        };
    }

    pub(crate) fn status(
        &self,
        subscription: &SubscriptionName,
        plugin: &PluginName,
        digest: Digest,
        stopped: Option<String>,
    ) -> DispatchStatus {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DispatchStatus {
            subscription: subscription.clone(),
            plugin: plugin.clone(),
            digest,
            stopped,
            handled: get(&self.handled),
            failed: FailureClass::ALL
                .into_iter()
                .zip(self.failed.iter().map(get))
                .filter(|(_, count)| *count > 0)
                .collect(),
            handle_time: Duration::from_nanos(get(&self.handle_time_ns)),
            released: get(&self.released),
            conflicts: get(&self.conflicts),
            dead: get(&self.dead),
        }
    }
}
