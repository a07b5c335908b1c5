//! Replays and dry runs.

use serde::{Deserialize, Serialize};
use usher_event::Digest;
use utoipa::ToSchema;

use super::CloudEvent;

/// Response to `POST /subscriptions/{plugin}/{name}/replay`: what one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// Events that are delivered again.
    pub events: u64,
    /// Events skipped because a delivery of them is pending or in flight.
    pub pending: u64,
    /// Events skipped because the subscription has them as dead letters.
    pub dead: u64,
    /// The sequence that the replay stops before.
    pub to: u64,
    /// The sequence to continue from; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Response to `POST /subscriptions/{plugin}/{name}/dry-run`: the results of one step.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DryRuns {
    /// One result per event, in order.
    pub deliveries: Vec<DryRun>,
    /// The sequence that the dry run stops before.
    pub to: u64,
    /// The sequence to continue from; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What a plugin would do with an event.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DryRun {
    /// The event's sequence.
    pub sequence: u64,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Digest of the bytes that ran.
    pub digest: Digest,
    /// The author's version of those bytes.
    pub version: String,
    /// `ack`, `retry` or `reject`.
    pub verdict: String,
    /// Why, unless it is `ack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<DryRunFailure>,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// What it would emit, in order.
    pub emissions: Vec<DryRunEmission>,
    /// What it would write to its state.
    pub writes: Vec<DryRunWrite>,
    /// What it would do to its blobs.
    pub blobs: Vec<DryRunBlob>,
}

/// Why a plugin would not acknowledge an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunFailure {
    /// Class of the failure.
    pub class: String,
    /// What happened.
    pub reason: String,
    /// The guest's call stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// The minimum delay it requested, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// An event that would be emitted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DryRunEmission {
    /// Its delay before it is appended, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// The event; a real delivery would give it another id and time.
    pub event: CloudEvent,
}

/// A write to state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunWrite {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Size of the new value; absent if the key would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// A blob that would be put or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size; absent if it would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Its media type; absent if it would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}
