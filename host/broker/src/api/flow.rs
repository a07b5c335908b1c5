//! Flows: an event, all events it caused, and the status of their deliveries.

use usher_event::{Digest, Event, FailureClass, SubscriptionName};

use super::{Cause, StoredEvent};

/// An event and all events it caused.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The first event's sequence.
    pub root: u64,
    /// Its events by sequence, parents before children. At most [`crate::FLOW_MAX_EVENTS`].
    pub events: Vec<FlowEvent>,
    /// Emissions waiting for their delay, soonest first.
    pub delayed: Vec<DelayedEvent>,
    /// Whether events were left out because the flow is too large.
    pub truncated: bool,
}

/// One event of a flow, with all its deliveries.
#[derive(Clone, Debug)]
pub struct FlowEvent {
    /// The event.
    pub stored: StoredEvent,
    /// Its deliveries, by subscription.
    pub deliveries: Vec<DeliveryStatus>,
}

/// An emission waiting for its delay.
#[derive(Clone, Debug)]
pub struct DelayedEvent {
    /// When it will be appended, Unix milliseconds.
    pub due_ms: u64,
    /// The delivery that emitted it.
    pub cause: Cause,
    /// The event.
    pub event: Event,
}

/// Status of one delivery.
#[derive(Clone, Debug)]
pub struct DeliveryStatus {
    /// The subscription it is for.
    pub subscription: SubscriptionName,
    /// Its state.
    pub state: DeliveryState,
    /// The current round: starts at 1 and grows with each redrive or replay. Attempts are numbered
    /// per round. A replay that was acknowledged without a failure isn't recorded here.
    pub round: u32,
    /// Failed attempts of all rounds, oldest first.
    pub failures: Vec<PastAttempt>,
}

/// State of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Not handed out yet, or ready to be handed out again.
    Pending,
    /// Leased to a listener.
    InFlight {
        /// The attempt number, from 1.
        attempt: u32,
    },
    /// Waits for an earlier delivery with the same key.
    Parked {
        /// The head of its lane, which must finish first; `None` while the lane is being rebuilt
        /// after a restart.
        behind: Option<u64>,
    },
    /// Failed, and waits for its next attempt.
    Waiting {
        /// When that is due, Unix milliseconds.
        due_ms: u64,
    },
    /// Acknowledged.
    Done,
    /// Dead-lettered.
    Dead {
        /// The dead letter's id; `None` once it has been redriven or discarded.
        id: Option<u64>,
    },
}

/// A failed attempt, with the round it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAttempt {
    /// The round, from 1.
    pub round: u32,
    /// The attempt.
    pub record: AttemptRecord,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Number within its round, from 1.
    pub attempt: u32,
    /// When it ended, Unix milliseconds.
    pub time_ms: u64,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// Failure class.
    pub class: FailureClass,
    /// Reason of the failure.
    pub reason: String,
    /// The guest's call stack, if available.
    pub backtrace: Option<String>,
    /// Digest of the component that handled it.
    pub digest: Option<Digest>,
    /// The component's version.
    pub version: Option<String>,
    /// Whether it counts towards `max_attempts`.
    pub counted: bool,
    /// The delay the listener asked for, milliseconds, if that was cut.
    pub asked_ms: Option<u64>,
    /// Whether the delivery was given up after it. Later attempts belong to the next round.
    pub ended: bool,
}
