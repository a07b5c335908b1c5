//! Leases, and the settlements that return a verdict with its effects.

use std::time::Duration;

use usher_event::{
    BlobChange, Delivery, Digest, Event, Failure, Quota, StagedBlob, StateRead, StateWrite,
    SubscriptionName,
};

use crate::DELAYED_MAX;

/// A delivery leased to the caller until it is settled, or until the engine takes it back because
/// the holder is gone or its subscription was removed. Settling it after that is
/// [`Settled::Stale`] and changes nothing, so a holder needn't know whether it still has the lease.
#[derive(Debug)]
pub struct Lease {
    /// What to deliver.
    pub delivery: Delivery,
    /// Distinguishes this lease from earlier ones of the same delivery; part of the settlement.
    pub token: u64,
}

/// Outcome of a leased delivery.
#[derive(Debug)]
pub struct Settlement {
    /// The subscription it was leased from.
    pub subscription: SubscriptionName,
    /// The event's sequence.
    pub sequence: u64,
    /// The lease's token.
    pub token: u64,
    /// Digest of the component that handled it.
    pub digest: Option<Digest>,
    /// The component's version; only used for failures.
    pub version: Option<Box<str>>,
    /// How long the listener took.
    pub took: Duration,
    /// The verdict.
    pub disposition: Disposition,
}

impl Settlement {
    /// Approximate memory it occupies, bytes.
    pub fn bytes(&self) -> usize {
        const ITSELF_BYTES: usize = 128;
        let carried = match &self.disposition {
            Disposition::Ack(changes) => {
                let events = changes.emissions.iter().map(|new| new.event.encoded().len());
                let values = changes.writes.iter().filter_map(|write| write.value.as_ref());
                events.sum::<usize>() + values.map(|value| value.len()).sum::<usize>()
            }
            Disposition::Retry { failure, .. } | Disposition::Reject { failure } => {
                failure.reason.len()
                    + failure.backtrace.as_ref().map_or(0, String::len)
                    + failure.recording.as_ref().map_or(0, bytes::Bytes::len)
            }
            Disposition::Release => 0,
        };
        ITSELF_BYTES + carried
    }
}

/// The verdict, with the effects to commit along with it.
#[derive(Debug)]
pub enum Disposition {
    /// Acknowledged: commits the acknowledgement and these effects atomically.
    Ack(Changes),
    /// Retry by the retry policy, but not before `after` has passed.
    Retry {
        /// Why.
        failure: Failure,
        /// Minimum delay.
        after: Option<Duration>,
    },
    /// Dead-letter immediately.
    Reject {
        /// Why.
        failure: Failure,
    },
    /// Never ran, or interrupted by the host: ready again immediately; not counted as an attempt.
    Release,
}

/// Effects in the form the broker commits.
#[derive(Debug)]
pub struct Changes {
    /// Events to append, in order.
    pub emissions: Vec<NewEvent>,
    /// State that was read; if any of it has changed, the delivery runs again.
    pub reads: Vec<StateRead>,
    /// State writes.
    pub writes: Vec<StateWrite>,
    /// Blobs put or deleted by the subscription's plugin.
    pub blobs: Vec<BlobChange>,
    /// Keeps the content of stored blobs from being removed before the commit.
    pub staged: Vec<StagedBlob>,
    /// The plugin's quota. If usage would grow beyond it, the delivery fails instead, with the
    /// class [`FailureClass::Limit`](usher_event::FailureClass::Limit).
    pub quota: Quota,
    /// How many emissions of the subscription's plugin may wait for their delay at once, including
    /// these. Beyond it the delivery fails and nothing of it is committed.
    pub delayed_max: usize,
}

impl Default for Changes {
    /// No effects, and no limits beyond those of the broker.
    fn default() -> Self {
        Self {
            emissions: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            blobs: Vec::new(),
            staged: Vec::new(),
            quota: Quota::default(),
            delayed_max: DELAYED_MAX,
        }
    }
}

/// An event to append, optionally after a delay.
#[derive(Debug)]
pub struct NewEvent {
    /// The event, complete.
    pub event: Event,
    /// Delay after the commit; `None` appends it with the commit.
    pub delay: Option<Duration>,
}

impl NewEvent {
    /// The delay, unless it is zero.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.delay.filter(|delay| !delay.is_zero())
    }
}

/// Result of a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Committed as asked.
    Committed,
    /// Retried at this time (Unix milliseconds).
    RetryAt(u64),
    /// Dead-lettered under this id.
    Dead(u64),
    /// State it read has changed: dropped, and run again; not counted as an attempt.
    Conflict,
    /// A subscription that would take its emissions is too far behind: dropped, and run again once
    /// that has caught up; not counted as an attempt.
    HeldBack,
    /// Retention has removed the event, so it can't be redelivered: counted as expired.
    Expired,
    /// The lease is no longer valid (redriven, unsubscribed…): dropped.
    Stale,
}
