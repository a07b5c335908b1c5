//! Replays, and dry runs in their place.

use serde::{Deserialize, Serialize};
use usher_event::Digest;
use utoipa::ToSchema;

use super::CloudEvent;

/// Answer to `POST /subscriptions/{plugin}/{name}/replay`: what one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// Events that are delivered now.
    pub events: u64,
    /// Events left alone because a delivery of them is yet to come or under way.
    pub pending: u64,
    /// Events left alone because they are a dead letter of the subscription.
    pub dead: u64,
    /// The sequence that the replay ends before.
    pub to: u64,
    /// The sequence to go on from; absent where that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Answer to `POST /subscriptions/{plugin}/{name}/dry-run`: one step of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DryRuns {
    /// What would become of each event, in order.
    pub deliveries: Vec<DryRun>,
    /// The sequence that the dry run ends before.
    pub to: u64,
    /// The sequence to go on from; absent where that was all.
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
    /// Which bytes ran.
    pub digest: Digest,
    /// Their author's version.
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
    /// The kind of failure.
    pub class: String,
    /// What happened.
    pub reason: String,
    /// The guest's call stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// The shortest wait it asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// An event that would be emitted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DryRunEmission {
    /// How long it would wait before it is appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// The event; its id and time would be other ones.
    pub event: CloudEvent,
}

/// A value of state that would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunWrite {
    /// In which bucket.
    pub bucket: String,
    /// Of which key.
    pub key: String,
    /// Bytes of the new value; absent where the key would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// A blob that would be put or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunBlob {
    /// Which blob.
    pub digest: Digest,
    /// Its size; absent where it would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Its media type; absent where it would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}
