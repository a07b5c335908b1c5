//! A delivery that is handed out, and what comes back: the decision with its effects.

use std::time::Duration;

use usher_event::{
    BlobChange, Delivery, Digest, Event, Failure, Quota, StagedBlob, StateRead, StateWrite,
    SubscriptionName,
};

use crate::DELAYED_MAX;

/// A delivery that is the holder's until settled.
#[derive(Debug)]
pub struct Lease {
    /// What to deliver.
    pub delivery: Delivery,
    /// Tells this lease from earlier ones of the same delivery; goes back with the settlement.
    pub token: u64,
}

/// What became of a leased delivery.
#[derive(Debug)]
pub struct Settlement {
    /// The subscription it was leased from.
    pub subscription: SubscriptionName,
    /// The event's sequence.
    pub sequence: u64,
    /// The lease's token.
    pub token: u64,
    /// Which bytes handled it.
    pub digest: Option<Digest>,
    /// Their author's version; of use only where it failed.
    pub version: Option<Box<str>>,
    /// How long the listener took.
    pub took: Duration,
    /// What became of it.
    pub disposition: Disposition,
}

impl Settlement {
    /// About how much memory it holds on to, bytes.
    pub fn bytes(&self) -> usize {
        const ITSELF_BYTES: usize = 128;
        let carried = match &self.disposition {
            Disposition::Ack(changes) => {
                let events = changes.emissions.iter().map(|new| new.event.encoded().len());
                let values = changes.writes.iter().filter_map(|write| write.value.as_ref());
                events.sum::<usize>() + values.map(|value| value.len()).sum::<usize>()
            }
            Disposition::Retry { failure, .. } | Disposition::Reject { failure } => {
                failure.reason.len() + failure.backtrace.as_ref().map_or(0, String::len)
            }
            Disposition::Release => 0,
        };
        ITSELF_BYTES + carried
    }
}

/// The decision, with what is to be committed along with it.
#[derive(Debug)]
pub enum Disposition {
    /// Done: commit the acknowledgement and all of this at once.
    Ack(Changes),
    /// Try again later by the retry policy, not before `after` has passed.
    Retry {
        /// Why.
        failure: Failure,
        /// The shortest wait.
        after: Option<Duration>,
    },
    /// Dead letter now.
    Reject {
        /// Why.
        failure: Failure,
    },
    /// Never ran, or was cut short by the host: ready again at once, no attempt counted.
    Release,
}

/// Effects in the form the broker commits.
#[derive(Debug)]
pub struct Changes {
    /// Events to append, in order.
    pub emissions: Vec<NewEvent>,
    /// What was read from state; all of it must still hold, or the delivery runs again.
    pub reads: Vec<StateRead>,
    /// State writes.
    pub writes: Vec<StateWrite>,
    /// Blobs put or deleted by the subscription's plugin.
    pub blobs: Vec<BlobChange>,
    /// Keeps the content of the blobs put where it is until they are committed.
    pub staged: Vec<StagedBlob>,
    /// What the plugin may keep. Where it would keep more afterwards than this and than before, the
    /// delivery fails instead, with the class [`FailureClass::Limit`](usher_event::FailureClass::Limit).
    pub quota: Quota,
    /// How many emissions of the subscription's plugin may wait for their delay at a time, these
    /// included. Where it would be more, the delivery fails and nothing of it is committed.
    pub delayed_max: usize,
}

impl Default for Changes {
    /// Nothing, by a plugin that has all the room there is.
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

/// An event to append, perhaps later.
#[derive(Debug)]
pub struct NewEvent {
    /// The event, complete.
    pub event: Event,
    /// How long after the commit it is appended; `None` for at once.
    pub delay: Option<Duration>,
}

impl NewEvent {
    /// How long it waits, if it does.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.delay.filter(|delay| !delay.is_zero())
    }
}

/// What the broker did with a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Committed as asked.
    Committed,
    /// A retry is due at this time (Unix milliseconds).
    RetryAt(u64),
    /// Became the dead letter with this id.
    Dead(u64),
    /// State it read has changed since: dropped, will run again; no attempt counted.
    Conflict,
    /// A subscription that would take what it emits is too far behind: dropped, will run again once
    /// that has caught up; no attempt counted.
    HeldBack,
    /// Retention has let go of the event since, so it can't come again: counted as expired.
    Expired,
    /// The lease no longer holds (redriven, unsubscribed…): dropped.
    Stale,
}
