//! What became of one event for one subscription, or why there is no delivery.

use usher_filter::Mismatch;

use super::DeliveryStatus;

/// What became of an event for a subscription, or why there is no delivery.
#[derive(Clone, Debug)]
pub enum Explanation {
    /// Retention removed the event: the subscription no longer needed it, or lets its events
    /// expire.
    Expired {
        /// The oldest sequence in the log.
        first_sequence: u64,
        /// Whether the subscription lets its events expire.
        expires: bool,
    },
    /// The event precedes the subscription's start.
    BeforeStart {
        /// The first sequence the subscription takes.
        first: u64,
    },
    /// The subscription's filter doesn't match.
    Unmatched(Mismatch),
    /// There is a delivery.
    Delivery {
        /// Its status.
        status: DeliveryStatus,
        /// If pending: upper bound on the number of deliveries ahead of it.
        ahead: u64,
        /// If pending, or parked without a head before it: what currently blocks it, if anything.
        held_up: Option<BlockReason>,
        /// Set if it counts as done but an earlier filter of the subscription may have skipped it:
        /// the sequence from which the current filter applies.
        filter_from: Option<u64>,
        /// Whether it counts as done but may have been superseded by a newer event.
        may_be_superseded: bool,
    },
}

/// Why a subscription currently hands out nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockReason {
    /// The in-flight limit is reached; granted deliveries count even before they are leased.
    InFlight,
    /// The order is total, and an earlier delivery is unfinished.
    Total {
        /// The sequence of the earlier event.
        behind: u64,
    },
    /// The limit of deliveries waiting for a retry is reached: [`crate::RETRIES_MAX`].
    Retrying,
    /// The limit of parked deliveries is reached: [`crate::PARKED_MAX`].
    Parked,
    /// Events in flight or waiting behind lane heads have reached the memory limit.
    Memory,
    /// A delivery of its plugin runs alone after too many state conflicts.
    Alone,
    /// A subscription that would take its emissions is too far behind.
    Backlog,
    /// The subscription's rate is used up for now.
    Rate,
    /// The rate of its key is used up for now.
    KeyRate,
    /// It is not known yet whether a newer event of its key follows.
    Debounce,
}
