//! Subscriptions: specification and status.

use std::sync::Arc;
use std::time::Duration;

use usher_event::{SubscriptionName, check_attribute_name};
use usher_filter::{Filter, Projection};

use super::RetryPolicy;
use crate::DEBOUNCE_MAX;

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
    /// How fast deliveries follow each other, and which are left out for newer ones.
    pub pace: Pace,
    /// What of an event's data its listener gets. The broker keeps it for those who deliver.
    pub projection: Projection,
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

/// How fast deliveries are handed out. Retries count, and wait for the rate, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Of the whole subscription.
    pub max_rate: Option<Rate>,
    /// Of each key, for first attempts; needs [`Order::Key`].
    pub max_rate_per_key: Option<Rate>,
    /// Deliver only the newest event of each key, or of the subscription if it has no key.
    pub debounce: Option<Debounce>,
}

impl Pace {
    /// Whether a subscription with this order may have it.
    ///
    /// # Errors
    /// Why not, by the names of the configuration.
    pub fn check(&self, order: &Order) -> Result<(), String> {
        let by_key = matches!(order, Order::Key(_));
        if self.max_rate_per_key.is_some() && !by_key {
            return Err("max_per_second_per_key needs an order by key".to_owned());
        }
        if self.max_rate_per_key.is_some_and(|rate| rate.as_per_second() > KEY_RATE_MAX) {
            return Err(format!("max_per_second_per_key must be at most {KEY_RATE_MAX}"));
        }
        let Some(Debounce { quiet, max }) = self.debounce else { return Ok(()) };
        if quiet.is_zero() || max < quiet || max > DEBOUNCE_MAX {
            let max_ms = DEBOUNCE_MAX.as_millis();
            return Err(format!(
                "debounce_ms must be at least 1, debounce_max_ms at least as much and at most {max_ms}"
            ));
        }
        if *order == Order::Total {
            return Err(
                "debounce_ms delivers one at a time: it needs order \"none\", or one by key"
                    .to_owned(),
            );
        }
        if self.max_rate_per_key.is_some() {
            return Err(
                "debounce_ms limits the rate of each key: leave out max_per_second_per_key"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Highest rate of a key, per second: its deliveries are whole milliseconds apart.
const KEY_RATE_MAX: f64 = 1_000.0;

/// A number of deliveries per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    millihertz: u32,
}

impl Rate {
    /// The lowest rate, per second.
    pub const MIN: f64 = 0.001;
    /// The highest rate, per second.
    pub const MAX: f64 = 1_000_000.0;

    /// So many per second, from [`Self::MIN`] to [`Self::MAX`], rounded to thousandths.
    pub fn per_second(number: f64) -> Option<Self> {
        let is_valid = (Self::MIN..=Self::MAX).contains(&number);
        // In range, so that it is exact.
        is_valid.then(|| Self { millihertz: (number * 1_000.0).round() as u32 })
    }

    /// So many in 1,000 seconds.
    pub fn from_millihertz(millihertz: u32) -> Option<Self> {
        (1..=1_000_000_000).contains(&millihertz).then_some(Self { millihertz })
    }

    /// The number per second.
    pub fn as_per_second(self) -> f64 {
        f64::from(self.millihertz) / 1_000.0
    }

    /// The number in 1,000 seconds; in a millisecond that makes as many millionths of a delivery.
    pub fn as_millihertz(self) -> u32 {
        self.millihertz
    }
}

/// An event is delivered once no newer one with the same key has come for a while. Older ones that
/// weren't delivered by then are superseded: done, without a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debounce {
    /// For how long none must have come.
    pub quiet: Duration,
    /// How long after the first event since the last delivery the newest is delivered nevertheless.
    pub max: Duration,
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
    pub subscription: Arc<Subscription>,
    /// The sequence it started at; earlier events reach it only through a replay.
    pub first: u64,
    /// Every matching event before this sequence is settled or waits for a retry.
    pub cursor: u64,
    /// Backlog: events of the log it hasn't handed out or skipped, plus deliveries that were handed out and
    /// are to be leased again, as after a state conflict or a restart.
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
    /// Deliveries left out for a newer event since the process started.
    pub superseded: u64,
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
