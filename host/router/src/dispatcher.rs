//! A dispatcher serves one subscription with a few workers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::timeout;
use usher_broker::Subscription;

use crate::dispatch::{Dispatch, Phase};
use crate::ladder::Ladder;
use crate::run::SettleContext;
use crate::stats::Stats;
use crate::swap::Slot;
use crate::worker::work;

/// How long abandoned calls may hold their thread before the dispatcher gives up on them.
const ABANDON_GRACE: Duration = Duration::from_secs(5);

/// A served subscription and its workers.
pub(crate) struct Dispatcher {
    dispatch: Arc<Dispatch>,
    subscription: Subscription,
    instances: usize,
    workers: JoinSet<()>,
}

impl Dispatcher {
    /// Starts serving `subscription`, which the broker already has, with the version in `slot`.
    pub(crate) fn start(
        home: SettleContext,
        (slot, ladder): (Arc<Slot>, Arc<Ladder>),
        subscription: Subscription,
        instances: usize,
        stats: Arc<Stats>,
    ) -> Self {
        let dispatch = Arc::new(Dispatch::new(home, slot, ladder, stats));
        let at_once = usize::try_from(subscription.max_in_flight).unwrap_or(usize::MAX);
        let mut workers = JoinSet::new();
        for _ in 0..instances.min(at_once).max(1) {
            workers.spawn_on(keep_working(Arc::clone(&dispatch)), dispatch.guests());
        }
        Self { dispatch, subscription, instances, workers }
    }

    pub(crate) fn dispatch(&self) -> &Arc<Dispatch> {
        &self.dispatch
    }

    /// The subscription it serves.
    pub(crate) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Configured limit on concurrent deliveries.
    pub(crate) fn instances(&self) -> usize {
        self.instances
    }

    /// Its counters, to carry over to the next dispatcher of the same subscription.
    pub(crate) fn stats(&self) -> Arc<Stats> {
        Arc::clone(self.dispatch.stats())
    }

    /// Whether it serves exactly this subscription and hasn't stopped on an error.
    pub(crate) fn serves(&self, subscription: &Subscription, instances: usize) -> bool {
        self.subscription == *subscription
            && self.instances == instances
            && !self.dispatch.has_stopped()
    }

    /// Takes no new deliveries, lets those in flight finish and releases the rest at `deadline`;
    /// returns when all settlements are committed, and whether everything finished in time.
    pub(crate) async fn stop(&mut self, deadline: Duration) -> bool {
        let dispatch = Arc::clone(&self.dispatch);
        dispatch.enter(Phase::Finishing);
        let mut ended = timeout(deadline, self.joined()).await.is_ok();
        if !ended {
            dispatch.enter(Phase::Abandoning);
            if timeout(ABANDON_GRACE, self.joined()).await.is_err() {
                tracing::error!(
                    subscription = %dispatch.name(),
                    "a listener holds on to its thread; it is left behind"
                );
                self.workers.abort_all();
            }
        }
        dispatch.release_handed_off();
        ended &= dispatch.settled(ABANDON_GRACE).await;
        ended
    }

    async fn joined(&mut self) {
        while self.workers.join_next().await.is_some() {}
    }
}

/// Restarts the worker after a panic of the host; the panicked run is released.
async fn keep_working(dispatch: Arc<Dispatch>) {
    while AssertUnwindSafe(work(Arc::clone(&dispatch))).catch_unwind().await.is_err() {
        tracing::error!(subscription = %dispatch.name(), "a worker panicked; it restarts");
        tokio::task::yield_now().await;
    }
}
