//! `/schedules`.

use serde::{Deserialize, Serialize};
use usher_event::ScheduleName;
use utoipa::ToSchema;

use super::Timestamp;

/// Response to `GET /schedules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedules {
    /// By name.
    pub schedules: Vec<Schedule>,
    /// How far the router's clock is behind the time of the newest event, milliseconds; absent
    /// unless it exceeds the step back that is tolerated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_behind_ms: Option<u64>,
}

/// A schedule: publishes an event at each tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// The cron pattern of its ticks.
    pub cron: String,
    /// The time zone of the pattern.
    pub time_zone: String,
    /// How missed ticks are handled: `skip`, `once` or `all`.
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
    /// Ticks that were missed and skipped.
    pub passed_over: u64,
}
