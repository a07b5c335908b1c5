//! A dispatcher: serves one subscription with a few workers, from its start to its stop.

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

/// How long abandoned calls may take to give up their thread before they are left behind.
const ABANDON_GRACE: Duration = Duration::from_secs(5);

/// How far a dispatcher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Taking deliveries.
    Serving,
    /// Taking no more; what is under way may end.
    Finishing,
    /// What is under way is given back.
    Abandoning,
}

/// What the workers of one subscription share.
pub(crate) struct Dispatch {
    home: Arc<Home>,
    slot: Arc<Slot>,
    ladder: Arc<Ladder>,
    stats: Arc<Stats>,
    settling: Settling,
    phase: watch::Sender<Phase>,
    /// Held by the one worker that waits for deliveries: an arrival wakes one, not all.
    turn: tokio::sync::Mutex<()>,
    /// Runs that slow deliveries would have held up.
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

    /// Holds the version that serves now.
    pub(crate) fn hold(&self) -> Hold {
        self.slot.hold()
    }

    /// The version on which a delivery runs again that failed on these bytes: the one before them
    /// while they are on trial, and the one that serves once that has failed.
    pub(crate) fn stand_in(&self, digest: Digest) -> Option<Hold> {
        self.ladder.stand_in(digest, self.name()).or_else(|| {
            let present = self.ladder.is_undone(digest).then(|| self.hold())?;
            (present.listener().digest() != digest).then_some(present)
        })
    }

    /// What stands between the plugin and its deliveries.
    pub(crate) fn ladder(&self) -> &Arc<Ladder> {
        &self.ladder
    }

    /// Waits until the plugin may have deliveries and for at most `max` of them. Dropping the
    /// future takes none. `changes` are those of the ladder.
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
                // The sender is part of the ladder.
                _ = changes.changed() => continue,
            };
            // Dropping a run gives it back.
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

    /// Settles what is done of a run, and leaves what waits to whichever worker is free first.
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
            // Two that were shed before anyone looked woke only one worker.
            self.shed_wakes.notify_one();
        }
        run
    }

    /// Gives back what was shed and nobody has taken on.
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

    /// Remembers why nothing can be leased any more.
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

/// A subscription being served.
pub(crate) struct Dispatcher {
    dispatch: Arc<Dispatch>,
    subscription: Subscription,
    instances: usize,
    workers: JoinSet<()>,
}

impl Dispatcher {
    /// Serves `subscription`, which the broker knows already, with what `slot` holds.
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

    /// What it serves.
    pub(crate) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// How many workers it may have.
    pub(crate) fn instances(&self) -> usize {
        self.instances
    }

    /// Counters, for a dispatcher that carries on with the same subscription.
    pub(crate) fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.dispatch.stats)
    }

    /// Whether it serves exactly this, and still does.
    pub(crate) fn serves(&self, subscription: &Subscription, instances: usize) -> bool {
        self.subscription == *subscription
            && self.instances == instances
            && self.dispatch.stopped.get().is_none()
    }

    /// Stops: nothing new is taken, deliveries under way end, those that don't by `deadline` are
    /// given back; returns when all settlements are committed. Answers whether all ended by
    /// themselves.
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

/// A worker that must not be lost to a bug of ours: its run is given back, and it starts anew.
async fn keep_working(dispatch: Arc<Dispatch>) {
    while AssertUnwindSafe(work(Arc::clone(&dispatch))).catch_unwind().await.is_err() {
        tracing::error!(subscription = %dispatch.name(), "a worker panicked; it starts anew");
        tokio::task::yield_now().await;
    }
}
