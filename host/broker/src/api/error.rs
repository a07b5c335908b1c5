//! Why the broker did not do what it was asked.

use std::time::Duration;

use usher_event::SubscriptionName;

/// Why the broker did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// An event is larger than the log takes.
    #[error("event {member} has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Its place in the batch; the first is 0.
        member: usize,
        /// Its encoded size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// Too many events in one batch.
    #[error("the batch has {count} events, the limit is {limit}")]
    BatchTooLong {
        /// How many there are.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// More has arrived than the disk can take; try again after the given time.
    #[error("the broker is busy; try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is about to be full: nothing is published until there is more room.
    #[error(
        "only {free_bytes} bytes of the disk are free, {reserve_bytes} are kept for what is \
         under way; make room, or let the log keep less"
    )]
    Full {
        /// What is free.
        free_bytes: u64,
        /// What has to be.
        reserve_bytes: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// A subscription is so far behind that nothing is added until it has caught up.
    #[error(
        "subscription {subscription} is {lag} events of the log behind, the limit is {max_events}; \
         usher subscriptions shows whether anything serves it: let it catch up, remove it if \
         nothing will, or raise broker.backlog_max_events"
    )]
    Behind {
        /// Which subscription; where it is several, the one that is furthest behind.
        subscription: SubscriptionName,
        /// How far.
        lag: u64,
        /// How far it may be.
        max_events: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// A subscription has as many deliveries waiting for another attempt as it may have.
    #[error(
        "{subscription} has {} deliveries waiting for another attempt; try again when there are \
         fewer",
        crate::RETRIES_MAX
    )]
    ManyRetries {
        /// Which subscription.
        subscription: SubscriptionName,
        /// When to try again.
        retry_after: Duration,
    },
    /// There is no subscription of that name.
    #[error("there is no subscription {0}")]
    NoSubscription(SubscriptionName),
    /// Something in the request can't be right.
    #[error("{0}")]
    Invalid(String),
    /// What is there stands against it.
    #[error("{0}")]
    Conflict(String),
    /// A copy could not be made; nothing is left of it.
    #[error("the backup failed: {0}")]
    Backup(String),
    /// A commit failed. What the disk holds is unknown until the next start, which recovers.
    #[error("the store failed and refuses all work until restarted: {0}")]
    Poisoned(String),
    /// Reading failed.
    #[error("the store can't be read: {0}")]
    Read(String),
    /// The broker is shut down.
    #[error("the broker is closed")]
    Closed,
}
