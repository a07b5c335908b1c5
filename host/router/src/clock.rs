//! The `time` of emitted events: RFC 3339 with milliseconds, formatted at most once per
//! millisecond.

use usher_broker::{Clock as _, SystemClock};
use usher_event::format_time;

/// The wall clock as text.
#[derive(Debug, Default)]
pub(crate) struct CachedClock {
    time_ms: u64,
    text: String,
}

impl CachedClock {
    /// The current time as text.
    pub(crate) fn now(&mut self) -> &str {
        self.at(SystemClock.now_ms())
    }

    fn at(&mut self, time_ms: u64) -> &str {
        if self.text.is_empty() || self.time_ms != time_ms {
            self.time_ms = time_ms;
            self.text = format_time(time_ms);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_follows_the_clock() {
        let cases =
            [(0, "1970-01-01T00:00:00.000Z"), (1_769_860_800_007, "2026-01-31T12:00:00.007Z")];
        let mut stamp = CachedClock::default();
        for (time_ms, text) in cases {
            assert_eq!(stamp.at(time_ms), text);
            assert_eq!(stamp.at(time_ms), text);
        }
    }
}
