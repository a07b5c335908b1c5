//! `/audit`: what operators did.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;

use super::Timestamp;

/// Answer to `GET /audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Audit {
    /// By number, oldest first.
    pub(crate) records: Vec<AuditRecord>,
}

/// Something an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditRecord {
    /// Names it; rises, is never reused.
    pub(crate) number: u64,
    /// When it was done.
    pub(crate) time: Timestamp,
    /// To dead letters: `redrive`, `redrive_edited`, `discard`; to subscriptions: `replay`; to plugins:
    /// `pause`, `resume`, `release`, `rollback`.
    pub(crate) action: String,
    /// To which plugin, or to which one's subscription.
    pub(crate) plugin: String,
    /// To which subscription; not where it was done to a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subscription: Option<SubscriptionName>,
    /// The dead letter that is no more, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dead_letter: Option<AuditedDeadLetter>,
    /// The new event's sequence, where another one is delivered in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sequence: Option<u64>,
    /// What was replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<AuditedReplay>,
}

/// What is remembered of one step of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditedReplay {
    /// The first event's sequence.
    pub(crate) first: u64,
    /// The last one's.
    pub(crate) last: u64,
    /// How many events.
    pub(crate) events: u64,
}

/// What is remembered of a dead letter that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditedDeadLetter {
    /// Its id.
    pub(crate) id: u64,
    /// When it was given up.
    pub(crate) time: Timestamp,
    /// What kind of failure ended it.
    pub(crate) class: Option<String>,
    /// The event's sequence.
    pub(crate) sequence: u64,
    /// The event's source.
    pub(crate) source: String,
    /// The event's id.
    pub(crate) event_id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub(crate) ty: String,
}
