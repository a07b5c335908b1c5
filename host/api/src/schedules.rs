//! `/schedules`.

use serde::{Deserialize, Serialize};
use usher_event::ScheduleName;
use utoipa::ToSchema;

use super::Timestamp;

/// Answer to `GET /schedules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedules {
    /// By name.
    pub schedules: Vec<Schedule>,
    /// By how much the router's clock is behind the time of the newest event, milliseconds; absent
    /// unless it is by more than a clock may be set back by in passing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_behind_ms: Option<u64>,
}

/// An event at each tick of a calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// When its ticks are: a cron pattern.
    pub cron: String,
    /// The time zone that is meant in.
    pub time_zone: String,
    /// What becomes of missed ticks: `skip`, `once` or `all`.
    pub missed: String,
    /// The type of its events.
    #[serde(rename = "type")]
    pub ty: String,
    /// Their source.
    pub source: String,
    /// The next tick; absent if there is none before the year 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// The newest tick that became an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Ticks that became events.
    pub emitted: u64,
    /// Ticks that were missed and passed over.
    pub passed_over: u64,
}
