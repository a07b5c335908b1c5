//! Admission of deliveries to a plugin: breaker, quarantine, operator's pause, and the trial of a
//! new version. One per plugin, shared by its subscriptions; survives a hot swap.
//!
//! In the healthy state a delivery costs two atomic loads and no lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use usher_broker::{Clock as _, SystemClock};
use usher_event::{Digest, Failure, FailureClass, PluginName, SubscriptionName, millis};

use crate::breaker::{Admission, Breaker, BreakerInput, BreakerPolicy, Change};
use crate::swap::Hold;
use crate::trial::{FailedTrial, Trial, TrialOutcome};

/// Why a plugin was quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// Digest of the component that failed; the quarantine applies to it alone.
    pub digest: Digest,
    /// Number of distinct events that failed.
    pub failures: u64,
    /// The window they failed in.
    pub window: Duration,
    /// The class of the last failure.
    pub class: FailureClass,
    /// Its reason.
    pub reason: String,
}

/// What restricts deliveries to an installed plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Digest of the serving component.
    pub digest: Option<Digest>,
    /// Whether an operator paused it.
    pub is_paused: bool,
    /// Why the breaker admits only probes; `None` while it is closed.
    pub open: Option<String>,
    /// Why it is quarantined.
    pub quarantine: Option<Quarantine>,
    /// The version that failed its trial, until another is installed.
    pub failed_trial: Option<FailedTrial>,
    /// Digest of the previous component, during a trial.
    pub last_good: Option<Digest>,
}

/// See the module documentation.
pub(crate) struct Ladder {
    plugin: PluginName,
    began: Instant,
    state: Mutex<LadderState>,
    /// Whether deliveries are admitted without limit.
    is_free: AtomicBool,
    /// Whether a verdict could change the state; if not, the lock is skipped.
    is_watched: AtomicBool,
    /// Whether the serving component has acked a delivery.
    has_acked: AtomicBool,
    /// Wakes workers that wait for admission, or for deliveries while admitted.
    changes: watch::Sender<u64>,
    /// Signals a change that must be persisted.
    notices: watch::Sender<u64>,
}

struct LadderState {
    digest: Digest,
    policy: BreakerPolicy,
    breaker: Breaker,
    is_paused: bool,
    quarantine: Option<Quarantine>,
    /// Why the breaker is open.
    open: Option<String>,
    trial: Option<Trial>,
    failed_trial: Option<FailedTrial>,
    /// Digest that failed its trial last: deliveries on it may still be in flight when it no longer
    /// serves.
    undone: Option<Digest>,
}

/// Permission to lease.
pub(crate) enum Pass {
    /// Any number.
    Free,
    /// One. Of the workers that hold it, the first to lease a delivery runs the probe.
    Probe,
}

/// A running probe; ends when dropped.
pub(crate) struct Probing(Arc<Ladder>);

impl Ladder {
    pub(crate) fn new(
        plugin: PluginName,
        digest: Digest,
        policy: BreakerPolicy,
        notices: watch::Sender<u64>,
    ) -> Arc<Self> {
        let state = LadderState {
            digest,
            policy,
            breaker: Breaker::new(policy),
            is_paused: false,
            quarantine: None,
            open: None,
            trial: None,
            failed_trial: None,
            undone: None,
        };
        Arc::new(Self {
            plugin,
            began: Instant::now(),
            state: Mutex::new(state),
            is_free: AtomicBool::new(true),
            is_watched: AtomicBool::new(false),
            has_acked: AtomicBool::new(false),
            changes: watch::Sender::new(0),
            notices,
        })
    }

    /// Switches to `digest` and `policy`; failures are forgotten if the digest changes.
    pub(crate) fn renew(&self, digest: Digest, policy: BreakerPolicy, trial: Option<Trial>) {
        self.change(|state| {
            let others_serve = std::mem::replace(&mut state.digest, digest) != digest;
            state.policy = policy;
            state.trial = trial;
            state.failed_trial = None;
            state.undone = state.undone.filter(|undone| *undone != digest);
            state.breaker.change_policy(policy);
            if others_serve {
                state.breaker.reset();
                state.quarantine = None;
                self.has_acked.store(false, Ordering::Release);
            }
            self.notify();
        });
    }

