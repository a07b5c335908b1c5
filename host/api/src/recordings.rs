//! What deliveries were told by the host, of dead letters and of the newest ones worth it.

use serde::{Deserialize, Serialize};
use usher_event::{Digest, Given, SubscriptionName};
use utoipa::ToSchema;

use super::Timestamp;

/// What a delivery was told by the host: enough to run it again elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    /// Digest of the component.
    pub digest: Digest,
    /// Its version.
    pub version: String,
    /// The `given.json` of a fixture; `null` if it is larger than the plugin's `recording_bytes`.
    #[schema(value_type = Option<Object>)]
    pub given: Option<Given>,
    /// How large it is, as JSON; at least that if it was too large to be kept.
    pub size_bytes: u64,
}

/// Response to `GET /plugins/{plugin}/recordings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recordings {
    /// Newest first.
    pub recordings: Vec<RecordedDelivery>,
}

/// A delivery that was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordedDelivery {
    /// Its number among all recordings since the router started, from 1.
    pub number: u64,
    /// When it ended.
    pub time: Timestamp,
    /// Position of the event in the log.
    pub sequence: u64,
    /// The subscription.
    pub subscription: SubscriptionName,
    /// Number of the attempt.
    pub attempt: u32,
    /// `ack`, `retry` or `reject`.
    pub verdict: String,
    /// Class of its failure, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Reason of its failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Frames of the plugin, innermost first, a line each. Only in
    /// `GET /plugins/{plugin}/recordings/{number}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// Digest of the component.
    pub digest: Digest,
    /// Its version.
    pub version: String,
    /// What it was told. Only in `GET /plugins/{plugin}/recordings/{number}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
}
