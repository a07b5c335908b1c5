//! `/events`: published and stored events.

use serde::{Deserialize, Serialize};
use usher_event::SubscriptionName;
use utoipa::ToSchema;

use super::{CloudEvent, Timestamp};

/// Response to `POST /events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// One per event, in the order of the request.
    pub events: Vec<AcceptedEvent>,
}

/// Result of publishing one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedEvent {
    /// The event's id.
    pub id: String,
    /// The event's source.
    pub source: String,
    /// Its place in the log; for a duplicate, that of the original.
    pub sequence: u64,
    /// Whether an event with this id and source was already in the log.
    pub duplicate: bool,
    /// Whether that event says something else, in its attributes or data; the log keeps the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub differs: bool,
}

/// Response to `GET /events`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// The events, in the order asked for.
    pub events: Vec<Stored>,
    /// The sequence to continue from; newest first, the one to continue before, as `to`, and 0
    /// if nothing is left.
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
    /// Its cause; `null` if it was published.
    pub cause: Option<Cause>,
    /// The event, in the CloudEvents JSON format.
    pub event: CloudEvent,
}

/// The delivery that caused an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cause {
    /// `emission`; `redrive` if an operator redrove a dead letter with this event; `report` if the
    /// router reports a dead letter.
    pub kind: String,
    /// The event that was delivered.
    pub parent: u64,
    /// The subscription it was delivered to.
    pub subscription: SubscriptionName,
    /// The attempt.
    pub attempt: u32,
    /// How long the listener took, microseconds.
    pub took_us: u64,
}
