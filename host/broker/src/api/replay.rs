//! Replay: delivering events of the log to a subscription again, or for the first time where it
//! began later.

use usher_event::SubscriptionName;
use usher_filter::Filter;

use super::StoredEvent;

/// Which events to replay: those in this part of the log that the subscription takes.
#[derive(Clone, Debug)]
pub struct ReplayQuery {
    /// To which subscription.
    pub subscription: SubscriptionName,
    /// First sequence.
    pub from: u64,
    /// The sequence to end before; `None` for the end of the log as it is now.
    pub to: Option<u64>,
    /// Only events that match this, too.
    pub filter: Option<Filter>,
    /// At most so many events; an engine may take fewer and say where to go on.
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

/// What was done about a part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Events that are delivered now.
    pub events: u64,
    /// Events left alone because a delivery of them is yet to come or under way.
    pub pending: u64,
    /// Events left alone because they are a dead letter of the subscription: redrive those.
    pub dead: u64,
    /// Where the part of the log ends that was asked for.
    pub to: u64,
    /// The next sequence to ask for; `None` where that was all.
    pub next: Option<u64>,
}
