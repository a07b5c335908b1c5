//! `/flows`: an event, everything it caused, and the state of the deliveries.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use usher_event::{Digest, SubscriptionName};
use utoipa::ToSchema;

use super::{Cause, CloudEvent, Stored, Timestamp};

/// Response to `GET /flows/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// The sequence of its first event.
    pub flow: u64,
    /// Whether the flow is complete: every delivery is done or dead, and nothing is delayed.
    pub settled: bool,
    /// Whether events were left out because the flow is too large.
    pub truncated: bool,
    /// Its events by sequence; a parent comes before its children.
    pub events: Vec<FlowEvent>,
    /// Delayed emissions that are not due yet, soonest first.
    pub delayed: Vec<Delayed>,
}

/// An event of a flow, with its deliveries.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FlowEvent {
    /// The event.
    #[serde(flatten)]
    pub stored: Stored,
    /// Its deliveries, by subscription.
    pub deliveries: Vec<DeliveryReport>,
}

impl<'de> Deserialize<'de> for FlowEvent {
    /// Parses the text twice: serde's `flatten` goes through an intermediate value that can't
    /// represent every payload.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Rest {
            deliveries: Vec<DeliveryReport>,
        }
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let stored = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        let Rest { deliveries } = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        Ok(Self { stored, deliveries })
    }
}

/// Status of one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryReport {
    /// The subscription.
    pub subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub plugin: String,
    /// Its state.
    pub state: DeliveryState,
    /// Its round, once it was redriven or replayed: 2 after the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// The attempt in flight, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When the next attempt is due, while it waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The sequence with the same key that must finish first, while it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// The dead letter it became, unless that was redriven or discarded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<u64>,
    /// The failed attempts, oldest first.
    pub failures: Vec<Attempt>,
}

/// State of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Not handed out yet, or about to be handed out again.
    Pending,
    /// Handed out to the listener.
    InFlight,
    /// Waits for an earlier one with the same key.
    Parked,
    /// Failed; another attempt is due.
    Waiting,
    /// Acknowledged.
    Done,
    /// Given up: a dead letter.
    Dead,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// The round of its delivery; absent in the first round and in dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Its number within the round, from 1.
    pub attempt: u32,
    /// When it ended.
    pub time: Timestamp,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// Class of the failure.
    pub class: String,
    /// What happened.
    pub reason: String,
    /// The plugin's call stack, if there is one.
    pub backtrace: Option<String>,
    /// Digest of the bytes that handled it.
    pub digest: Option<Digest>,
    /// The author's version of those bytes.
    pub version: Option<String>,
    /// Whether it counts towards `max_attempts`.
    pub counted: bool,
    /// The delay the plugin requested, milliseconds, if it exceeded the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ms: Option<u64>,
}

/// Number of failed attempts in this round; those of earlier rounds don't count.
pub fn failed_in(round: Option<u32>, failures: &[Attempt]) -> u32 {
    let last = failures.last().filter(|last| last.round == round);
    last.map_or(0, |last| last.attempt)
}

/// A delayed emission that is not due yet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Delayed {
    /// When it will be appended.
    pub due: Timestamp,
    /// Its cause.
    pub cause: Cause,
    /// The event.
    pub event: CloudEvent,
}
