//! A time that never runs backwards, made of one that may. Timers in memory run on it, so that a
//! clock set back by an hour doesn't keep every retry waiting for that hour.

/// Counts milliseconds; equal to Unix time until the clock is first set back.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    ahead_ms: u64,
    last_tick: u64,
}

impl Timeline {
    /// The tick at this time.
    pub(super) fn tick(&mut self, now_ms: u64) -> u64 {
        let tick = now_ms.saturating_add(self.ahead_ms);
        if tick < self.last_tick {
            // Set back: the tick stands still now and goes on from here.
            self.ahead_ms = self.last_tick - now_ms;
        } else {
            self.last_tick = tick;
        }
        self.last_tick
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
}
