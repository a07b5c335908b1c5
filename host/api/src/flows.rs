//! `/flows`: an event, all that it caused, and how its deliveries stand.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use usher_event::{Digest, SubscriptionName};
use utoipa::ToSchema;

use super::{Cause, CloudEvent, Stored, Timestamp};

/// Answer to `GET /flows/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// The sequence of its first event.
    pub flow: u64,
    /// Whether nothing is left to happen: every delivery done or dead, nothing delayed.
    pub settled: bool,
    /// Whether events were left out because the flow is too large.
    pub truncated: bool,
    /// Its events by sequence; a parent comes before its children.
    pub events: Vec<FlowEvent>,
    /// Emissions that wait for their delay, soonest first.
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
    /// Reads the text twice: serde's `flatten` goes by way of a value of its own, which can't hold
    /// every payload.
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

/// Where one delivery stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryReport {
    /// To which subscription.
    pub subscription: SubscriptionName,
    /// The plugin's part of that name.
    pub plugin: String,
    /// How it stands.
    pub state: DeliveryState,
    /// Which round it is in, once it was redriven or replayed: 2 after the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Which attempt is under way, while one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When the next attempt is due, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The sequence of the same key that has to be over first, while it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// The dead letter it became, unless that was redriven or discarded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<u64>,
    /// The failed attempts, oldest first.
    pub failures: Vec<Attempt>,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Not handed out yet, or about to be again.
    Pending,
    /// The listener has it.
    InFlight,
    /// Waits for one of the same key before it.
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
    /// In which round of its delivery; absent in the first, and in a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Which attempt of its round; the first is 1.
    pub attempt: u32,
    /// When it ended.
    pub time: Timestamp,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// What kind of failure.
    pub class: String,
    /// What happened.
    pub reason: String,
    /// The plugin's call stack, where there is one.
    pub backtrace: Option<String>,
    /// Which bytes handled it.
    pub digest: Option<Digest>,
    /// Their author's version.
    pub version: Option<String>,
    /// Whether it counts towards the most attempts.
    pub counted: bool,
    /// The wait the plugin asked for, milliseconds, where that was longer than it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ms: Option<u64>,
}

/// How many attempts of this round have failed; attempts of those before don't count.
pub fn failed_in(round: Option<u32>, failures: &[Attempt]) -> u32 {
    let last = failures.last().filter(|last| last.round == round);
    last.map_or(0, |last| last.attempt)
}

/// An emission that waits for its delay.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Delayed {
    /// When it will be appended.
    pub due: Timestamp,
    /// How it came about.
    pub cause: Cause,
    /// The event.
    pub event: CloudEvent,
}
