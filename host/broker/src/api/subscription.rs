//! Subscriptions: what they take, in which order, and where they stand.

use usher_event::{SubscriptionName, check_attribute_name};
use usher_filter::Filter;

use super::RetryPolicy;

/// What an engine needs to know of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Its name; the plugin it is bound to is part of it.
    pub name: SubscriptionName,
    /// Which events it takes.
    pub filter: Filter,
    /// Where a new one starts.
    pub start: Start,
    /// Which deliveries wait for others.
    pub order: Order,
    /// What to do with failed deliveries.
    pub retry: RetryPolicy,
    /// How many deliveries may be under way at once.
    pub max_in_flight: u32,
    /// Whether retention may let go of events that it has not settled. They are counted; its
    /// deliveries of them are over.
    pub expires: bool,
}

/// Which deliveries of a subscription wait for others. An event goes before another where it comes
/// before it in the log; a delivery is over once it is acknowledged or a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// None: as many side by side as may be in flight.
    #[default]
    None,
    /// Those whose event has the same value of this attribute: each begins when the one before it
    /// is over, however often that is tried. An event without the attribute waits for nobody.
    Key(String),
    /// All: one after another. While one waits for another attempt, so does the subscription.
    Total,
}

impl Order {
    /// By an attribute; `None` if no attribute can have this name (CloudEvents 1.0.2, section
    /// "Naming conventions").
    pub fn key(attribute: &str) -> Option<Self> {
        check_attribute_name(attribute).ok()?;
        Some(Self::Key(attribute.to_owned()))
    }
}

/// Where a new subscription starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the first event after its making.
    #[default]
    Latest,
    /// With the oldest event in the log.
    Earliest,
    /// With the event of this sequence; where the log doesn't reach it yet, with the next one.
    Sequence(u64),
    /// With the first event recorded at this time or later, Unix milliseconds.
    Time(u64),
}

/// Where a subscription stands.
#[derive(Clone, Debug)]
pub struct SubscriptionStatus {
    /// What it is.
    pub subscription: Subscription,
    /// The sequence it began with: events before it are none of its own.
    pub first: u64,
    /// Every matching event before this sequence is settled or waits for a retry.
    pub cursor: u64,
    /// What waits: events of the log it has not looked at yet, and deliveries ready that nobody
    /// took.
    pub lag: u64,
    /// Whom it keeps waiting because it is too far behind.
    pub holds_back: Option<HoldsBack>,
    /// The subscription that has to catch up before it gets any more.
    pub held_back_by: Option<SubscriptionName>,
    /// Deliveries under way.
    pub in_flight: u64,
    /// Deliveries that wait for another attempt.
    pub retrying: u64,
    /// Deliveries that wait for one of the same key before them.
    pub parked: u64,
    /// Keys whose first delivery failed and waits for another attempt.
    pub stalled_lanes: u64,
    /// When the next attempt of a failed delivery is due, Unix milliseconds.
    pub next_retry_ms: Option<u64>,
    /// Emissions of its deliveries that wait for their delay.
    pub delayed: u64,
    /// The oldest event it is not done with or has not looked at.
    pub oldest_unsettled: Option<u64>,
    /// When that was recorded, Unix milliseconds.
    pub oldest_unsettled_ms: Option<u64>,
    /// Deliveries acknowledged since the process started.
    pub acked: u64,
    /// Failed attempts since the process started.
    pub failed: u64,
    /// Dead letters it has now.
    pub dead: u64,
    /// Deliveries that were not over when retention let their event go, since it was made.
    pub expired: u64,
}

/// Whom a subscription that is too far behind keeps waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldsBack {
    /// Producers: nothing is published.
    Producers,
    /// Producers, and plugins whose emissions it would take.
    Plugins,
}
