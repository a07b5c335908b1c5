//! Granted deliveries waiting to be leased, one outlet per subscription. Leasing doesn't involve
//! the committer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use usher_event::SubscriptionName;

use crate::api::{BrokerError, Lease};

/// The granted deliveries of one subscription.
#[derive(Default)]
pub(crate) struct LeaseQueue {
    state: Mutex<Offered>,
    ready: Notify,
}

#[derive(Default)]
struct Offered {
    leases: VecDeque<Lease>,
    /// Why it was closed.
    closed: Option<BrokerError>,
}

impl LeaseQueue {
    /// Adds deliveries; the ledger bounds their number.
    pub(crate) fn offer(&self, leases: Vec<Lease>) {
        let mut state = self.state();
        if state.closed.is_none() {
            state.leases.extend(leases);
            self.ready.notify_one();
        }
    }

    /// Leases at most `max` deliveries; waits for the first. Cancel-safe.
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
            // A grant wakes one waiter, which wakes the next while deliveries remain.
            self.ready.notify_one();
        }
        Ok(Some(leases))
    }

    /// Number of waiting deliveries.
    pub(crate) fn len(&self) -> usize {
        self.state().leases.len()
    }

    /// Calls `named` with the sequence of each waiting delivery.
    pub(crate) fn for_each(&self, named: impl FnMut(u64)) {
        self.state().leases.iter().map(|lease| lease.delivery.sequence).for_each(named);
    }

    /// Removes all waiting deliveries; returns their sequences and tokens.
    pub(crate) fn take_back(&self) -> Vec<(u64, u64)> {
        let leases = std::mem::take(&mut self.state().leases);
        leases.into_iter().map(|lease| (lease.delivery.sequence, lease.token)).collect()
    }

    /// Drops waiting deliveries and fails current and future `lease` calls with `reason`.
    pub(crate) fn close(&self, reason: BrokerError) {
        let mut state = self.state();
        state.leases.clear();
        state.closed.get_or_insert(reason);
        drop(state);
        self.ready.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, Offered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All outlets, by name for callers and by id for the committer.
#[derive(Default)]
pub(crate) struct LeaseQueues {
    by_name: RwLock<HashMap<SubscriptionName, Arc<LeaseQueue>>>,
    by_id: RwLock<HashMap<u32, Arc<LeaseQueue>>>,
}

impl LeaseQueues {
    /// The outlet of a subscription.
    pub(crate) fn named(&self, name: &SubscriptionName) -> Option<Arc<LeaseQueue>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The outlet of the subscription with this id.
    pub(crate) fn numbered(&self, id: u32) -> Option<Arc<LeaseQueue>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Creates an outlet, unless there is one.
    pub(crate) fn open(&self, id: u32, name: &SubscriptionName) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let outlet = Arc::clone(by_id.entry(id).or_default());
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(name.clone(), outlet);
    }

    /// Removes an outlet; its waiters get [`BrokerError::NoSubscription`].
    pub(crate) fn remove(&self, id: u32, name: &SubscriptionName) {
        let outlet = self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(outlet) = outlet {
            outlet.close(BrokerError::NoSubscription(name.clone()));
        }
    }

    /// Closes all outlets.
    pub(crate) fn close(&self, reason: &BrokerError) {
        for outlet in self.by_id.read().unwrap_or_else(PoisonError::into_inner).values() {
            outlet.close(reason.clone());
        }
    }
}
