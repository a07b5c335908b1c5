//! Schedules: events by the clock.

use usher_event::{Event, EventError, ScheduleName, format_time};

use crate::Calendar;

/// An event at each tick of a calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its name; how far it has come is kept under it.
    pub name: ScheduleName,
    /// When its ticks are.
    pub calendar: Calendar,
    /// What becomes of ticks that were missed.
    pub missed: Missed,
    /// What is appended; `id` and `time` are the tick's.
    pub event: Event,
}

impl Schedule {
    /// The event of a tick, Unix milliseconds. The same tick always makes the same one.
    ///
    /// # Errors
    /// It would be too large.
    pub fn event_at(&self, tick_ms: u64) -> Result<Event, EventError> {
        let time = format_time(tick_ms);
        self.event.at_time(&format!("{}/{time}", self.name), &time)
    }
}

/// What becomes of ticks the broker comes to more than [`crate::TICK_LATE_MAX`] late, because it
/// wasn't running or the clock jumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// They are passed over.
    Skip,
    /// The newest of them is caught up with, the others are passed over.
    #[default]
    Once,
    /// All of them are caught up with, oldest first; at most the newest
    /// [`crate::TICKS_CAUGHT_UP_MAX`].
    All,
}

impl Missed {
    /// All of them, by their name in the configuration and in JSON.
    pub const NAMED: [(&'static str, Self); 3] =
        [("skip", Self::Skip), ("once", Self::Once), ("all", Self::All)];

    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// Where a schedule stands.
#[derive(Clone, Debug)]
pub struct ScheduleStatus {
    /// What it is.
    pub schedule: Schedule,
    /// Its next tick, Unix milliseconds; `None` if there is none before the year 5000.
    pub next_ms: Option<u64>,
    /// The newest tick that became an event.
    pub last_ms: Option<u64>,
    /// Ticks that became events since it was first configured.
    pub emitted: u64,
    /// Ticks that were missed and passed over since then; of one gap at most
    /// [`crate::TICKS_COUNTED_MAX`] are counted.
    pub passed_over: u64,
}
