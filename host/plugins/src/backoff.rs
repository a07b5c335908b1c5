//! Backoff for files that were refused for a transient reason.

use std::time::{Duration, Instant};

/// The first delay; each further one doubles.
const FIRST: Duration = Duration::from_secs(1);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(60);

/// One delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    wait: Duration,
    due: Instant,
}

impl Backoff {
    /// Starts a delay now; `before` is the delay before the failed attempt.
    pub(super) fn begin(before: Option<Self>, now: Instant) -> Self {
        let wait = before.map_or(FIRST, |before| (before.wait * 2).min(LONGEST));
        Self { wait, due: now + wait }
    }

    /// Whether it has elapsed.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let mut now = Instant::now();
        let mut backoff = None;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let begun = Backoff::begin(backoff, now);
            now += Duration::from_secs(seconds);
            assert!(!begun.is_over(now - Duration::from_millis(1)), "{seconds} s");
            assert!(begun.is_over(now), "{seconds} s");
            backoff = Some(begun);
        }
    }
}
