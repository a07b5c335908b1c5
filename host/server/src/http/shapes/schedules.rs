//! `/schedules`.

use serde::{Deserialize, Serialize};
use usher_event::ScheduleName;

use super::Timestamp;

/// Answer to `GET /schedules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedules {
    /// By name.
    pub(crate) schedules: Vec<Schedule>,
    /// By how much the router's clock is behind the time of the newest event, milliseconds; absent
    /// unless it is by more than a clock may be set back by in passing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clock_behind_ms: Option<u64>,
}

/// An event at each tick of a calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// Its name.
    pub(crate) name: ScheduleName,
    /// When its ticks are: a cron pattern.
    pub(crate) cron: String,
    /// The time zone that is meant in.
    pub(crate) time_zone: String,
    /// What becomes of missed ticks: `skip`, `once` or `all`.
    pub(crate) missed: String,
    /// The type of its events.
    #[serde(rename = "type")]
    pub(crate) ty: String,
    /// Their source.
    pub(crate) source: String,
    /// The next tick; absent if there is none before the year 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Timestamp>,
    /// The newest tick that became an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Timestamp>,
    /// Ticks that became events.
    pub(crate) emitted: u64,
    /// Ticks that were missed and passed over.
    pub(crate) passed_over: u64,
}
