//! State shared by the committer and the engine.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::api::{BrokerError, BrokerStats};
use crate::intake::{Intake, Phase};
use crate::ledger::LeaseQueues;
use crate::state::CommittedState;
use crate::store::Store;

/// Connects the committer and the engine.
pub(crate) struct Shared {
    pub(crate) intake: Intake,
    pub(crate) leases: Arc<LeaseQueues>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) committed: watch::Sender<u64>,
    pub(crate) poisoned: watch::Sender<Option<String>>,
    /// Whether the committer has ended.
    pub(crate) ended: watch::Sender<bool>,
    pub(crate) state: Arc<CommittedState>,
    stats: Mutex<BrokerStats>,
}

impl Shared {
    pub(crate) fn new(
        intake: Intake,
        store: Arc<dyn Store>,
        leases: Arc<LeaseQueues>,
        last_sequence: u64,
    ) -> Self {
        Self {
            intake,
            leases,
            state: Arc::new(CommittedState::new(Arc::clone(&store) as _)),
            store,
            committed: watch::Sender::new(last_sequence),
            poisoned: watch::Sender::default(),
            ended: watch::Sender::default(),
            stats: Mutex::default(),
        }
    }

    /// Publishes the outcome of a commit: statistics and newest sequence.
    pub(crate) fn publish(&self, stats: BrokerStats) {
        let last = stats.last_sequence;
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
        self.committed.send_if_modified(|known| std::mem::replace(known, last) != last);
    }

    /// Counters and sizes.
    pub(crate) fn stats(&self) -> BrokerStats {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stats.waiting = self.intake.len() as u64;
        stats
    }

    /// Refuses everything from now on. The first reason is kept.
    pub(crate) fn poison(&self, reason: &str) {
        tracing::error!(reason, "the store failed; refusing all work until restarted");
        // First: who knows that it is poisoned gets no lease any more.
        self.leases.close(&BrokerError::Poisoned(reason.to_owned()));
        self.poisoned.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert_with(|| reason.to_owned());
            first
        });
        self.intake.close(Phase::Abandoned);
    }

    /// Whether the committer has ended.
    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Why calls fail: poisoned or closed.
    pub(crate) fn gone(&self) -> BrokerError {
        match &*self.poisoned.borrow() {
            Some(reason) => BrokerError::Poisoned(reason.clone()),
            None => BrokerError::Closed,
        }
    }
}
