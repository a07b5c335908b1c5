//! `/dead-letters`.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;

use super::{Attempt, Stored, Timestamp};

/// Answer to `GET /dead-letters`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeadLetters {
    /// By id, oldest first.
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Read on after this id; `null` where that was all.
    pub(crate) next: Option<u64>,
    /// The newest id there ever was; 0 where there was none.
    pub(crate) last: u64,
}

/// A delivery that was given up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeadLetter {
    /// Names it; rises, is never reused.
    pub(crate) id: u64,
    /// When it was given up.
    pub(crate) time: Timestamp,
    /// The subscription that could not deal with it.
    pub(crate) subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub(crate) plugin: String,
    /// How many attempts were made in all.
    pub(crate) attempt_count: u32,
    /// What kind of failure ended it; empty where no attempt was made.
    pub(crate) class: String,
    /// What ended it.
    pub(crate) reason: String,
    /// The event, whole.
    pub(crate) event: Stored,
    /// The failed attempts, oldest first: the first and the newest. Only in
    /// `GET /dead-letters/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<Vec<Attempt>>,
}

/// Answer to a redrive or discard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadLetterGone {
    /// The dead letter that is no more.
    pub(crate) id: u64,
    /// The new event's sequence, where another one is delivered in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sequence: Option<u64>,
}
