//! Deliveries that were granted and wait for someone to take them, one lane for each subscription.
//! Taking them doesn't go through the committer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use usher_event::SubscriptionName;

use crate::api::{BrokerError, Lease};

/// The deliveries of one subscription.
#[derive(Default)]
pub(crate) struct Lane {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Default)]
struct State {
    leases: VecDeque<Lease>,
    /// Why there will be no more.
    closed: Option<BrokerError>,
}

impl Lane {
    /// Adds deliveries; the ledger bounds how many there are.
    pub(crate) fn grant(&self, leases: Vec<Lease>) {
        let mut state = self.state();
        if state.closed.is_none() {
            state.leases.extend(leases);
            self.ready.notify_one();
        }
    }

    /// Takes at most `max`, waits for the first.
    pub(crate) async fn lease(&self, max: usize) -> Result<Vec<Lease>, BrokerError> {
        loop {
            let mut ready = std::pin::pin!(self.ready.notified());
            ready.as_mut().enable();
            if let Some(leases) = self.try_lease(max)? {
                return Ok(leases);
            }
            ready.await;
        }
    }

    fn try_lease(&self, max: usize) -> Result<Option<Vec<Lease>>, BrokerError> {
        let mut state = self.state();
        if let Some(closed) = &state.closed {
            return Err(closed.clone());
        }
        if state.leases.is_empty() {
            return Ok(None);
        }
        let count = max.clamp(1, state.leases.len());
        let leases = state.leases.drain(..count).collect();
        if !state.leases.is_empty() {
            // One grant wakes one taker; that one wakes the next while there is something left.
            self.ready.notify_one();
        }
        Ok(Some(leases))
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.state().leases.len()
    }

    /// Drops what waits and answers all takers with this.
    pub(crate) fn close(&self, reason: BrokerError) {
        let mut state = self.state();
        state.leases.clear();
        state.closed.get_or_insert(reason);
        drop(state);
        self.ready.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All lanes, by name for takers and by number for the committer.
#[derive(Default)]
pub(crate) struct Lanes {
    by_name: RwLock<HashMap<SubscriptionName, Arc<Lane>>>,
    by_id: RwLock<HashMap<u32, Arc<Lane>>>,
}

impl Lanes {
    /// The lane of a subscription.
    pub(crate) fn named(&self, name: &SubscriptionName) -> Option<Arc<Lane>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The lane of the subscription with this number.
    pub(crate) fn numbered(&self, id: u32) -> Option<Arc<Lane>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Makes a lane, unless it is there.
    pub(crate) fn open(&self, id: u32, name: &SubscriptionName) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let lane = Arc::clone(by_id.entry(id).or_default());
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(name.clone(), lane);
    }

    /// Removes a lane; its takers hear that the subscription is gone.
    pub(crate) fn remove(&self, id: u32, name: &SubscriptionName) {
        let lane = self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(lane) = lane {
            lane.close(BrokerError::NoSubscription(name.clone()));
        }
    }

    /// Closes all.
    pub(crate) fn close(&self, reason: &BrokerError) {
        for lane in self.by_id.read().unwrap_or_else(PoisonError::into_inner).values() {
            lane.close(reason.clone());
        }
    }
}
