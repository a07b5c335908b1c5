//! Trial of a new version: whether its first deliveries warrant a rollback.
//!
//! During a trial the previous version stays ready. A delivery that the new version fails runs on
//! the previous one within the same attempt; only if that returns a verdict does the failure count
//! against the new version.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;
use usher_broker::{Clock as _, SystemClock};
use usher_event::{Digest, Failure, FailureClass, SubscriptionName};

use crate::swap::Serving;

/// When a new version is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialPolicy {
    /// Deliveries to observe; at least `failures`.
    pub deliveries: u32,
    /// Roll back after this many fail on the new version but not on the previous one; at least 1.
    pub failures: u32,
}

impl Default for TrialPolicy {
    fn default() -> Self {
        Self { deliveries: 20, failures: 5 }
    }
}

/// A version that failed its trial. Its plugin gets no deliveries until another is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedTrial {
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// Digest of the component that failed.
    pub digest: Digest,
    /// Digest of the previous component.
    pub good: Digest,
    /// How many deliveries failed.
    pub failures: u32,
    /// Number of deliveries observed.
    pub deliveries: u32,
    /// The class of the last failure.
    pub class: FailureClass,
    /// Its reason.
    pub reason: String,
}

/// The previous version, kept as the fallback.
pub(crate) struct LastGood {
    pub(crate) serving: Arc<Serving>,
    /// Whether it has ever acked a delivery: a version that only rejects is no evidence against
    /// another.
    has_acked: bool,
    /// Dropped to signal that the version may be drained.
    _over: oneshot::Sender<()>,
}

impl LastGood {
    /// The receiver resolves once the version is no longer needed.
    pub(crate) fn new(serving: Arc<Serving>, has_acked: bool) -> (Self, oneshot::Receiver<()>) {
        let (over, is_over) = oneshot::channel();
        (Self { serving, has_acked, _over: over }, is_over)
    }
}

/// A version on trial.
pub(crate) struct Trial {
    policy: TrialPolicy,
    digest: Digest,
    /// Subscriptions that the previous version serves with the same specification.
    pub(crate) kept: BTreeSet<SubscriptionName>,
    pub(crate) last_good: LastGood,
    answered: u32,
    failed: u32,
}

/// Result of a trial.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TrialOutcome {
    /// Keep the new version.
    Passed,
    /// Roll back.
    Failed(FailedTrial),
}

impl Trial {
    pub(crate) fn new(
        policy: TrialPolicy,
        digest: Digest,
        kept: BTreeSet<SubscriptionName>,
        last_good: LastGood,
    ) -> Self {
        Self { policy, digest, kept, last_good, answered: 0, failed: 0 }
    }

    /// Digest on trial.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Digest of the previous version.
    pub(crate) fn good(&self) -> Digest {
        self.last_good.serving.listener().digest()
    }

    /// Whether the previous version is the fallback for `digest` on this subscription.
    pub(crate) fn stands_in(&self, digest: Digest, subscription: &SubscriptionName) -> bool {
        digest == self.digest && self.kept.contains(subscription)
    }

    /// Whether the previous version has ever acked a delivery.
    pub(crate) fn fallback_has_acked(&self) -> bool {
        self.last_good.has_acked
    }

    /// Records a verdict of the version on trial.
    pub(crate) fn answered(&mut self) -> Option<TrialOutcome> {
        self.answered += 1;
        let left = self.policy.deliveries.saturating_sub(self.answered + self.failed);
        (self.failed + left < self.policy.failures).then_some(TrialOutcome::Passed)
    }

    /// Records a failure where the previous version returned a verdict; `is_ack` if an ack.
    pub(crate) fn stood_in(&mut self, failure: &Failure, is_ack: bool) -> Option<TrialOutcome> {
        self.last_good.has_acked |= is_ack;
        if self.last_good.has_acked { self.failed(failure) } else { None }
    }

    /// Counts a failure that is the new version's own.
    fn failed(&mut self, failure: &Failure) -> Option<TrialOutcome> {
        self.failed += 1;
        if self.failed < self.policy.failures {
            let left = self.policy.deliveries.saturating_sub(self.answered + self.failed);
            return (self.failed + left < self.policy.failures).then_some(TrialOutcome::Passed);
        }
        Some(TrialOutcome::Failed(FailedTrial {
            time_ms: SystemClock.now_ms(),
            digest: self.digest,
            good: self.good(),
            failures: self.failed,
            deliveries: self.answered + self.failed,
            class: failure.class,
            reason: failure.reason.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use usher_event::{Delivery, Listener, Outcome, PluginName};

    use super::*;
    use crate::verdict::EmissionLimits;

    struct Before(PluginName);

    #[async_trait]
    impl Listener for Before {
        fn name(&self) -> &PluginName {
            &self.0
        }

        fn version(&self) -> &str {
            "1"
        }

        fn digest(&self) -> Digest {
            Digest::of(b"before")
        }

        async fn handle(&self, _: &Delivery) -> Outcome {
            unreachable!("nothing is delivered")
        }
    }

    fn trial(deliveries: u32, failures: u32) -> Trial {
        let before = Arc::new(Before("p".parse().unwrap()));
        let (last_good, _) = LastGood::new(Serving::new(before, EmissionLimits::default()), false);
        let kept = ["p/kept".parse().unwrap()].into();
        Trial::new(TrialPolicy { deliveries, failures }, Digest::of(b"new"), kept, last_good)
    }

    /// Plays deliveries: `.` answered, `x` failed where the previous version acked, `r` failed
    /// where it rejected. Only the last may produce a ruling.
    fn play(trial: &mut Trial, deliveries: &str) -> Option<TrialOutcome> {
        let failure = Failure::new(FailureClass::Trap, "unreachable");
        let mut ruling = None;
        for delivery in deliveries.chars() {
            assert_eq!(ruling, None, "{deliveries}");
            ruling = match delivery {
                '.' => trial.answered(),
                'r' => trial.stood_in(&failure, false),
                _ => trial.stood_in(&failure, true),
            };
        }
        ruling
    }

    #[test]
    fn a_ruling_comes_as_soon_as_nothing_can_change_it() {
        for (deliveries, failures, played, passes) in [
            (5, 5, ".", Some(true)),
            (5, 5, "xxxx.", Some(true)),
            (5, 5, "xxxxx", Some(false)),
            (20, 5, "xxxxx", Some(false)),
            (20, 5, "x.x.x.x.x", Some(false)),
            (20, 5, "...............", None),
            (20, 5, "................", Some(true)),
            (20, 5, "xxxx...............x", Some(false)),
            (20, 5, "xxxx................", Some(true)),
            (1, 1, "x", Some(false)),
            // A previous version that has never acked is no better.
            (5, 5, "rrrrrrrrrr", None),
            (5, 5, "rrrrxrrrr", Some(false)),
        ] {
            let mut trial = trial(deliveries, failures);
            let passed = play(&mut trial, played).map(|ruling| ruling == TrialOutcome::Passed);
            assert_eq!(passed, passes, "{deliveries} {failures} {played}");
        }
    }

    #[test]
    fn the_version_before_stands_in_for_what_it_served() {
        let trial = trial(5, 5);
        let (kept, new) = ("p/kept".parse().unwrap(), "p/new".parse().unwrap());
        assert!(trial.stands_in(Digest::of(b"new"), &kept));
        assert!(!trial.stands_in(Digest::of(b"new"), &new));
        assert!(!trial.stands_in(Digest::of(b"before"), &kept));
    }
}
