//! What the audit log records of operator actions.

use usher_event::{Event, FailureClass, SubscriptionName};

use super::{Actor, AttemptRecord, Change};

/// An operator's action, as the audit log records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Unique number; increasing, never reused.
    pub number: u64,
    /// When it was done, Unix milliseconds.
    pub time_ms: u64,
    /// Who did it.
    pub actor: Actor,
    /// The subscription it was applied to; `None` for a change outside of the broker.
    pub subscription: Option<SubscriptionName>,
    /// What was done.
    pub action: AuditAction,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// Redrove a dead letter.
    Redrive(AuditedDeadLetter),
    /// Redrove a dead letter with an edited event.
    RedriveEdited {
        /// The dead letter.
        dead: AuditedDeadLetter,
        /// The new event's sequence.
        sequence: u64,
    },
    /// Discarded a dead letter.
    Discard(AuditedDeadLetter),
    /// Replayed events of the log.
    Replay {
        /// The first sequence replayed.
        first: u64,
        /// The last sequence replayed.
        last: u64,
        /// Number of events replayed.
        events: u64,
    },
    /// Removed a subscription.
    Unsubscribe,
    /// Changed something outside of the broker.
    Change(Change),
}

impl AuditAction {
    /// The name used in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Redrive(_) => "redrive",
            Self::RedriveEdited { .. } => "redrive_edited",
            Self::Discard(_) => "discard",
            Self::Replay { .. } => "replay",
            Self::Unsubscribe => "remove",
            Self::Change(change) => change.as_str(),
        }
    }
}

/// What the audit log keeps of a dead letter that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedDeadLetter {
    /// Its id.
    pub id: u64,
    /// When it was given up, Unix milliseconds.
    pub time_ms: u64,
    /// Failure class of the last attempt.
    pub class: Option<FailureClass>,
    /// The event's sequence.
    pub sequence: u64,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event_id: String,
    /// The event's type.
    pub ty: String,
}

impl AuditedDeadLetter {
    /// Summarizes a dead letter.
    pub(crate) fn new(
        id: u64,
        time_ms: u64,
        attempts: &[AttemptRecord],
        sequence: u64,
        event: &Event,
    ) -> Self {
        Self {
            id,
            time_ms,
            class: attempts.last().map(|attempt| attempt.class),
            sequence,
            source: event.source().to_owned(),
            event_id: event.id().to_owned(),
            ty: event.ty().to_owned(),
        }
    }
}
