//! Subscriptions: specification and status.

use usher_event::{SubscriptionName, check_attribute_name};
use usher_filter::Filter;

use super::RetryPolicy;

/// A subscription's specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Its name, which includes the plugin it is bound to.
    pub name: SubscriptionName,
    /// Which events it takes.
    pub filter: Filter,
    /// Where it starts when it is created.
    pub start: Start,
    /// Ordering of its deliveries.
    pub order: Order,
    /// What to do with failed deliveries.
    pub retry: RetryPolicy,
    /// Maximum number of deliveries in flight.
    pub max_in_flight: u32,
    /// Whether retention may remove events that it hasn't finished. Their deliveries end and are
    /// counted as expired.
    pub expires: bool,
}

/// Which deliveries of a subscription wait for others. The order is that of the log; a delivery is
/// finished once it is acknowledged or dead-lettered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Unordered: up to `max_in_flight` deliveries run concurrently.
    #[default]
    None,
    /// Ordered by this attribute: among events with the same value, a delivery starts only once the
    /// previous one is finished, retries included. Events without the attribute are unordered.
    Key(String),
    /// One delivery at a time. A delivery waiting for a retry blocks the subscription.
    Total,
}

impl Order {
    /// Orders by an attribute; `None` if the name isn't a valid attribute name (CloudEvents 1.0.2,
    /// section "Naming conventions").
    pub fn key(attribute: &str) -> Option<Self> {
        check_attribute_name(attribute).ok()?;
        Some(Self::Key(attribute.to_owned()))
    }
}

/// Where a new subscription starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first event appended after its creation.
    #[default]
    Latest,
    /// At the oldest event in the log.
    Earliest,
    /// At this sequence; at the next event if the log hasn't reached it.
    Sequence(u64),
    /// At the first event recorded at or after this time, Unix milliseconds.
    Time(u64),
}

/// Status of a subscription.
#[derive(Clone, Debug)]
pub struct SubscriptionStatus {
    /// Its specification.
    pub subscription: Subscription,
    /// The sequence it started at; earlier events reach it only through a replay.
    pub first: u64,
    /// Every matching event before this sequence is settled or waits for a retry.
    pub cursor: u64,
    /// Backlog: events of the log it hasn't handed out or skipped, plus granted deliveries that are
    /// not leased yet.
    pub lag: u64,
    /// What it blocks because it is too far behind.
    pub holds_back: Option<Backpressure>,
    /// The subscription that must catch up before this one gets more deliveries.
    pub held_back_by: Option<SubscriptionName>,
    /// Deliveries in flight.
    pub in_flight: u64,
    /// Deliveries that wait for another attempt.
    pub retrying: u64,
    /// Deliveries waiting for an earlier one with the same key.
    pub parked: u64,
    /// Keys whose first delivery failed and waits for a retry.
    pub stalled_lanes: u64,
    /// When the next retry is due, Unix milliseconds.
    pub next_retry_ms: Option<u64>,
    /// Emissions of its deliveries waiting for their delay.
    pub delayed: u64,
    /// Sequence of the oldest event that it hasn't finished or hasn't looked at.
    pub oldest_unsettled: Option<u64>,
    /// When that event was recorded, Unix milliseconds.
    pub oldest_unsettled_ms: Option<u64>,
    /// Deliveries acknowledged since the process started.
    pub acked: u64,
    /// Failed attempts since the process started.
    pub failed: u64,
    /// Current number of its dead letters.
    pub dead: u64,
    /// Deliveries unfinished when retention removed their event, since it was created.
    pub expired: u64,
}

/// What a subscription blocks by being too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backpressure {
    /// Producers: publishing is refused.
    Producers,
    /// Producers, and plugins whose emissions it would take.
    Plugins,
}
