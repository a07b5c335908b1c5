//! Errors of the broker.

use std::time::Duration;

use usher_event::SubscriptionName;

/// Why a broker call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// An event exceeds the size limit.
    #[error("event {member} has {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Index in the batch, from 0.
        member: usize,
        /// Its encoded size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// Too many events in one batch.
    #[error("the batch has {count} events, the limit is {limit}")]
    BatchTooLong {
        /// Number of events in the batch.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The broker is overloaded; retry after the given time.
    #[error("the broker is busy; try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// How long to wait before retrying.
        retry_after: Duration,
    },
    /// What keeps the journal is away; nothing is published until it is back.
    #[error("what keeps the journal can't be reached; it goes on by itself")]
    Away {
        /// How long to wait before retrying.
        retry_after: Duration,
    },
    /// Free disk space is below the reserve; nothing is published until there is more.
    #[error(
        "only {free_bytes} bytes of the disk are free, {reserve_bytes} are kept for what is \
         under way; make room, or let the log keep less"
    )]
    Full {
        /// Free space on the disk.
        free_bytes: u64,
        /// Free space required for publishing.
        reserve_bytes: u64,
        /// How long to wait before retrying.
        retry_after: Duration,
    },
    /// A subscription is too far behind; nothing is added until it has caught up.
    #[error(
        "subscription {subscription} is {lag} events of the log behind, the limit is {max_events}; \
         usher subscriptions shows whether anything serves it: let it catch up, remove it if \
         nothing will, or raise broker.backlog_max_events"
    )]
    Behind {
        /// The subscription; if there are several, the one furthest behind.
        subscription: SubscriptionName,
        /// Its lag, in events of the log.
        lag: u64,
        /// The limit.
        max_events: u64,
        /// How long to wait before retrying.
        retry_after: Duration,
    },
    /// A subscription has reached its limit of deliveries waiting for a retry.
    #[error(
        "{subscription} has {} deliveries waiting for another attempt; try again when there are \
         fewer",
        crate::RETRIES_MAX
    )]
    ManyRetries {
        /// The subscription.
        subscription: SubscriptionName,
        /// How long to wait before retrying.
        retry_after: Duration,
    },
    /// No subscription has this name.
    #[error("there is no subscription {0}")]
    NoSubscription(SubscriptionName),
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// Conflicts with current state.
    #[error("{0}")]
    Conflict(String),
    /// A backup failed; the partial copy was removed.
    #[error("the backup failed: {0}")]
    Backup(String),
    /// A commit failed. The state on disk is unknown until the next start recovers it.
    #[error("the store failed and refuses all work until restarted: {0}")]
    Poisoned(String),
    /// A read from the store failed.
    #[error("the store can't be read: {0}")]
    Read(String),
    /// The broker is shut down.
    #[error("the broker is closed")]
    Closed,
}
