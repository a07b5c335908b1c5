//! `/dead-letters`.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;
use utoipa::ToSchema;

use super::{Attempt, Stored, Timestamp};

/// Response to `GET /dead-letters`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetters {
    /// By id, oldest first.
    pub dead_letters: Vec<DeadLetter>,
    /// Continue after this id; `null` at the end.
    pub next: Option<u64>,
    /// The newest id ever assigned; 0 if there is none.
    pub last: u64,
}

/// A delivery that was given up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Its id; rises and is never reused.
    pub id: u64,
    /// When it was given up.
    pub time: Timestamp,
    /// The subscription it was for.
    pub subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub plugin: String,
    /// Total number of attempts.
    pub attempt_count: u32,
    /// Class of the last failure; empty if no attempt was made.
    pub class: String,
    /// Reason of the last failure.
    pub reason: String,
    /// The whole event.
    pub event: Stored,
    /// Failed attempts, oldest first; of many, only the first and the newest. Only in
    /// `GET /dead-letters/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Attempt>>,
}

/// Response to a redrive or discard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterGone {
    /// The dead letter that was removed.
    pub id: u64,
    /// Sequence of the event that is delivered instead, if it was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

/// Response to `GET /dead-letters/reasons`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterReasons {
    /// The most frequent first.
    pub reasons: Vec<DeadLetterReason>,
    /// Dead letters with other reasons than these.
    pub others: u64,
    /// Continue after this id; `null` at the end.
    pub next: Option<u64>,
}

/// Dead letters of one subscription that ended for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterReason {
    /// The subscription they were for.
    pub subscription: SubscriptionName,
    /// Class of the last failure; empty if no attempt was made.
    pub class: String,
    /// Reason of the last failure.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// When the first was given up.
    pub first: Timestamp,
    /// When the last was given up.
    pub last: Timestamp,
}
