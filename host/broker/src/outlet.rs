//! Deliveries that were granted and wait for someone to take them, one outlet for each
//! subscription. Taking them doesn't go through the committer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use usher_event::SubscriptionName;

use crate::api::{BrokerError, Lease};

/// The deliveries of one subscription.
#[derive(Default)]
pub(crate) struct Outlet {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Default)]
struct State {
    leases: VecDeque<Lease>,
    /// Why there will be no more.
    closed: Option<BrokerError>,
}

impl Outlet {
    /// Adds deliveries; the ledger bounds how many there are.
    pub(crate) fn offer(&self, leases: Vec<Lease>) {
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

    /// Names what waits.
    pub(crate) fn for_each(&self, named: impl FnMut(u64)) {
        self.state().leases.iter().map(|lease| lease.delivery.sequence).for_each(named);
    }

    /// Takes back what waits: sequences and tokens.
    pub(crate) fn take_back(&self) -> Vec<(u64, u64)> {
        let leases = std::mem::take(&mut self.state().leases);
        leases.into_iter().map(|lease| (lease.delivery.sequence, lease.token)).collect()
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

/// All outlets, by name for takers and by number for the committer.
#[derive(Default)]
pub(crate) struct Outlets {
    by_name: RwLock<HashMap<SubscriptionName, Arc<Outlet>>>,
    by_id: RwLock<HashMap<u32, Arc<Outlet>>>,
}

impl Outlets {
    /// The outlet of a subscription.
    pub(crate) fn named(&self, name: &SubscriptionName) -> Option<Arc<Outlet>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The outlet of the subscription with this number.
    pub(crate) fn numbered(&self, id: u32) -> Option<Arc<Outlet>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Makes an outlet, unless it is there.
    pub(crate) fn open(&self, id: u32, name: &SubscriptionName) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let outlet = Arc::clone(by_id.entry(id).or_default());
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(name.clone(), outlet);
    }

    /// Removes an outlet; its takers hear that the subscription is gone.
    pub(crate) fn remove(&self, id: u32, name: &SubscriptionName) {
        let outlet = self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(outlet) = outlet {
            outlet.close(BrokerError::NoSubscription(name.clone()));
        }
    }

    /// Closes all.
    pub(crate) fn close(&self, reason: &BrokerError) {
        for outlet in self.by_id.read().unwrap_or_else(PoisonError::into_inner).values() {
            outlet.close(reason.clone());
        }
    }
}
