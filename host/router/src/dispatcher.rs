//! A dispatcher serves one subscription with a few workers.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use usher_broker::{BrokerError, Lease, Settlement, Subscription};
use usher_event::{Digest, FailureClass, PluginName, SubscriptionName};

use crate::ladder::{Ladder, Pass, Probing};
use crate::run::{Home, Rest, Run};
use crate::settling::Settling;
use crate::stats::{DispatchStatus, Stats, Tally};
use crate::swap::{Hold, Slot};
use crate::worker::work;

/// How long abandoned calls may hold their thread before the dispatcher gives up on them.
const ABANDON_GRACE: Duration = Duration::from_secs(5);

/// Lifecycle of a dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Taking deliveries.
    Serving,
    /// Taking no more deliveries; those in flight may finish.
    Finishing,
    /// Releasing deliveries in flight.
    Abandoning,
}

/// State shared by the workers of one subscription.
pub(crate) struct Dispatch {
    home: Arc<Home>,
    slot: Arc<Slot>,
    ladder: Arc<Ladder>,
    stats: Arc<Stats>,
    settling: Settling,
    phase: watch::Sender<Phase>,
    /// Held by the one worker that waits for deliveries: an arrival wakes one, not all.
    turn: tokio::sync::Mutex<()>,
    /// Runs handed over by workers that are stuck in a slow delivery.
    shed: Mutex<VecDeque<Run>>,
    shed_wakes: Notify,
    stopped: OnceLock<String>,
}

