//! The first deliveries of a new version: whether they say that the version before was better.
//!
//! While a version is on trial the one before stays ready. A delivery at which the new one fails
//! runs on it at once, within the same attempt; only where the version before comes to an answer is
//! the failure the new one's own.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;
use usher_event::{Digest, Failure, FailureClass, SubscriptionName};

use crate::clock::unix_ms;
use crate::swap::Serving;

/// When a new version is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialPolicy {
    /// So many deliveries are looked at; at least as many as `failures`.
    pub deliveries: u32,
    /// So many of them failed at the new version and not at the one before roll it back; at least 1.
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
    /// The bytes that failed.
    pub digest: Digest,
    /// The bytes that served before.
    pub good: Digest,
    /// How many deliveries failed.
    pub failures: u32,
    /// Of how many.
    pub deliveries: u32,
    /// The class of the last failure.
    pub class: FailureClass,
    /// Its reason.
    pub reason: String,
}

/// The version that served before, kept ready.
pub(crate) struct LastGood {
    pub(crate) serving: Arc<Serving>,
    /// Whether it has ever acknowledged a delivery: one that only rejects proves nothing against
    /// another.
    has_acked: bool,
    /// Tells whoever waits to drain it that it is no longer needed, by being dropped.
    _over: oneshot::Sender<()>,
}

impl LastGood {
    /// The second answer resolves once it is no longer needed.
    pub(crate) fn new(serving: Arc<Serving>, has_acked: bool) -> (Self, oneshot::Receiver<()>) {
        let (over, is_over) = oneshot::channel();
        (Self { serving, has_acked, _over: over }, is_over)
    }
}

/// A version on trial.
pub(crate) struct Trial {
    policy: TrialPolicy,
    digest: Digest,
    /// The subscriptions that the version before served in the same way.
    pub(crate) kept: BTreeSet<SubscriptionName>,
    pub(crate) last_good: LastGood,
    answered: u32,
    failed: u32,
}

/// What a delivery led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The version is good.
    Passed,
    /// The version is not.
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

    /// The bytes on trial.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes that served before.
    pub(crate) fn good(&self) -> Digest {
        self.last_good.serving.listener().digest()
    }

    /// Whether this version takes in deliveries in place of the one on trial.
    pub(crate) fn stands_in(&self, digest: Digest, subscription: &SubscriptionName) -> bool {
        digest == self.digest && self.kept.contains(subscription)
    }

    /// Whether the version before has ever acknowledged a delivery.
    pub(crate) fn is_worth_going_back(&self) -> bool {
        self.last_good.has_acked
    }

    /// The version came to an answer.
    pub(crate) fn answered(&mut self) -> Option<Ruling> {
        self.answered += 1;
        let left = self.policy.deliveries.saturating_sub(self.answered + self.failed);
        (self.failed + left < self.policy.failures).then_some(Ruling::Passed)
    }

    /// The version failed where the one before came to an answer, which was an acknowledgement or not.
    pub(crate) fn stood_in(&mut self, failure: &Failure, is_ack: bool) -> Option<Ruling> {
        self.last_good.has_acked |= is_ack;
        if self.last_good.has_acked { self.failed(failure) } else { None }
    }

    /// The version failed, and it is its own fault.
    fn failed(&mut self, failure: &Failure) -> Option<Ruling> {
        self.failed += 1;
        if self.failed < self.policy.failures {
            let left = self.policy.deliveries.saturating_sub(self.answered + self.failed);
            return (self.failed + left < self.policy.failures).then_some(Ruling::Passed);
        }
        Some(Ruling::Failed(FailedTrial {
            time_ms: unix_ms(),
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

    /// Plays deliveries: `.` answered, `x` failed where the version before acknowledged it, `r` where
    /// that rejected it. Only the last may lead to a ruling.
    fn play(trial: &mut Trial, deliveries: &str) -> Option<Ruling> {
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
            // What has acknowledged nothing is no better.
            (5, 5, "rrrrrrrrrr", None),
            (5, 5, "rrrrxrrrr", Some(false)),
        ] {
            let mut trial = trial(deliveries, failures);
            let passed = play(&mut trial, played).map(|ruling| ruling == Ruling::Passed);
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
