//! What becomes of failed deliveries.

use std::collections::BTreeMap;
use std::time::Duration;

use usher_event::FailureClass;

/// Exponential backoff: `first_delay × factor^(attempt − 1)`, at most `max_delay`, spread by
/// ± `jitter`; a dead letter after `max_attempts` or once `max_age` has passed since the first.
///
/// A kind of failure with settings of its own is counted by itself; all others are counted
/// together. A listener that answers `retry` and asks for a wait of [`crate::RATE_LIMITED_MIN`] or
/// more tells that it is busy, not that it failed: that doesn't count, and only `max_age` ends it.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Wait before the second attempt.
    pub first_delay: Duration,
    /// Growth from one wait to the next; at least 1.
    pub factor: f64,
    /// The longest wait.
    pub max_delay: Duration,
    /// Spread as a fraction of the wait, 0 to 1.
    pub jitter: f64,
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// How long after the first failure the last attempt may start.
    pub max_age: Duration,
    /// What is different for some kinds of failure.
    pub classes: BTreeMap<FailureClass, ClassRetry>,
}

/// What of a [`RetryPolicy`] is different for one kind of failure; the rest is as in the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassRetry {
    /// Wait before the second attempt.
    pub first_delay: Option<Duration>,
    /// Growth from one wait to the next; at least 1.
    pub factor: Option<f64>,
    /// The longest wait.
    pub max_delay: Option<Duration>,
    /// Failures of this kind at which it ends; at least 1.
    pub max_attempts: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_secs(1),
            factor: 2.0,
            max_delay: Duration::from_secs(30 * 60),
            jitter: 0.2,
            max_attempts: 60,
            max_age: Duration::from_secs(24 * 60 * 60),
            classes: BTreeMap::new(),
        }
    }
}
