//! `/overview`: the router as a whole, now and in the last hour.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Timestamp;

/// Response to `GET /overview`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// The router's version.
    pub version: String,
    /// Its time.
    pub now: Timestamp,
    /// The oldest sequence in the log; one above the newest if the log is empty.
    pub first_sequence: u64,
    /// The newest sequence.
    pub last_sequence: u64,
    /// Size of the events in the log.
    pub log_bytes: u64,
    /// Events older than this are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_max_age_s: Option<u64>,
    /// The oldest events are removed while the log has more bytes than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_max_bytes: Option<u64>,
    /// Free bytes on the disk of the data folder, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Dead letters now.
    pub dead_letters: u64,
    /// Emissions that wait for their delay.
    pub delayed: u64,
    /// When the certificate ends, where something listens with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Timestamp>,
    /// The last hour, oldest first; kept in memory only.
    pub samples: Vec<Sample>,
}

/// A short span of the last hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// When it ended.
    pub time: Timestamp,
    /// How long it was, milliseconds.
    pub span_ms: u64,
    /// Events appended in it.
    pub events: u64,
    /// Deliveries acknowledged in it.
    pub acked: u64,
    /// Attempts that failed in it.
    pub failed: u64,
    /// At its end, over all subscriptions: log events not yet scanned, and ready deliveries not yet
    /// leased.
    pub lag: u64,
    /// At its end: dead letters.
    pub dead_letters: u64,
    /// At its end: size of the events in the log.
    pub log_bytes: u64,
}
