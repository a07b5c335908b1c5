//! Schedules: events triggered by the clock.

use usher_event::{Event, EventError, ScheduleName, format_time};

use crate::Calendar;

/// An event at each tick of a calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its name, under which its position is stored.
    pub name: ScheduleName,
    /// Defines its ticks.
    pub calendar: Calendar,
    /// What to do with missed ticks.
    pub missed: Missed,
    /// The event to append; its `id` and `time` are set per tick.
    pub event: Event,
}

impl Schedule {
    /// The event for a tick, Unix milliseconds. Deterministic: a tick always yields the same event.
    ///
    /// # Errors
    /// It would exceed the size limit.
    pub fn event_at(&self, tick_ms: u64) -> Result<Event, EventError> {
        let time = format_time(tick_ms);
        self.event.at_time(&format!("{}/{time}", self.name), &time)
    }
}

/// What to do with ticks handled more than [`crate::TICK_LATE_MAX`] late, because the broker wasn't
/// running or the clock jumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// Skips them.
    Skip,
    /// Emits the newest and skips the others.
    #[default]
    Once,
    /// Emits all of them, oldest first; at most the newest [`crate::TICKS_CAUGHT_UP_MAX`].
    All,
}

impl Missed {
    /// All variants, with their names in the configuration and in JSON.
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

/// Status of a schedule.
#[derive(Clone, Debug)]
pub struct ScheduleStatus {
    /// The schedule.
    pub schedule: Schedule,
    /// Its next tick, Unix milliseconds; `None` if there is none before the year 5000.
    pub next_ms: Option<u64>,
    /// The newest tick that became an event.
    pub last_ms: Option<u64>,
    /// Ticks that became events since the schedule was first configured.
    pub emitted: u64,
    /// Ticks missed and skipped since then; per gap at most [`crate::TICKS_COUNTED_MAX`] counted.
    pub passed_over: u64,
}
