//! The workers of one subscription. One that has had nothing to do for a while ends, and the broker's next
//! delivery brings all of them back: a subscription that waits costs no task.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dispatch::{Dispatch, Phase};
use crate::worker::work;

/// The tasks of one subscription.
pub(crate) struct Workers {
    dispatch: Arc<Dispatch>,
    /// So many for each machine that handles deliveries.
    instances: usize,
    /// At most so many in all.
    at_once: usize,
    /// Those that there are. Held while that and the phase are compared, so that none begins once the
    /// phase is over.
    active: Mutex<usize>,
    tasks: TaskTracker,
    abandoned: CancellationToken,
}

impl Workers {
    /// None yet; `instances` for each machine that handles deliveries, and `at_once` in all.
    pub(crate) fn new(dispatch: Arc<Dispatch>, instances: usize, at_once: usize) -> Arc<Self> {
        let (tasks, abandoned) = (TaskTracker::new(), CancellationToken::new());
        Arc::new(Self { dispatch, instances, at_once, active: Mutex::new(0), tasks, abandoned })
    }

    pub(crate) fn dispatch(&self) -> &Arc<Dispatch> {
        &self.dispatch
    }

    /// Has the next delivery wake them.
    pub(crate) fn rest(self: &Arc<Self>) {
        let workers = Arc::downgrade(self);
        self.dispatch.when_ready(move || {
            if let Some(workers) = workers.upgrade() {
                workers.wake();
            }
        });
    }

    /// Starts those that are missing.
    pub(crate) fn wake(self: &Arc<Self>) {
        let mut active = self.active();
        if !self.dispatch.is_serving() {
            return;
        }
        let max = self.dispatch.at_once(self.instances).min(self.at_once).max(1);
        for _ in *active..max {
            self.tasks.spawn_on(Arc::clone(self).keep_working(), self.dispatch.guests());
        }
        *active = max.max(*active);
    }

    /// Takes no new deliveries from now on.
    pub(crate) fn finish(&self) {
        let _active = self.active();
        self.dispatch.enter(Phase::Finishing);
        self.tasks.close();
    }

    /// Drops what they do, as soon as it awaits.
    pub(crate) fn abandon(&self) {
        self.finish();
        self.abandoned.cancel();
    }

    /// Waits until all have ended.
    pub(crate) async fn ended(&self) {
        self.tasks.wait().await;
    }

    /// Restarts the worker after a panic of the host; the panicked run is released.
    async fn keep_working(self: Arc<Self>) {
        let working = async {
            let wake = || self.wake();
            while AssertUnwindSafe(work(&self.dispatch, &wake)).catch_unwind().await.is_err() {
                tracing::error!(subscription = %self.dispatch.name(), "a worker panicked; it restarts");
                tokio::task::yield_now().await;
            }
        };
        self.abandoned.run_until_cancelled(working).await;
        *self.active() -= 1;
        if !self.dispatch.is_serving() || self.dispatch.has_stopped() {
            return;
        }
        // Also while others work: what is ready must not wait for a slow delivery.
        self.rest();
        if self.dispatch.has_handed_off() {
            self.wake();
        }
    }

    fn active(&self) -> MutexGuard<'_, usize> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
