//! What became of one event for one subscription, or why nothing did.

use usher_filter::Mismatch;

use super::DeliveryStatus;

/// What became of an event for a subscription, or why nothing did.
#[derive(Clone, Debug)]
pub enum Explanation {
    /// Retention let the event go. The subscription didn't need it any more, or lets its events
    /// expire.
    Expired {
        /// The oldest sequence the log still has.
        first_sequence: u64,
        /// Whether the subscription lets them expire.
        expires: bool,
    },
    /// It was there before the subscription, which began later in the log.
    BeforeStart {
        /// The first sequence the subscription takes.
        first: u64,
    },
    /// The subscription's filter says no.
    Unmatched(Mismatch),
    /// There is a delivery.
    Delivery {
        /// Where it stands.
        status: DeliveryStatus,
        /// While it is pending: at most so many deliveries come before it.
        ahead: u64,
        /// While it is pending: why none of those it waits for goes out now, if so.
        held_up: Option<HeldUp>,
        /// Where it counts as done, but an earlier filter of the subscription may have passed it
        /// over: the sequence from which the present one has been applied.
        filter_from: Option<u64>,
    },
}

/// Why a subscription hands out nothing more for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldUp {
    /// As many deliveries as may be are under way, or ready and nobody takes them.
    InFlight,
    /// Its order is total, and this delivery is not over.
    Total {
        /// The event's sequence.
        behind: u64,
    },
    /// As many deliveries as may be wait for another attempt: [`crate::RETRIES_MAX`].
    Retrying,
    /// As many deliveries as may be are parked: [`crate::PARKED_MAX`].
    Parked,
    /// The events under way or behind the heads of their lanes take as much memory as may be.
    Memory,
    /// A delivery of its plugin runs alone because state changed under it too often.
    Alone,
    /// A subscription that would take what it emits is too far behind.
    Backlog,
}
