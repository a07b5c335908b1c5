//! Flows: an event, all that it caused, and how its deliveries stand.

use usher_event::{Digest, Event, FailureClass, SubscriptionName};

use super::{Cause, StoredEvent};

/// An event and all that it caused.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The first event's sequence.
    pub root: u64,
    /// All its events by sequence; a parent comes before its children. At most
    /// [`crate::FLOW_MAX_EVENTS`].
    pub events: Vec<FlowEvent>,
    /// Emissions that wait for their delay, soonest first.
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

/// An emission that waits for its delay.
#[derive(Clone, Debug)]
pub struct DelayedEvent {
    /// When it will be appended, Unix milliseconds.
    pub due_ms: u64,
    /// How it came about.
    pub cause: Cause,
    /// The event.
    pub event: Event,
}

/// Where one delivery stands.
#[derive(Clone, Debug)]
pub struct DeliveryStatus {
    /// To which subscription.
    pub subscription: SubscriptionName,
    /// How it stands.
    pub state: DeliveryState,
    /// Which round it is in: 1, and one more each time it was redriven or replayed. Attempts are
    /// counted by round. A replay that was acknowledged without a failure leaves no trace here.
    pub round: u32,
    /// The failed attempts of all rounds, oldest first.
    pub failures: Vec<PastAttempt>,
}

/// How a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Not handed out yet, or about to be again.
    Pending,
    /// Handed out: the listener has it.
    InFlight {
        /// Which attempt this is; the first is 1.
        attempt: u32,
    },
    /// Waits for one of the same key before it.
    Parked {
        /// The head of its lane, which has to be over first; `None` while that is being found
        /// after a restart.
        behind: Option<u64>,
    },
    /// Failed; the next attempt is due at this time (Unix milliseconds).
    Waiting {
        /// When.
        due_ms: u64,
    },
    /// Acknowledged.
    Done,
    /// Became a dead letter.
    Dead {
        /// Its id, unless it was redriven or discarded since.
        id: Option<u64>,
    },
}

/// A failed attempt, and in which round it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAttempt {
    /// The round; the first is 1.
    pub round: u32,
    /// The attempt.
    pub record: AttemptRecord,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Which attempt of its round; the first is 1.
    pub attempt: u32,
    /// When it ended, Unix milliseconds.
    pub time_ms: u64,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// What kind of failure.
    pub class: FailureClass,
    /// What happened.
    pub reason: String,
    /// The guest's call stack, where there is one.
    pub backtrace: Option<String>,
    /// Which bytes handled it.
    pub digest: Option<Digest>,
    /// Their author's version.
    pub version: Option<String>,
    /// Whether it counts towards the most attempts.
    pub counted: bool,
    /// The wait the listener asked for, milliseconds, where that was longer than it may be.
    pub asked_ms: Option<u64>,
    /// Whether the delivery was given up with it. What comes after belongs to the next round.
    pub ended: bool,
}
