//! `/dead-letters`.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;
use utoipa::ToSchema;

use super::{Attempt, Stored, Timestamp};

/// Answer to `GET /dead-letters`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetters {
    /// By id, oldest first.
    pub dead_letters: Vec<DeadLetter>,
    /// Read on after this id; `null` where that was all.
    pub next: Option<u64>,
    /// The newest id there ever was; 0 where there was none.
    pub last: u64,
}

/// A delivery that was given up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Names it; rises, is never reused.
    pub id: u64,
    /// When it was given up.
    pub time: Timestamp,
    /// The subscription that could not deal with it.
    pub subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub plugin: String,
    /// How many attempts were made in all.
    pub attempt_count: u32,
    /// What kind of failure ended it; empty where no attempt was made.
    pub class: String,
    /// What ended it.
    pub reason: String,
    /// The event, whole.
    pub event: Stored,
    /// The failed attempts, oldest first: the first and the newest. Only in
    /// `GET /dead-letters/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Attempt>>,
}

/// Answer to a redrive or discard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterGone {
    /// The dead letter that is no more.
    pub id: u64,
    /// The new event's sequence, where another one is delivered in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}
