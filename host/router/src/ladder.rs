//! What stands between a plugin and its deliveries: its breaker, its quarantine, an operator's
//! pause. One for each plugin, shared by all that serve its subscriptions; it outlives a hot swap.
//!
//! While nothing is wrong, a delivery costs two loads here and no lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use usher_event::{Digest, Failure, FailureClass, PluginName};

use crate::breaker::{Admission, Breaker, BreakerPolicy, Change, Sign};
use crate::clock::unix_ms;

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
    /// Whether an operator paused it.
    pub is_paused: bool,
    /// Why nothing but probes is taken, while its breaker is open.
    pub open: Option<String>,
    /// Why it is quarantined, where it is.
    pub quarantine: Option<Quarantine>,
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
    /// Wakes those who wait to be admitted, and those who were and wait for deliveries.
    changes: watch::Sender<u64>,
    /// Wakes whoever keeps the books on plugins.
    notices: watch::Sender<u64>,
}

struct State {
    policy: BreakerPolicy,
    breaker: Breaker,
    is_paused: bool,
    quarantine: Option<Quarantine>,
    /// Why the breaker is open, for as long as it is.
    open: Option<String>,
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
        policy: BreakerPolicy,
        notices: watch::Sender<u64>,
    ) -> Arc<Self> {
        let state = State {
            policy,
            breaker: Breaker::new(policy),
            is_paused: false,
            quarantine: None,
            open: None,
        };
        Arc::new(Self {
            plugin,
            began: Instant::now(),
            state: Mutex::new(state),
            is_free: AtomicBool::new(true),
            is_watched: AtomicBool::new(false),
            changes: watch::Sender::new(0),
            notices,
        })
    }

    /// Goes by this policy from now on; what failed before is forgotten where other bytes serve.
    pub(crate) fn renew(&self, policy: BreakerPolicy, others_serve: bool) {
        self.change(|state| {
            state.policy = policy;
            state.breaker.change_policy(policy);
            if others_serve {
                state.breaker.reset();
                if state.quarantine.take().is_some() {
                    self.notify();
                }
            }
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
        Standing { is_paused: state.is_paused, open, quarantine: state.quarantine.clone() }
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

    /// Notes that the plugin came to an answer.
    pub(crate) fn answered(&self, sequence: u64) {
        if !self.is_watched.load(Ordering::Acquire) {
            return;
        }
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
        match state.is_paused || state.quarantine.is_some() {
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
        self.is_watched.store(state.breaker.is_troubled(), Ordering::Release);
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
