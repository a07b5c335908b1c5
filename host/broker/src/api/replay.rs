//! Replay: delivers events of the log to a subscription again, or those that precede its start.

use usher_event::SubscriptionName;
use usher_filter::Filter;

use super::StoredEvent;

/// Selects the events to replay: those in a range of the log that the subscription takes.
#[derive(Clone, Debug)]
pub struct ReplayQuery {
    /// The subscription.
    pub subscription: SubscriptionName,
    /// First sequence.
    pub from: u64,
    /// End of the range, exclusive; `None` for the current end of the log.
    pub to: Option<u64>,
    /// An additional filter.
    pub filter: Option<Filter>,
    /// Maximum number of events; an engine may take fewer and say where to continue.
    pub max: usize,
}

/// Events that could be replayed.
#[derive(Clone, Debug)]
pub struct Replayable {
    /// In order.
    pub events: Vec<StoredEvent>,
    /// Where the part of the log ends that was asked for.
    pub to: u64,
    /// The next sequence to ask for; `None` where that was all.
    pub next: Option<u64>,
}

/// Result of one step of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Events that are now due for delivery.
    pub events: u64,
    /// Events skipped because their delivery is pending or in flight.
    pub pending: u64,
    /// Events skipped because they are dead letters of the subscription: redrive those.
    pub dead: u64,
    /// End of the requested range, exclusive.
    pub to: u64,
    /// The sequence to continue from; `None` at the end of the range.
    pub next: Option<u64>,
}
