//! What stands between a plugin and its deliveries: its breaker, its quarantine, an operator's
//! pause, the trial of a new version. One for each plugin, shared by all that serve its subscriptions; it outlives a hot swap.
//!
//! While nothing is wrong, a delivery costs two loads here and no lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use usher_event::{Digest, Failure, FailureClass, PluginName, SubscriptionName};

use crate::breaker::{Admission, Breaker, BreakerPolicy, Change, Sign};
use crate::clock::unix_ms;
use crate::swap::Hold;
use crate::trial::{FailedTrial, Ruling, Trial};

/// Why a plugin was quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// The bytes that failed; others are not quarantined for it.
    pub digest: Digest,
    /// How many different events failed.
    pub failures: u64,
    /// Within how long.
    pub window: Duration,
    /// The class of the last failure.
    pub class: FailureClass,
    /// Its reason.
    pub reason: String,
}

/// What keeps deliveries from a plugin that is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The bytes that serve.
    pub digest: Option<Digest>,
    /// Whether an operator paused it.
    pub is_paused: bool,
    /// Why nothing but probes is taken, while its breaker is open.
    pub open: Option<String>,
    /// Why it is quarantined, where it is.
    pub quarantine: Option<Quarantine>,
    /// The version whose trial has failed, until another is installed.
    pub failed_trial: Option<FailedTrial>,
    /// The bytes that served before, while the ones that serve are on trial.
    pub last_good: Option<Digest>,
}

/// See above.
pub(crate) struct Ladder {
    plugin: PluginName,
    began: Instant,
    state: Mutex<State>,
    /// Whether deliveries may be taken as they come.
    is_free: AtomicBool,
    /// Whether an answer would change something.
    is_watched: AtomicBool,
    /// Whether the bytes that serve have acknowledged a delivery.
    has_acked: AtomicBool,
    /// Wakes those who wait to be admitted, and those who were and wait for deliveries.
    changes: watch::Sender<u64>,
    /// Wakes whoever keeps the books on plugins.
    notices: watch::Sender<u64>,
}

struct State {
    digest: Digest,
    policy: BreakerPolicy,
    breaker: Breaker,
    is_paused: bool,
    quarantine: Option<Quarantine>,
    /// Why the breaker is open, for as long as it is.
    open: Option<String>,
    trial: Option<Trial>,
    failed_trial: Option<FailedTrial>,
    /// The bytes whose trial failed last: deliveries may still be under way on them when they no
    /// longer serve.
    undone: Option<Digest>,
}

/// Leave to take deliveries.
pub(crate) enum Pass {
    /// As many as there are.
    Free,
    /// One. Which of those who have one may use it is known when they have a delivery.
    Probe,
}

/// A probe that is under way until this is dropped.
pub(crate) struct Probing(Arc<Ladder>);

