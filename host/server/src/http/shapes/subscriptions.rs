//! `/subscriptions`: what they take and where they stand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use usher_event::SubscriptionName;

use super::Timestamp;

/// Answer to `GET /subscriptions`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Subscriptions {
    /// By name.
    pub(crate) subscriptions: Vec<Subscription>,
}

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subscription {
    /// Its full name, `PLUGIN/NAME`.
    pub(crate) name: SubscriptionName,
    /// The plugin's part of the name.
    pub(crate) plugin: String,
    /// Whether anything serves it.
    pub(crate) state: SubscriptionState,
    /// Why nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused_because: Option<String>,
    /// Its filter, as of the CloudEvents Subscriptions API.
    pub(crate) filter: Value,
    /// Where it would begin if it were new.
    pub(crate) start: Start,
    /// Which deliveries wait for others.
    pub(crate) order: Order,
    /// What becomes of failed deliveries.
    pub(crate) retry: Retry,
    /// Every match before this sequence is settled or waits for a retry.
    pub(crate) cursor: u64,
    /// Events of the log it hasn't looked at, and deliveries ready that nobody took.
    pub(crate) lag: u64,
    /// Whom it keeps waiting because that is too many; absent where nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) holds_back: Option<HoldsBack>,
    /// The subscription that has to catch up before it gets any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held_back_by: Option<SubscriptionName>,
    /// The oldest event it is not done with or hasn't looked at; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oldest_unsettled: Option<Unsettled>,
    /// Deliveries under way.
    pub(crate) in_flight: u64,
    /// Deliveries that wait for another attempt.
    pub(crate) retrying: u64,
    /// When the next of those is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_retry: Option<Timestamp>,
    /// Emissions of its deliveries that wait for their delay.
    pub(crate) delayed: u64,
    /// Deliveries that wait for one of the same key before them.
    pub(crate) parked: u64,
    /// Keys whose first delivery failed and waits for another attempt.
    pub(crate) stalled_lanes: u64,
    /// Acknowledged since the router started.
    pub(crate) acked: u64,
    /// Failed attempts since the router started.
    pub(crate) failed: u64,
    /// Dead letters it has.
    pub(crate) dead: u64,
    /// Whether retention may take events it has not settled.
    pub(crate) expires: bool,
    /// Deliveries that were not over when retention took their event, since it was made.
    pub(crate) expired: u64,
    /// Deliveries that may be under way at once.
    pub(crate) max_in_flight: u32,
}

/// Whom a subscription that is too far behind keeps waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HoldsBack {
    /// Producers.
    Producers,
    /// Producers, and plugins whose emissions it would take.
    Plugins,
}

/// Which deliveries of a subscription wait for others, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// None.
    None,
    /// Those whose event has the same value of this attribute.
    Key(String),
    /// All.
    Total,
}

/// Where a new subscription begins, as the configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Start {
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Retry {
    /// Wait before the second attempt.
    pub(crate) first_delay_ms: u64,
    /// Growth from one wait to the next.
    pub(crate) factor: f64,
    /// The longest wait.
    pub(crate) max_delay_ms: u64,
    /// Spread as a fraction of the wait.
    pub(crate) jitter: f64,
    /// Attempts in all.
    pub(crate) max_attempts: u32,
    /// How long after the first failure the last attempt may start.
    pub(crate) max_age_ms: u64,
    /// What is different for some classes of failure.
    pub(crate) classes: BTreeMap<String, ClassRetry>,
}

/// What of a retry policy is different for one class of failure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassRetry {
    /// Wait before the second attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_delay_ms: Option<u64>,
    /// Growth from one wait to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) factor: Option<f64>,
    /// The longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_delay_ms: Option<u64>,
    /// Failures of this class at which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_attempts: Option<u32>,
}

/// An event that a subscription is not done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unsettled {
    /// Its place in the log.
    pub(crate) sequence: u64,
    /// When it was appended; absent where the log has lost it meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recorded: Option<Timestamp>,
}

/// Answer to `DELETE /subscriptions/{plugin}/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubscriptionGone {
    /// The subscription that is no more.
    pub(crate) name: SubscriptionName,
}

/// Whether a subscription is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SubscriptionState {
    /// A plugin takes its deliveries.
    Active,
    /// Nothing serves it; its events wait.
    Paused,
}
