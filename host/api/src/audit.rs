//! `/audit`: the record of operator actions.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;
use utoipa::ToSchema;

use super::Timestamp;

/// Response to `GET /audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    /// By number, oldest first.
    pub records: Vec<AuditRecord>,
}

/// An operator action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    /// Its number; rises and is never reused.
    pub number: u64,
    /// When it was done.
    pub time: Timestamp,
    /// The name of the token that was used; `local` if none was needed.
    pub actor: String,
    /// On dead letters: `redrive`, `redrive_edited`, `discard`; on subscriptions: `replay`,
    /// `remove`; on plugins: `pause`, `resume`, `release`, `rollback`; on tokens: `create_token`,
    /// `revoke_token`; on nodes: `drain_node`, `resume_node`, `promote_node`; and `backup`.
    pub action: String,
    /// The plugin acted on, or the one that owns the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The token that was created or revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The folder of the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The node acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The subscription; absent for an action on a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<SubscriptionName>,
    /// The dead letter that was removed, if the action was on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<AuditedDeadLetter>,
    /// Sequence of the event that is delivered instead, if it was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// What was replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<AuditedReplay>,
}

/// One step of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditedReplay {
    /// The first event's sequence.
    pub first: u64,
    /// The last event's sequence.
    pub last: u64,
    /// Number of events.
    pub events: u64,
}

/// A dead letter that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditedDeadLetter {
    /// Its id.
    pub id: u64,
    /// When it was given up.
    pub time: Timestamp,
    /// Class of the last failure.
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