impl Dispatch {
    pub(crate) fn name(&self) -> &SubscriptionName {
        &self.home.subscription
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Takes a hold on the serving version.
    pub(crate) fn hold(&self) -> Hold {
        self.slot.hold()
    }

    /// The version that re-runs a delivery which failed on `digest`: the previous version during a
    /// trial, the serving version once the trial has failed.
    pub(crate) fn stand_in(&self, digest: Digest) -> Option<Hold> {
        self.ladder.stand_in(digest, self.name()).or_else(|| {
            let present = self.ladder.is_undone(digest).then(|| self.hold())?;
            (present.listener().digest() != digest).then_some(present)
        })
    }

    /// Admission state of the plugin.
    pub(crate) fn ladder(&self) -> &Arc<Ladder> {
        &self.ladder
    }

    /// Waits until the plugin is admitted, then leases up to `max` deliveries. Cancel-safe:
    /// dropping the future takes none. `changes` is the ladder's channel.
    pub(crate) async fn next_run(
        &self,
        max: usize,
        changes: &mut watch::Receiver<u64>,
    ) -> Result<(Run, Option<Probing>), BrokerError> {
        loop {
            let pass = self.ladder.admitted(changes, || self.give_back_shed()).await;
            let run = tokio::select! {
                biased;
                run = self.run(max), if matches!(pass, Pass::Free) => run?,
                leases = self.lease(1), if matches!(pass, Pass::Probe) => {
                    Run::new(Arc::clone(&self.home), leases?)
                }
                // Can't be closed: the ladder owns the sender.
                _ = changes.changed() => continue,
            };
            // Dropping a run releases it.
            match pass {
                Pass::Free if self.ladder.is_free() => return Ok((run, None)),
                Pass::Free => {}
                Pass::Probe => {
                    if let Some(probing) = self.ladder.begin_probe() {
                        return Ok((run, Some(probing)));
                    }
                }
            }
        }
    }

    async fn run(&self, max: usize) -> Result<Run, BrokerError> {
        loop {
            if let Some(run) = self.take_shed() {
                return Ok(run);
            }
            tokio::select! {
                biased;
                () = self.shed_wakes.notified() => {}
                leases = self.lease(max) => return Ok(Run::new(Arc::clone(&self.home), leases?)),
            }
        }
    }

    async fn lease(&self, max: usize) -> Result<Vec<Lease>, BrokerError> {
        let _turn = self.turn.lock().await;
        self.home.broker.lease(&self.home.subscription, max).await
    }

    /// Settles the finished part of a run and leaves the waiting part to the next idle worker.
    pub(crate) fn shed(&self, rest: Rest<'_>) {
        self.settling.submit_aside(std::mem::take(rest.done));
        if rest.waiting.is_empty() {
            return;
        }
        let run = Run::new(Arc::clone(&self.home), std::mem::take(rest.waiting));
        self.shed.lock().unwrap_or_else(PoisonError::into_inner).push_back(run);
        self.shed_wakes.notify_one();
    }

    fn take_shed(&self) -> Option<Run> {
        let mut shed = self.shed.lock().unwrap_or_else(PoisonError::into_inner);
        let run = shed.pop_front();
        if !shed.is_empty() {
            // `Notify` stores a single permit: two runs shed before a wake-up wake only one worker.
            self.shed_wakes.notify_one();
        }
        run
    }

    /// Releases shed runs that no worker has picked up.
    fn give_back_shed(&self) {
        while let Some(run) = self.take_shed() {
            drop(run);
        }
    }

    pub(crate) async fn submit(&self, settlements: Vec<Settlement>) {
        self.settling.submit(settlements).await;
    }

    pub(crate) fn add(&self, tally: &Tally) {
        self.stats.add(tally);
    }

    pub(crate) fn count_failure(&self, class: FailureClass) {
        self.stats.failed(class);
    }

    /// Records why leasing failed for good; the first error wins.
    pub(crate) fn stopped_by(&self, error: &BrokerError) {
        if self.stopped.set(error.to_string()).is_ok() {
            tracing::error!(subscription = %self.name(), %error, "deliveries stopped");
        }
    }

    pub(crate) fn status(&self, plugin: &PluginName) -> DispatchStatus {
        let digest = self.slot.present().listener().digest();
        self.stats.status(self.name(), plugin, digest, self.stopped.get().cloned())
    }
}

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
        home: Home,
        (slot, ladder): (Arc<Slot>, Arc<Ladder>),
        subscription: Subscription,
        instances: usize,
        stats: Arc<Stats>,
    ) -> Self {
        let home = Arc::new(home);
        let dispatch = Arc::new(Dispatch {
            settling: Settling::new(Arc::clone(&home), Arc::clone(&stats)),
            slot,
            ladder,
            stats,
            phase: watch::Sender::new(Phase::Serving),
            turn: tokio::sync::Mutex::default(),
            shed: Mutex::default(),
            shed_wakes: Notify::new(),
            stopped: OnceLock::new(),
            home,
        });
        let at_once = usize::try_from(subscription.max_in_flight).unwrap_or(usize::MAX);
        let mut workers = JoinSet::new();
        for _ in 0..instances.min(at_once).max(1) {
            workers.spawn_on(keep_working(Arc::clone(&dispatch)), &dispatch.home.guests);
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
        Arc::clone(&self.dispatch.stats)
    }

    /// Whether it serves exactly this subscription and hasn't stopped on an error.
    pub(crate) fn serves(&self, subscription: &Subscription, instances: usize) -> bool {
        self.subscription == *subscription
            && self.instances == instances
            && self.dispatch.stopped.get().is_none()
    }

    /// Takes no new deliveries, lets those in flight finish and releases the rest at `deadline`;
    /// returns when all settlements are committed, and whether everything finished in time.
    pub(crate) async fn stop(&mut self, deadline: Duration) -> bool {
        let dispatch = Arc::clone(&self.dispatch);
        dispatch.phase.send_replace(Phase::Finishing);
        let mut ended = timeout(deadline, self.joined()).await.is_ok();
        if !ended {
            dispatch.phase.send_replace(Phase::Abandoning);
            if timeout(ABANDON_GRACE, self.joined()).await.is_err() {
                tracing::error!(
                    subscription = %dispatch.name(),
                    "a listener holds on to its thread; it is left behind"
                );
                self.workers.abort_all();
            }
        }
        dispatch.give_back_shed();
        ended &= timeout(ABANDON_GRACE, dispatch.settling.finished()).await.is_ok();
        ended
    }

    async fn joined(&mut self) {
        while self.workers.join_next().await.is_some() {}
    }
}

/// Restarts the worker after a panic of the host; the panicked run is released.
async fn keep_working(dispatch: Arc<Dispatch>) {
    while AssertUnwindSafe(work(Arc::clone(&dispatch))).catch_unwind().await.is_err() {
        tracing::error!(subscription = %dispatch.name(), "a worker panicked; it starts anew");
        tokio::task::yield_now().await;
    }
}