impl Ladder {
    pub(crate) fn new(
        plugin: PluginName,
        digest: Digest,
        policy: BreakerPolicy,
        notices: watch::Sender<u64>,
    ) -> Arc<Self> {
        let state = State {
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

    /// These bytes serve from now on, by this policy; what failed before is forgotten where they are
    /// others.
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

    /// Ends the trial, where there is one, without a ruling.
    pub(crate) fn take_trial(&self) -> Option<Trial> {
        self.change(|state| state.trial.take())
    }

    /// The version before, where it stands in for these bytes.
    pub(crate) fn stand_in(&self, digest: Digest, subscription: &SubscriptionName) -> Option<Hold> {
        let state = self.lock();
        let trial = state.trial.as_ref().filter(|trial| trial.stands_in(digest, subscription))?;
        Some(trial.last_good.serving.hold())
    }

    /// Whether the trial of these bytes failed, and others serve or are about to.
    pub(crate) fn is_undone(&self, digest: Digest) -> bool {
        self.lock().undone == Some(digest)
    }

    /// Notes that these bytes failed where the version before came to an answer; `is_ack` says that it
    /// acknowledged the delivery.
    pub(crate) fn stood_in(&self, digest: Digest, failure: &Failure, is_ack: bool) {
        self.try_out(digest, |trial| trial.stood_in(failure, is_ack));
    }

    /// Notes that the bytes that serve acknowledged a delivery before they were served here.
    pub(crate) fn has_acked_before(&self) {
        self.has_acked.store(true, Ordering::Release);
    }

    /// Notes that a delivery was acknowledged by these bytes.
    pub(crate) fn acked(&self, sequence: u64, digest: Digest) {
        if !self.has_acked.load(Ordering::Acquire) {
            // Under the lock, so that bytes that have just been replaced don't count.
            let state = self.lock();
            if state.digest == digest && !self.has_acked.swap(true, Ordering::AcqRel) {
                self.notify();
            }
        }
        self.answered(sequence, digest);
    }

    /// Whether the version before the one on trial has ever acknowledged a delivery.
    pub(crate) fn is_worth_going_back(&self, digest: Digest) -> bool {
        let state = self.lock();
        let trial = state.trial.as_ref().filter(|trial| trial.digest() == digest);
        trial.is_none_or(Trial::is_worth_going_back)
    }

    fn try_out(&self, digest: Digest, note: impl FnOnce(&mut Trial) -> Option<Ruling>) {
        self.change(|state| {
            let is_over = state.failed_trial.is_some();
            let on_trial = |trial: &&mut Trial| trial.digest() == digest && !is_over;
            let Some(ruling) = state.trial.as_mut().filter(on_trial).and_then(note) else { return };
            match ruling {
                Ruling::Passed => {
                    tracing::info!(plugin = %self.plugin, %digest, "trial passed");
                    state.trial = None;
                }
                // The version before still stands in for what is under way.
                Ruling::Failed(failed) => {
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

    /// Pauses or goes on.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.change(|state| state.is_paused = is_paused);
    }

    /// Quarantines for what happened before.
    pub(crate) fn quarantine(&self, quarantine: Quarantine) {
        self.change(|state| {
            state.breaker.quarantine();
            state.quarantine = Some(quarantine);
        });
    }

    /// Lifts the quarantine; answers why there was one.
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

    /// The bytes that serve, where they have acknowledged a delivery.
    pub(crate) fn proven(&self) -> Option<Digest> {
        let state = self.lock();
        self.has_acked.load(Ordering::Acquire).then_some(state.digest)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until deliveries may be taken. `changes` tells from then on that it may be otherwise.
    /// Calls `idle` before it waits.
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
                // The sender is part of this ladder.
                _ = changes.changed() => {}
                () = due => {}
            }
        }
    }

    /// Whether nothing stands in the way of deliveries.
    pub(crate) fn is_free(&self) -> bool {
        self.is_free.load(Ordering::Acquire)
    }

    /// Begins a probe, unless somebody else was first.
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

    /// Notes that these bytes came to an answer.
    pub(crate) fn answered(&self, sequence: u64, digest: Digest) {
        if !self.is_watched.load(Ordering::Acquire) {
            return;
        }
        self.try_out(digest, Trial::answered);
        let now_ms = self.now_ms();
        let change = self.change(|state| state.breaker.note(Sign::Answered, sequence, now_ms));
        if change == Some(Change::Closed) {
            tracing::info!(plugin = %self.plugin, "breaker closed: deliveries go on");
        }
    }

    /// Notes that these bytes failed at an event.
    pub(crate) fn failed(&self, sequence: u64, digest: Digest, failure: &Failure) {
        let now_ms = self.now_ms();
        let Failure { class, reason, .. } = failure;
        self.change(|state| match state.breaker.note(Sign::Failed, sequence, now_ms) {
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
                    time_ms: unix_ms(),
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

    fn admission_of(&self, state: &State) -> Admission {
        let is_held = state.is_paused || state.quarantine.is_some() || state.failed_trial.is_some();
        match is_held {
            true => Admission::Never,
            false => state.breaker.admission(self.now_ms()),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        let now_ms = self.0.now_ms();
        self.0.change(|state| state.breaker.probed(now_ms));
        self.0.wake();
    }
}
