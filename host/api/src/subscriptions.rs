//! `/subscriptions`: what they take and where they stand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use usher_event::SubscriptionName;
use utoipa::ToSchema;

use super::Timestamp;

/// Answer to `GET /subscriptions`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Subscriptions {
    /// By name.
    pub subscriptions: Vec<Subscription>,
}

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Subscription {
    /// Its full name, `PLUGIN/NAME`.
    pub name: SubscriptionName,
    /// The plugin's part of the name.
    pub plugin: String,
    /// Whether anything serves it.
    pub state: SubscriptionState,
    /// Why nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_because: Option<String>,
    /// Its filter, as of the CloudEvents Subscriptions API.
    pub filter: Value,
    /// Where it would begin if it were new.
    pub start: Start,
    /// Which deliveries wait for others.
    pub order: Order,
    /// What becomes of failed deliveries.
    pub retry: Retry,
    /// Every match before this sequence is settled or waits for a retry.
    pub cursor: u64,
    /// Events of the log it hasn't looked at, and deliveries ready that nobody took.
    pub lag: u64,
    /// Whom it keeps waiting because that is too many; absent where nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_back: Option<HoldsBack>,
    /// The subscription that has to catch up before it gets any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back_by: Option<SubscriptionName>,
    /// The oldest event it is not done with or hasn't looked at; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_unsettled: Option<Unsettled>,
    /// Deliveries under way.
    pub in_flight: u64,
    /// Deliveries that wait for another attempt.
    pub retrying: u64,
    /// When the next of those is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry: Option<Timestamp>,
    /// Emissions of its deliveries that wait for their delay.
    pub delayed: u64,
    /// Deliveries that wait for one of the same key before them.
    pub parked: u64,
    /// Keys whose first delivery failed and waits for another attempt.
    pub stalled_lanes: u64,
    /// Acknowledged since the router started.
    pub acked: u64,
    /// Failed attempts since the router started.
    pub failed: u64,
    /// Dead letters it has.
    pub dead: u64,
    /// Whether retention may take events it has not settled.
    pub expires: bool,
    /// Deliveries that were not over when retention took their event, since it was made.
    pub expired: u64,
    /// Deliveries that may be under way at once.
    pub max_in_flight: u32,
}

/// Whom a subscription that is too far behind keeps waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldsBack {
    /// Producers.
    Producers,
    /// Producers, and plugins whose emissions it would take.
    Plugins,
}

/// Which deliveries of a subscription wait for others, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// None.
    None,
    /// Those whose event has the same value of this attribute.
    Key(String),
    /// All.
    Total,
}

/// Where a new subscription begins, as the configuration has it.
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

/// A retry policy, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Retry {
    /// Wait before the second attempt.
    pub first_delay_ms: u64,
    /// Growth from one wait to the next.
    pub factor: f64,
    /// The longest wait.
    pub max_delay_ms: u64,
    /// Spread as a fraction of the wait.
    pub jitter: f64,
    /// Attempts in all.
    pub max_attempts: u32,
    /// How long after the first failure the last attempt may start.
    pub max_age_ms: u64,
    /// What is different for some classes of failure.
    pub classes: BTreeMap<String, ClassRetry>,
}

/// What of a retry policy is different for one class of failure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassRetry {
    /// Wait before the second attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_delay_ms: Option<u64>,
    /// Growth from one wait to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// The longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay_ms: Option<u64>,
    /// Failures of this class at which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
}

/// An event that a subscription is not done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unsettled {
    /// Its place in the log.
    pub sequence: u64,
    /// When it was appended; absent where the log has lost it meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Timestamp>,
}

/// Answer to `DELETE /subscriptions/{plugin}/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubscriptionGone {
    /// The subscription that is no more.
    pub name: SubscriptionName,
}

/// Whether a subscription is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionState {
    /// A plugin takes its deliveries.
    Active,
    /// Nothing serves it; its events wait.
    Paused,
}
