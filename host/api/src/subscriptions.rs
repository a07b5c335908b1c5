//! `/subscriptions`: their settings and their status.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use usher_event::SubscriptionName;
use utoipa::ToSchema;

use super::Timestamp;

/// Response to `GET /subscriptions`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Subscriptions {
    /// By name.
    pub subscriptions: Vec<Subscription>,
}

/// A subscription and its status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Subscription {
    /// Its full name, `PLUGIN/NAME`.
    pub name: SubscriptionName,
    /// The plugin's part of the name.
    pub plugin: String,
    /// Whether a plugin serves it.
    pub state: SubscriptionState,
    /// Why none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<String>,
    /// Its filter, in the form of the CloudEvents Subscriptions API.
    pub filter: Value,
    /// Where it starts in the log; applies only when it is created.
    pub start: Start,
    /// Ordering of its deliveries.
    pub order: Order,
    /// Retry policy for failed deliveries.
    pub retry: Retry,
    /// Limit on its deliveries per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_second: Option<f64>,
    /// Limit on first attempts per second, of each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_second_per_key: Option<f64>,
    /// For how long no newer event may come until one is delivered; absent if all are delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce_ms: Option<u64>,
    /// How long after the first event the newest is delivered nevertheless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce_max_ms: Option<u64>,
    /// The parts of an event's data that are handed on; absent for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Vec<String>>,
    /// The parts of an event's data that are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
    /// Every match before this sequence is settled or waits for a retry.
    pub cursor: u64,
    /// Log events not yet scanned, plus deliveries that are ready to be leased, for the first time or again.
    pub lag: u64,
    /// Who is held back because `lag` exceeds the limit; absent if it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_back: Option<Backpressure>,
    /// The lagging subscription that has to catch up before this one gets more deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back_by: Option<SubscriptionName>,
    /// The oldest event not settled or not yet scanned; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_unsettled: Option<Unsettled>,
    /// Deliveries in flight.
    pub in_flight: u64,
    /// Deliveries waiting for a retry.
    pub retrying: u64,
    /// When the next of those is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry: Option<Timestamp>,
    /// Delayed emissions of its deliveries that are not due yet.
    pub delayed: u64,
    /// Deliveries waiting for an earlier one with the same key.
    pub parked: u64,
    /// Keys whose first delivery failed and waits for a retry.
    pub stalled_lanes: u64,
    /// Deliveries acknowledged since the router started.
    pub acked: u64,
    /// Failed attempts since the router started.
    pub failed: u64,
    /// Deliveries left out for a newer event since the router started.
    #[serde(default)]
    pub superseded: u64,
    /// Its dead letters.
    pub dead: u64,
    /// Whether retention may drop events it has not settled.
    pub expires: bool,
    /// Deliveries that were unsettled when retention dropped their event, since its creation.
    pub expired: u64,
    /// Limit on deliveries in flight.
    pub max_in_flight: u32,
}

/// Who is held back by a subscription that is too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backpressure {
    /// Producers.
    Producers,
    /// Producers, and plugins whose emissions it matches.
    Plugins,
}

/// Ordering of a subscription's deliveries, as in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Unordered.
    None,
    /// Ordered among events with the same value of this attribute.
    Key(String),
    /// Strictly one after another.
    Total,
}

/// Where a new subscription starts, as in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the next event.
    Latest,
    /// With the oldest event in the log.
    Earliest,
    /// With this event.
    Sequence(u64),
    /// With the first event recorded then or later.
    Time(Timestamp),
}

/// A retry policy, as in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Retry {
    /// Delay before the second attempt.
    pub first_delay_ms: u64,
    /// Growth from one delay to the next.
    pub factor: f64,
    /// The longest delay.
    pub max_delay_ms: u64,
    /// Spread as a fraction of the delay.
    pub jitter: f64,
    /// Limit on attempts.
    pub max_attempts: u32,
    /// How long after the first failure the last attempt may start.
    pub max_age_ms: u64,
    /// Overrides by class of failure.
    pub classes: BTreeMap<String, ClassRetry>,
}

/// Overrides of a retry policy for one class of failure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassRetry {
    /// Delay before the second attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_delay_ms: Option<u64>,
    /// Growth from one delay to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// The longest delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay_ms: Option<u64>,
    /// Number of failures of this class at which the delivery is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
}

/// An event that a subscription has not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unsettled {
    /// Its place in the log.
    pub sequence: u64,
    /// When it was appended; absent if the log no longer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Timestamp>,
}

/// Response to `DELETE /subscriptions/{plugin}/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubscriptionGone {
    /// The subscription that was removed.
    pub name: SubscriptionName,
}

/// Whether a subscription is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionState {
    /// A plugin receives its deliveries.
    Active,
    /// Nothing serves it; its events wait.
    Paused,
}
