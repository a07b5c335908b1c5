//! A run: leased deliveries being handled by one worker. Dropping it releases whatever isn't
//! handled, so no lease is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use usher_broker::{Deliveries, Disposition, Lease, Settlement};
use usher_event::{Delivery, Digest, SubscriptionName, Tracing};
use usher_filter::Projection;

use crate::recordings::Recordings;
use crate::spans::SettlingSpan;

/// Target duration of one run.
const RUN_TARGET: Duration = Duration::from_millis(1);
/// Maximum deliveries per run.
const RUN_MAX_DELIVERIES: usize = 256;

/// What a run needs to settle or release its deliveries from any task.
pub(crate) struct SettleContext {
    pub(crate) subscription: SubscriptionName,
    pub(crate) projection: Projection,
    pub(crate) broker: Arc<dyn Deliveries>,
    pub(crate) guests: Handle,
    /// Tasks that settle in the background; awaited before serving ends.
    pub(crate) settling: TaskTracker,
    pub(crate) tracing: Tracing,
    pub(crate) recordings: Arc<Recordings>,
}

impl SettleContext {
    /// Spawns a settling task that outlives its caller.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.settling.spawn_on(work, &self.guests);
    }
}

/// The component that handled a delivery.
pub(crate) struct HandledBy {
    pub(crate) digest: Digest,
    /// The author's version; set only for failures, which record it.
    pub(crate) version: Option<Box<str>>,
}

/// A settlement, and what is recorded of it if it is traced.
pub(crate) struct Finished {
    pub(crate) settlement: Settlement,
    pub(crate) span: Option<Box<SettlingSpan>>,
}

/// Leased deliveries: waiting, current and done.
pub(crate) struct Run {
    home: Arc<SettleContext>,
    waiting: VecDeque<Lease>,
    current: Option<Lease>,
    done: Vec<Finished>,
}

/// A run without its current delivery.
pub(crate) struct Rest<'a> {
    /// Deliveries not yet handled.
    pub(crate) waiting: &'a mut VecDeque<Lease>,
    /// Settlements of the deliveries handled so far.
    pub(crate) done: &'a mut Vec<Finished>,
}

impl Run {
    pub(crate) fn new(home: Arc<SettleContext>, leases: impl Into<VecDeque<Lease>>) -> Self {
        let waiting = leases.into();
        let done = Vec::with_capacity(waiting.len());
        Self { home, waiting, current: None, done }
    }

    /// Makes the next delivery current; returns it and the rest of the run.
    pub(crate) fn advance(&mut self) -> Option<(&mut Delivery, Rest<'_>)> {
        self.release_current();
        self.current = self.waiting.pop_front();
        let rest = Rest { waiting: &mut self.waiting, done: &mut self.done };
        Some((&mut self.current.as_mut()?.delivery, rest))
    }

    /// Settles the current delivery.
    pub(crate) fn finish(
        &mut self,
        by: HandledBy,
        took: Duration,
        disposition: Disposition,
        span: Option<Box<SettlingSpan>>,
    ) {
        if let Some(lease) = self.current.take() {
            let settlement = self.settlement(&lease, Some(by), took, disposition);
            self.done.push(Finished { settlement, span });
        }
    }

    /// Ends the run and releases what wasn't handled. Returns the settlements and the number of
    /// released deliveries.
    pub(crate) fn end(mut self) -> (Vec<Finished>, u64) {
        let released = self.release_all();
        (std::mem::take(&mut self.done), released)
    }

    fn release_all(&mut self) -> u64 {
        let before = self.done.len();
        self.release_current();
        while let Some(lease) = self.waiting.pop_front() {
            self.release(&lease);
        }
        u64::try_from(self.done.len() - before).unwrap_or(u64::MAX)
    }

    fn release_current(&mut self) {
        if let Some(lease) = self.current.take() {
            self.release(&lease);
        }
    }

    fn release(&mut self, lease: &Lease) {
        let settlement = self.settlement(lease, None, Duration::ZERO, Disposition::Release);
        self.done.push(Finished { settlement, span: None });
    }

    fn settlement(
        &self,
        lease: &Lease,
        by: Option<HandledBy>,
        took: Duration,
        disposition: Disposition,
    ) -> Settlement {
        let digest = by.as_ref().map(|by| by.digest);
        let version = by.and_then(|by| by.version);
        Settlement {
            subscription: self.home.subscription.clone(),
            sequence: lease.delivery.sequence,
            token: lease.token,
            digest,
            version,
            took,
            disposition,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.release_all();
        if self.done.is_empty() {
            return;
        }
        let done = std::mem::take(&mut self.done).into_iter().map(|one| one.settlement).collect();
        let home = Arc::clone(&self.home);
        // If the runtime is gone, so is the process: the broker leases them again after a restart.
        self.home.spawn(async move {
            if let Err(error) = home.broker.settle(done).await {
                tracing::warn!(
                    subscription = %home.subscription,
                    error = %error,
                    "deliveries could not be given back; they run again after a restart"
                );
            }
        });
    }
}

/// How many deliveries to lease at once: as many as fit into [`RUN_TARGET`], by a moving mean.
#[derive(Debug)]
pub(crate) struct RunSize {
    deliveries: usize,
    mean_ns: u128,
}

impl Default for RunSize {
    fn default() -> Self {
        Self { deliveries: 1, mean_ns: 0 }
    }
}

impl RunSize {
    pub(crate) fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// Updates the mean from a run of `handled` deliveries that took `took` in total.
    pub(crate) fn learn(&mut self, handled: u64, took: Duration) {
        if handled == 0 {
            return;
        }
        let sample_ns = (took.as_nanos() / u128::from(handled)).max(1);
        self.mean_ns =
            if self.mean_ns == 0 { sample_ns } else { (self.mean_ns * 3 + sample_ns) / 4 };
        let fitting = usize::try_from(RUN_TARGET.as_nanos() / self.mean_ns.max(1));
        // At most double: one fast delivery says little about the next hundred.
        let most = (self.deliveries * 2).min(RUN_MAX_DELIVERIES);
        self.deliveries = fitting.unwrap_or(RUN_MAX_DELIVERIES).clamp(1, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_grow_with_quick_listeners_and_shrink_at_once_with_slow_ones() {
        let mut size = RunSize::default();
        assert_eq!(size.deliveries(), 1);
        for expected in [2, 4, 8, 16, 32, 64, 128, 256, 256] {
            let handled = u64::try_from(size.deliveries()).unwrap();
            size.learn(handled, Duration::from_micros(2) * u32::try_from(handled).unwrap());
            assert_eq!(size.deliveries(), expected);
        }
        size.learn(256, Duration::from_secs(2));
        assert_eq!(size.deliveries(), 1);
        size.learn(0, Duration::from_secs(2));
        assert_eq!(size.deliveries(), 1);
    }
}
