//! Granted deliveries that aren't leased yet, one queue per subscription. Leasing doesn't involve
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
    /// Called by the next offer, or when it is closed.
    when_ready: Option<Box<dyn FnOnce() + Send>>,
    /// Why it was closed.
    closed: Option<BrokerError>,
}

impl LeaseQueue {
    /// Adds deliveries; the ledger bounds their number.
    pub(super) fn offer(&self, leases: Vec<Lease>) {
        let mut state = self.state();
        if state.closed.is_none() {
            state.leases.extend(leases);
            let call = state.when_ready.take();
            drop(state);
            self.ready.notify_one();
            call.into_iter().for_each(|call| call());
        }
    }

    /// Calls `call` once there is something to lease, or nothing will be any more.
    pub(crate) fn when_ready(&self, call: Box<dyn FnOnce() + Send>) {
        let mut state = self.state();
        if state.leases.is_empty() && state.closed.is_none() {
            state.when_ready = Some(call);
            return;
        }
        drop(state);
        call();
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
    pub(super) fn len(&self) -> usize {
        self.state().leases.len()
    }

    /// Sequences of the waiting deliveries, in order.
    pub(super) fn sequences(&self) -> Vec<u64> {
        self.state().leases.iter().map(|lease| lease.delivery.sequence).collect()
    }

    /// Removes all waiting deliveries.
    pub(super) fn take_all(&self) -> VecDeque<Lease> {
        std::mem::take(&mut self.state().leases)
    }

    /// Drops waiting deliveries and fails current and future `lease` calls with `reason`.
    fn close(&self, reason: BrokerError) {
        let mut state = self.state();
        state.leases.clear();
        state.closed.get_or_insert(reason);
        let call = state.when_ready.take();
        drop(state);
        self.ready.notify_waiters();
        call.into_iter().for_each(|call| call());
    }

    fn state(&self) -> MutexGuard<'_, Offered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queues of all subscriptions.
#[derive(Default)]
pub(crate) struct LeaseQueues(RwLock<HashMap<SubscriptionName, Arc<LeaseQueue>>>);

impl LeaseQueues {
    /// The queue of a subscription, or [`BrokerError::NoSubscription`].
    pub(crate) fn named(&self, name: &SubscriptionName) -> Result<Arc<LeaseQueue>, BrokerError> {
        let queues = self.0.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(name).cloned().ok_or_else(|| BrokerError::NoSubscription(name.clone()))
    }

    /// Lets callers lease from a queue.
    pub(super) fn open(&self, name: SubscriptionName, queue: Arc<LeaseQueue>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, queue);
    }

    /// Removes a queue; its waiters get [`BrokerError::NoSubscription`].
    pub(super) fn remove(&self, name: &SubscriptionName) {
        let queue = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(queue) = queue {
            queue.close(BrokerError::NoSubscription(name.clone()));
        }
    }

    /// Closes all queues.
    pub(crate) fn close(&self, reason: &BrokerError) {
        for queue in self.0.read().unwrap_or_else(PoisonError::into_inner).values() {
            queue.close(reason.clone());
        }
    }
}
