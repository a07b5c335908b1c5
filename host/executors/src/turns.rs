//! How many deliveries of a subscription a node handles at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use usher_event::SubscriptionName;

/// Subscriptions of a plugin whose turns are kept while nothing is delivered.
const SUBSCRIPTIONS_MAX: usize = 1_024;

/// Turns of deliveries: so many at the same time of each subscription.
pub(crate) struct Turns {
    instances: usize,
    of: Mutex<BTreeMap<SubscriptionName, Arc<Semaphore>>>,
}

impl Turns {
    pub(crate) fn new(instances: usize) -> Self {
        Self { instances, of: Mutex::default() }
    }

    /// Waits for a turn.
    pub(crate) async fn take(
        &self,
        subscription: &SubscriptionName,
    ) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            if of.len() >= SUBSCRIPTIONS_MAX && !of.contains_key(subscription) {
                // Those without deliveries; permits keep the others.
                of.retain(|_, turns| Arc::strong_count(turns) > 1);
            }
            let turns = of.entry(subscription.clone());
            Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(self.instances))))
        };
        // Never closed.
        turns.acquire_owned().await.ok()
    }
}