    /// Ends the trial, if any, without a ruling.
    pub(crate) fn take_trial(&self) -> Option<Trial> {
        self.change(|state| state.trial.take())
    }

    /// The previous version, if it is the fallback for `digest`.
    pub(crate) fn stand_in(&self, digest: Digest, subscription: &SubscriptionName) -> Option<Hold> {
        let state = self.lock();
        let trial = state.trial.as_ref().filter(|trial| trial.stands_in(digest, subscription))?;
        Some(trial.last_good.serving.hold())
    }

    /// Whether `digest` failed its trial, and another version serves or is about to.
    pub(crate) fn has_failed_trial(&self, digest: Digest) -> bool {
        self.lock().undone == Some(digest)
    }

    /// Records that `digest` failed a delivery which the previous version then answered; `is_ack`
    /// if with an ack.
    pub(crate) fn stood_in(&self, digest: Digest, failure: &Failure, is_ack: bool) {
        self.try_out(digest, |trial| trial.stood_in(failure, is_ack));
    }

    /// Records that the serving component acked deliveries in an earlier installation.
    pub(crate) fn has_acked_before(&self) {
        self.has_acked.store(true, Ordering::Release);
    }

    /// Records an ack by `digest`.
    pub(crate) fn acked(&self, sequence: u64, digest: Digest) {
        if !self.has_acked.load(Ordering::Acquire) {
            // Under the lock, so that an ack of a version just replaced doesn't count.
            let state = self.lock();
            if state.digest == digest && !self.has_acked.swap(true, Ordering::AcqRel) {
                self.notify();
            }
        }
        self.answered(sequence, digest);
    }

    /// Whether the previous version has ever acked a delivery; `true` if `digest` isn't on trial.
    pub(crate) fn fallback_has_acked(&self, digest: Digest) -> bool {
        let state = self.lock();
        let trial = state.trial.as_ref().filter(|trial| trial.digest() == digest);
        trial.is_none_or(Trial::fallback_has_acked)
    }

    fn try_out(&self, digest: Digest, note: impl FnOnce(&mut Trial) -> Option<TrialOutcome>) {
        self.change(|state| {
            let is_over = state.failed_trial.is_some();
            let on_trial = |trial: &&mut Trial| trial.digest() == digest && !is_over;
            let Some(ruling) = state.trial.as_mut().filter(on_trial).and_then(note) else { return };
            match ruling {
                TrialOutcome::Passed => {
                    tracing::info!(plugin = %self.plugin, %digest, "trial passed");
                    state.trial = None;
                }
                // The trial stays: its previous version is still the fallback for deliveries in
                // flight.
                TrialOutcome::Failed(failed) => {
                    tracing::error!(
                        plugin = %self.plugin,
                        %digest,
                        good = %failed.good,
                        failures = failed.failures,
                        deliveries = failed.deliveries,
                        class = failed.class.as_str(),
                        reason = failed.reason,
                        "trial failed: the version before is to serve again"
                    );
                    state.undone = Some(digest);
                    state.failed_trial = Some(failed);
                }
            }
            self.notify();
        });
    }

