//! `/audit`: what operators did.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;
use utoipa::ToSchema;

use super::Timestamp;

/// Answer to `GET /audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    /// By number, oldest first.
    pub records: Vec<AuditRecord>,
}

/// Something an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    /// Names it; rises, is never reused.
    pub number: u64,
    /// When it was done.
    pub time: Timestamp,
    /// To dead letters: `redrive`, `redrive_edited`, `discard`; to subscriptions: `replay`; to plugins:
    /// `pause`, `resume`, `release`, `rollback`.
    pub action: String,
    /// To which plugin, or to which one's subscription.
    pub plugin: String,
    /// To which subscription; not where it was done to a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<SubscriptionName>,
    /// The dead letter that is no more, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<AuditedDeadLetter>,
    /// The new event's sequence, where another one is delivered in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// What was replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<AuditedReplay>,
}

/// What is remembered of one step of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditedReplay {
    /// The first event's sequence.
    pub first: u64,
    /// The last one's.
    pub last: u64,
    /// How many events.
    pub events: u64,
}

/// What is remembered of a dead letter that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditedDeadLetter {
    /// Its id.
    pub id: u64,
    /// When it was given up.
    pub time: Timestamp,
    /// What kind of failure ended it.
    pub class: Option<String>,
    /// The event's sequence.
    pub sequence: u64,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event_id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub ty: String,
}
