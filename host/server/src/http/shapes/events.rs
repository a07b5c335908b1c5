//! `/events`: what is published and what the log has.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;

use super::{CloudEvent, Timestamp};

/// Answer to `POST /events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// One for each event, in the order they came.
    pub(crate) events: Vec<AcceptedEvent>,
}

/// What became of one published event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AcceptedEvent {
    /// The event's id.
    pub(crate) id: String,
    /// The event's source.
    pub(crate) source: String,
    /// Its place in the log; for a duplicate, that of the first.
    pub(crate) sequence: u64,
    /// Whether an event with this id and source was there before.
    pub(crate) duplicate: bool,
}

/// Answer to `GET /events`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Events {
    /// The events, in order.
    pub(crate) events: Vec<Stored>,
    /// The sequence to read on from.
    pub(crate) next: u64,
    /// The newest committed sequence, 0 when the log is empty.
    pub(crate) last: u64,
}

/// An event in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Its place in the log.
    pub(crate) sequence: u64,
    /// When it was appended.
    pub(crate) recorded: Timestamp,
    /// The first event of its flow.
    pub(crate) flow: u64,
    /// How many emissions lie between the flow's first event and this one.
    pub(crate) depth: u16,
    /// How it came about; `null` for a published one.
    pub(crate) cause: Option<Cause>,
    /// The event, in the CloudEvents JSON format.
    pub(crate) event: CloudEvent,
}

/// The delivery that an event came of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cause {
    /// `emission`; `redrive` where an operator redrove a dead letter with this event; `report`
    /// where the router reports a dead letter.
    pub(crate) kind: String,
    /// The event that was delivered.
    pub(crate) parent: u64,
    /// To which subscription.
    pub(crate) subscription: SubscriptionName,
    /// At which attempt.
    pub(crate) attempt: u32,
    /// How long the listener took, microseconds.
    pub(crate) took_us: u64,
}
