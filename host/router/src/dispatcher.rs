//! A dispatcher serves one subscription with a few workers, which are there while there is something
//! to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use usher_broker::Subscription;

use crate::dispatch::{Dispatch, Phase};
use crate::ladder::Ladder;
use crate::run::SettleContext;
use crate::stats::Stats;
use crate::swap::Slot;
use crate::workers::Workers;

/// How long abandoned calls may hold their thread before the dispatcher gives up on them.
const ABANDON_GRACE: Duration = Duration::from_secs(5);

/// A served subscription and its workers.
pub(crate) struct Dispatcher {
    workers: Arc<Workers>,
    subscription: Subscription,
    instances: usize,
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
        let workers = Workers::new(dispatch, instances, at_once);
        workers.rest();
        Self { workers, subscription, instances }
    }

    pub(crate) fn dispatch(&self) -> &Arc<Dispatch> {
        self.workers.dispatch()
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
        Arc::clone(self.dispatch().stats())
    }

    /// Whether it serves exactly this subscription and hasn't stopped on an error.
    pub(crate) fn serves(&self, subscription: &Subscription, instances: usize) -> bool {
        self.subscription == *subscription
            && self.instances == instances
            && !self.dispatch().has_stopped()
    }

    /// Takes no new deliveries, lets those in flight finish and releases the rest at `deadline`;
    /// returns when all settlements are committed, and whether everything finished in time.
    pub(crate) async fn stop(&self, deadline: Duration) -> bool {
        let dispatch = Arc::clone(self.dispatch());
        self.workers.finish();
        let mut ended = timeout(deadline, self.workers.ended()).await.is_ok();
        if !ended {
            dispatch.enter(Phase::Abandoning);
            if timeout(ABANDON_GRACE, self.workers.ended()).await.is_err() {
                tracing::error!(
                    subscription = %dispatch.name(),
                    "a listener holds on to its thread; it is left behind"
                );
                self.workers.abandon();
            }
        }
        dispatch.release_handed_off();
        ended &= dispatch.settled(ABANDON_GRACE).await;
        ended
    }
}

/// Dropped without [`Dispatcher::stop`], it releases what its workers hold.
impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.workers.abandon();
    }
}
