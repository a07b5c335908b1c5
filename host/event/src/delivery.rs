//! What a listener is given, and what became of it.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::host::{BlobChange, StagedBlob, StateRead, StateWrite};
use crate::{Emission, Event, PLUGIN_SOURCE_PREFIX, Quota, SubscriptionName};

/// Bytes of a hash in an idempotency key: 128 bits never meet by chance.
const KEY_HASH_BYTES: usize = 16;

/// One event for one subscription, at one attempt.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event's place in the log. Rises, is never reused.
    pub sequence: u64,
    /// The event.
    pub event: Event,
    /// The subscription it is delivered to.
    pub subscription: SubscriptionName,
    /// Which attempt this is; the first is 1.
    pub attempt: u32,
    /// The sequence of the flow's first event (the event's own for a published one).
    pub flow: u64,
    /// How many emissions lie between the flow's first event and this one.
    pub depth: u16,
    /// The audit record of an operator's request to deliver this event again, where there was one.
    pub replay: Option<u64>,
    /// Whether its effects will be dropped, whatever becomes of it: it must do nothing outside.
    pub is_dry_run: bool,
}

impl Delivery {
    /// A key for one of its calls to the outside: the same at every attempt and whenever the event
    /// is delivered again, different for every other event, subscription and plugin, also those of
    /// other routers. `call` tells the delivery's calls apart. At most 162 characters of a-z, 0-9,
    /// '-' and '.'.
    pub fn idempotency_key(&self, call: &[&str]) -> String {
        let event = &self.event;
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(event.source());
        add(event.id());
        // Ids of emissions are made of sequences, which every router and every new data folder
        // counts from 1; their time is the host's and never changes once they are in the log.
        if event.source().starts_with(PLUGIN_SOURCE_PREFIX) {
            add(event.time().unwrap_or_default());
        }
        call.iter().copied().for_each(add);
        let (plugin, local) = (self.subscription.plugin(), self.subscription.local());
        hash.finalize().iter().take(KEY_HASH_BYTES).fold(
            format!("{plugin}.{local}."),
            |mut key, byte| {
                key.extend(
                    [byte >> 4, byte & 15]
                        .map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default()),
                );
                key
            },
        )
    }
}

/// What the listener, or the sandbox in its place, decided about a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done. The effects are committed together with this acknowledgement.
    Ack,
    /// Did not work now, may work later: backoff, or after `after` where the listener said so.
    Retry {
        /// Why.
        failure: Failure,
        /// The shortest wait the listener asked for before the next attempt.
        after: Option<Duration>,
    },
    /// Will never work: dead letter at once.
    Reject {
        /// Why.
        failure: Failure,
    },
}

/// Why a delivery failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is.
    pub class: FailureClass,
    /// What happened, in words; lower case, no full stop.
    pub reason: String,
    /// The guest's call stack, innermost frame first, one frame a line, where there is one.
    pub backtrace: Option<String>,
}

impl Failure {
    /// A failure without a backtrace.
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), backtrace: None }
    }
}

/// The kinds of failure; stable names for logs, metrics and storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// The listener answered `retry`.
    Retry,
    /// The listener answered `reject`.
    Reject,
    /// The guest trapped.
    Trap,
    /// The guest used up its CPU budget or missed its wall deadline.
    Timeout,
    /// The guest went past a limit (memory, emissions, state, log, host calls…).
    Limit,
    /// The guest emitted something that is not a valid event.
    Emission,
    /// The sandbox could not be set up; not the guest's doing.
    Host,
}

impl FailureClass {
    /// Every class, in the order of their storage codes.
    pub const ALL: [Self; 7] = [
        Self::Retry,
        Self::Reject,
        Self::Trap,
        Self::Timeout,
        Self::Limit,
        Self::Emission,
        Self::Host,
    ];

    /// The name used in JSON, logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Emission => "emission",
            Self::Host => "host",
        }
    }

    /// The class with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything a delivery wants to change inside the broker: staged while it runs, committed with
/// the acknowledgement, dropped whole otherwise.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Events handed back, in order.
    pub emissions: Vec<Emission>,
    /// What the delivery read from state; the broker checks at commit that it still holds.
    pub reads: Vec<StateRead>,
    /// State writes; at most one for each address (the last one wins while staging).
    pub writes: Vec<StateWrite>,
    /// Blobs put or deleted.
    pub blobs: Vec<BlobChange>,
    /// Keeps the content of the blobs put where it is until they are committed.
    pub staged: Vec<StagedBlob>,
    /// What the plugin may keep; the broker checks at commit that all of this fits.
    pub quota: Quota,
}

/// A verdict with what goes with it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The decision.
    pub verdict: Verdict,
    /// The staged effects; empty unless the verdict is [`Verdict::Ack`].
    pub effects: Effects,
    /// How long the listener took, by the wall clock.
    pub took: Duration,
}

impl Outcome {
    /// An outcome without effects.
    pub fn without_effects(verdict: Verdict, took: Duration) -> Self {
        Self { verdict, effects: Effects::default(), took }
    }
}