    /// Pauses or resumes deliveries.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.change(|state| state.is_paused = is_paused);
    }

    /// Restores a persisted quarantine.
    pub(crate) fn quarantine(&self, quarantine: Quarantine) {
        self.change(|state| {
            state.breaker.quarantine();
            state.quarantine = Some(quarantine);
        });
    }

    /// Lifts the quarantine and returns it.
    pub(crate) fn release(&self) -> Option<Quarantine> {
        self.change(|state| {
            let lifted = state.quarantine.take();
            if lifted.is_some() {
                state.breaker.reset();
                self.notify();
            }
            lifted
        })
    }

    pub(crate) fn standing(&self) -> Standing {
        let state = self.lock();
        let open = state.open.clone().filter(|_| state.breaker.is_open());
        Standing {
            digest: Some(state.digest),
            is_paused: state.is_paused,
            open,
            quarantine: state.quarantine.clone(),
            failed_trial: state.failed_trial.clone(),
            last_good: state.trial.as_ref().map(Trial::good),
        }
    }

    /// Digest of the serving component, if it has acked a delivery.
    pub(crate) fn proven(&self) -> Option<Digest> {
        let state = self.lock();
        self.has_acked.load(Ordering::Acquire).then_some(state.digest)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits for admission. A later change is signalled on `changes`. Calls `idle` before it waits.
    pub(crate) async fn admitted(
        &self,
        changes: &mut watch::Receiver<u64>,
        idle: impl Fn(),
    ) -> Pass {
        loop {
            changes.mark_unchanged();
            if self.is_free() {
                return Pass::Free;
            }
            let until = match self.admission() {
                Admission::Free => return Pass::Free,
                Admission::Probe => return Pass::Probe,
                Admission::Until(time_ms) => Some(self.began + Duration::from_millis(time_ms)),
                Admission::Never => None,
            };
            idle();
            let due = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Can't be closed: the ladder owns the sender.
                _ = changes.changed() => {}
                () = due => {}
            }
        }
    }

    /// Whether deliveries are admitted without limit.
    pub(crate) fn is_free(&self) -> bool {
        self.is_free.load(Ordering::Acquire)
    }

    /// Begins a probe; `None` if another worker was first.
    pub(crate) fn begin_probe(self: &Arc<Self>) -> Option<Probing> {
        let mut state = self.lock();
        let begun = self.admission_of(&state) == Admission::Probe
            && state.breaker.begin_probe(self.now_ms());
        drop(state);
        begun.then(|| {
            self.wake();
            Probing(Arc::clone(self))
        })
    }

    /// Records that `digest` returned a verdict.
    pub(crate) fn answered(&self, sequence: u64, digest: Digest) {
        if !self.is_watched.load(Ordering::Acquire) {
            return;
        }
        self.try_out(digest, Trial::answered);
        let now_ms = self.now_ms();
        let change =
            self.change(|state| state.breaker.note(BreakerInput::Answered, sequence, now_ms));
        if change == Some(Change::Closed) {
            tracing::info!(plugin = %self.plugin, "breaker closed: deliveries go on");
        }
    }

    /// Records that `digest` failed an event.
    pub(crate) fn failed(&self, sequence: u64, digest: Digest, failure: &Failure) {
        let now_ms = self.now_ms();
        let Failure { class, reason, .. } = failure;
        self.change(|state| match state.breaker.note(BreakerInput::Failed, sequence, now_ms) {
            Some(Change::Opened) => {
                let failures = state.policy.failures;
                let open =
                    format!("{failures} events failed in a row, the last: {class}: {reason}");
                tracing::warn!(
                    plugin = %self.plugin,
                    %digest,
                    failures,
                    class = class.as_str(),
                    reason,
                    "breaker opened: single deliveries from now on, until one is answered"
                );
                state.open = Some(open);
            }
            Some(Change::Quarantined(failures)) => {
                let quarantine = Quarantine {
                    time_ms: SystemClock.now_ms(),
                    digest,
                    failures: u64::try_from(failures).unwrap_or(u64::MAX),
                    window: state.policy.quarantine_window,
                    class: *class,
                    reason: reason.clone(),
                };
                tracing::error!(
                    plugin = %self.plugin,
                    %digest,
                    failures,
                    class = class.as_str(),
                    reason,
                    "plugin quarantined: no more deliveries; its events wait in the log"
                );
                state.quarantine = Some(quarantine);
                self.notify();
            }
            Some(Change::Closed) | None => {}
        });
    }

    fn admission(&self) -> Admission {
        self.admission_of(&self.lock())
    }

    fn admission_of(&self, state: &LadderState) -> Admission {
        let is_held = state.is_paused || state.quarantine.is_some() || state.failed_trial.is_some();
        match is_held {
            true => Admission::Never,
            false => state.breaker.admission(self.now_ms()),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut LadderState) -> T) -> T {
        let mut state = self.lock();
        let before = self.is_free();
        let answer = change(&mut state);
        let is_free = self.admission_of(&state) == Admission::Free;
        self.is_free.store(is_free, Ordering::Release);
        let is_watched = state.breaker.is_troubled() || state.trial.is_some();
        self.is_watched.store(is_watched, Ordering::Release);
        drop(state);
        if before != is_free {
            self.wake();
        }
        answer
    }

    fn notify(&self) {
        self.notices.send_modify(|count| *count += 1);
    }

    fn wake(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, LadderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        let now_ms = self.0.now_ms();
        self.0.change(|state| state.breaker.probed(now_ms));
        self.0.wake();
    }
}
