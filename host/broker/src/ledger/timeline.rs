//! A monotonic time derived from a clock that may be set back. In-memory timers run on it, so that
//! a clock set back by an hour doesn't delay every retry by an hour.

use crate::store::rows::millis;
use crate::{CLOCK_STEP_MAX, SCHEDULE_STEP_MAX};

/// Counts milliseconds; equals Unix time until the clock is first set back.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    ahead_ms: u64,
    last_tick: u64,
    /// The latest time at which an event was recorded.
    newest_ms: u64,
    /// By how much the clock was set back, until that is reported.
    set_back_ms: Option<u64>,
}

/// Whether a recorded time is further ahead than a correct clock could have been.
pub(super) fn is_ahead(time_ms: u64, now_ms: u64) -> bool {
    time_ms > now_ms.saturating_add(millis(CLOCK_STEP_MAX))
}

/// The same for a schedule's position.
pub(super) fn is_schedule_ahead(until_ms: u64, now_ms: u64) -> bool {
    until_ms > now_ms.saturating_add(millis(SCHEDULE_STEP_MAX))
}

impl Timeline {
    /// Advances to `now_ms` and returns the tick.
    pub(super) fn tick(&mut self, now_ms: u64) -> u64 {
        let tick = now_ms.saturating_add(self.ahead_ms);
        if tick < self.last_tick {
            // Set back: the tick holds here and continues from it.
            let back_ms = self.last_tick - tick;
            if back_ms > millis(CLOCK_STEP_MAX) {
                self.set_back_ms = Some(back_ms);
            }
            self.ahead_ms = self.last_tick - now_ms;
        } else {
            self.last_tick = tick;
        }
        self.last_tick
    }

    /// The newest tick.
    pub(super) fn now(&self) -> u64 {
        self.last_tick
    }

    /// Registers the newest time found in the store; the clock may have been set back since.
    pub(super) fn found(&mut self, newest_ms: u64, now_ms: u64) {
        self.newest_ms = newest_ms;
        if is_ahead(newest_ms, now_ms) {
            self.set_back_ms = Some(newest_ms - now_ms);
        }
    }

    /// Notes when an event was recorded.
    pub(super) fn recorded(&mut self, now_ms: u64) {
        self.newest_ms = self.newest_ms.max(now_ms);
    }

    pub(super) fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    /// Whether a setback hasn't been reported yet.
    pub(super) fn was_set_back(&self) -> bool {
        self.set_back_ms.is_some()
    }

    /// By how much the clock was set back; reported once per setback of more than a step.
    pub(super) fn take_set_back_ms(&mut self) -> Option<u64> {
        self.set_back_ms.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_costs_no_time() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.tick(10_000), 10_000);
        assert_eq!(timeline.tick(2_000), 10_000);
        assert_eq!(timeline.tick(2_500), 10_500);
        assert_eq!(timeline.tick(100), 10_500);
        assert_eq!(timeline.tick(101), 10_501);
        assert_eq!(timeline.tick(20_000), 30_400);
    }

    #[test]
    fn a_clock_set_back_by_more_than_a_step_is_told_once() {
        let mut timeline = Timeline::default();
        timeline.tick(1_000_000);
        timeline.tick(940_000);
        assert_eq!(timeline.take_set_back_ms(), None, "a step");
        timeline.tick(1_000_000);
        timeline.tick(939_999);
        assert_eq!(timeline.take_set_back_ms(), Some(60_001));
        assert_eq!(timeline.take_set_back_ms(), None);
        timeline.found(1_000_000, 900_000);
        assert_eq!(timeline.take_set_back_ms(), Some(100_000));
    }
}
