//! `/events`: what is published and what the log has.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;
use utoipa::ToSchema;

use super::{CloudEvent, Timestamp};

/// Answer to `POST /events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// One for each event, in the order they came.
    pub events: Vec<AcceptedEvent>,
}

/// What became of one published event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedEvent {
    /// The event's id.
    pub id: String,
    /// The event's source.
    pub source: String,
    /// Its place in the log; for a duplicate, that of the first.
    pub sequence: u64,
    /// Whether an event with this id and source was there before.
    pub duplicate: bool,
}

/// Answer to `GET /events`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// The events, in order.
    pub events: Vec<Stored>,
    /// The sequence to read on from.
    pub next: u64,
    /// The newest committed sequence, 0 when the log is empty.
    pub last: u64,
}

/// An event in the log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    /// Its place in the log.
    pub sequence: u64,
    /// When it was appended.
    pub recorded: Timestamp,
    /// The first event of its flow.
    pub flow: u64,
    /// How many emissions lie between the flow's first event and this one.
    pub depth: u16,
    /// How it came about; `null` for a published one.
    pub cause: Option<Cause>,
    /// The event, in the CloudEvents JSON format.
    pub event: CloudEvent,
}

/// The delivery that an event came of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cause {
    /// `emission`; `redrive` where an operator redrove a dead letter with this event; `report`
    /// where the router reports a dead letter.
    pub kind: String,
    /// The event that was delivered.
    pub parent: u64,
    /// To which subscription.
    pub subscription: SubscriptionName,
    /// At which attempt.
    pub attempt: u32,
    /// How long the listener took, microseconds.
    pub took_us: u64,
}
