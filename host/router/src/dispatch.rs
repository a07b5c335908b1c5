//! What the workers of one subscription share: leasing, runs that were handed off, settling.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use usher_broker::{BrokerError, Lease};
use usher_event::{Digest, Event, FailureClass, PluginName, SubscriptionName, Tracing};

use crate::ladder::{Ladder, Pass, Probing};
use crate::recordings::Recordings;
use crate::run::{Finished, Rest, Run, SettleContext};
use crate::settling::Settling;
use crate::stats::{DispatchStatus, RunStats, Stats};
use crate::swap::{Hold, Slot};

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
    home: Arc<SettleContext>,
    slot: Arc<Slot>,
    ladder: Arc<Ladder>,
    stats: Arc<Stats>,
    settling: Settling,
    phase: watch::Sender<Phase>,
    /// Held by the one worker that waits for deliveries: an arrival wakes one, not all.
    turn: tokio::sync::Mutex<()>,
    /// Runs handed off by workers that are stuck in a slow delivery.
    handed_off: Mutex<VecDeque<Run>>,
    hand_off_wakes: Notify,
    stopped: OnceLock<String>,
}

impl Dispatch {
    pub(crate) fn new(
        home: SettleContext,
        slot: Arc<Slot>,
        ladder: Arc<Ladder>,
        stats: Arc<Stats>,
    ) -> Self {
        let home = Arc::new(home);
        Self {
            settling: Settling::new(Arc::clone(&home), Arc::clone(&stats)),
            slot,
            ladder,
            stats,
            phase: watch::Sender::new(Phase::Serving),
            turn: tokio::sync::Mutex::default(),
            handed_off: Mutex::default(),
            hand_off_wakes: Notify::new(),
            stopped: OnceLock::new(),
            home,
        }
    }

    pub(crate) fn name(&self) -> &SubscriptionName {
        &self.home.subscription
    }

    /// Takes from an event what its listener doesn't get.
    pub(crate) fn project(&self, event: &mut Event) {
        if !self.home.projection.is_whole() {
            *event = self.home.projection.apply(event);
        }
    }

    pub(crate) fn recordings(&self) -> &Recordings {
        &self.home.recordings
    }

    pub(crate) fn tracing(&self) -> &Tracing {
        &self.home.tracing
    }

    pub(crate) fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// How many deliveries the listener may be given at the same time now, at `instances` for each machine.
    pub(crate) fn at_once(&self, instances: usize) -> usize {
        self.slot.present().listener().at_once(instances)
    }

    /// Takes a hold on the serving version.
    pub(crate) fn hold(&self) -> Hold {
        self.slot.hold()
    }

    /// The version that re-runs a delivery which failed on `digest`: the previous version during a
    /// trial, the serving version once the trial has failed.
    pub(crate) fn stand_in(&self, digest: Digest) -> Option<Hold> {
        self.ladder.stand_in(digest, self.name()).or_else(|| {
            let present = self.ladder.has_failed_trial(digest).then(|| self.hold())?;
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
            let pass = self.ladder.admitted(changes, || self.release_handed_off()).await;
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
            if let Some(run) = self.take_handed_off() {
                return Ok(run);
            }
            tokio::select! {
                biased;
                () = self.hand_off_wakes.notified() => {}
                leases = self.lease(max) => return Ok(Run::new(Arc::clone(&self.home), leases?)),
            }
        }
    }

    async fn lease(&self, max: usize) -> Result<Vec<Lease>, BrokerError> {
        let _turn = self.turn.lock().await;
        self.home.broker.lease(&self.home.subscription, max).await
    }

    /// Has the broker call once when a delivery is ready, or leasing fails.
    pub(crate) fn when_ready(&self, call: impl FnOnce() + Send + 'static) {
        if let Err(error) = self.home.broker.when_ready(self.name(), Box::new(call)) {
            self.stopped_by(&error);
        }
    }

    /// Settles the finished part of a run and leaves the waiting part to the next idle worker; returns
    /// whether there is one.
    pub(crate) fn hand_off(&self, rest: Rest<'_>) -> bool {
        self.settling.submit_aside(std::mem::take(rest.done));
        if rest.waiting.is_empty() {
            return false;
        }
        let run = Run::new(Arc::clone(&self.home), std::mem::take(rest.waiting));
        self.handed_off.lock().unwrap_or_else(PoisonError::into_inner).push_back(run);
        self.hand_off_wakes.notify_one();
        true
    }

    /// Whether a run waits for an idle worker.
    pub(crate) fn has_handed_off(&self) -> bool {
        !self.handed_off.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take_handed_off(&self) -> Option<Run> {
        let mut handed_off = self.handed_off.lock().unwrap_or_else(PoisonError::into_inner);
        let run = handed_off.pop_front();
        if !handed_off.is_empty() {
            // `Notify` stores a single permit: two runs handed off before a wake-up wake only
            // one worker.
            self.hand_off_wakes.notify_one();
        }
        run
    }

    /// Releases runs handed off that no worker has picked up.
    pub(crate) fn release_handed_off(&self) {
        while let Some(run) = self.take_handed_off() {
            drop(run);
        }
    }

    pub(crate) async fn submit(&self, settlements: Vec<Finished>) {
        self.settling.submit(settlements).await;
    }

    pub(crate) fn add(&self, tally: &RunStats) {
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

    /// The executor that guests run on.
    pub(crate) fn guests(&self) -> &tokio::runtime::Handle {
        &self.home.guests
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(crate) fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Whether leasing failed for good.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// Waits until all settlements are committed, at most `patience`; returns whether they are.
    pub(crate) async fn settled(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.settling.finished()).await.is_ok()
    }
}
