//! Retry policy for failed deliveries.

use std::collections::BTreeMap;
use std::time::Duration;

use usher_event::FailureClass;

/// Exponential backoff: `first_delay × factor^(attempt − 1)`, at most `max_delay`, spread by
/// ±`jitter`. The delivery is dead-lettered after `max_attempts`, or once `max_age` has passed
/// since the first failure.
///
/// Failure classes with settings of their own are counted separately; all others share one count. A
/// listener that returns `retry` with a delay of at least [`crate::RATE_LIMITED_MIN`] is busy
/// rather than failing: the attempt isn't counted, and only `max_age` ends the delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Delay before the second attempt.
    pub first_delay: Duration,
    /// Growth factor from one delay to the next; at least 1.
    pub factor: f64,
    /// The longest delay.
    pub max_delay: Duration,
    /// Jitter as a fraction of the delay, 0 to 1.
    pub jitter: f64,
    /// Total attempts, including the first; at least 1.
    pub max_attempts: u32,
    /// How long after the first failure the last attempt may start.
    pub max_age: Duration,
    /// Overrides per failure class.
    pub classes: BTreeMap<FailureClass, ClassRetry>,
}

/// Overrides of a [`RetryPolicy`] for one failure class; `None` keeps the policy's value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassRetry {
    /// Delay before the second attempt.
    pub first_delay: Option<Duration>,
    /// Growth factor from one delay to the next; at least 1.
    pub factor: Option<f64>,
    /// The longest delay.
    pub max_delay: Option<Duration>,
    /// Failures of this class after which the delivery is given up; at least 1.
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
