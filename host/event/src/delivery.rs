//! What a listener receives and what it returns.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Event, PLUGIN_SOURCE_PREFIX, Span, SubscriptionName, TraceContext};

/// Bytes of the hash in an idempotency key: 128 bits don't collide by chance.
const KEY_HASH_BYTES: usize = 16;

/// One attempt to deliver an event to a subscription.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event's position in the log. Increasing, never reused.
    pub sequence: u64,
    /// The event.
    pub event: Event,
    /// The subscription it is delivered to.
    pub subscription: SubscriptionName,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Sequence of the flow's first event; for a published event its own.
    pub flow: u64,
    /// Number of emissions between the flow's first event and this one.
    pub depth: u16,
    /// The audit record of the operator's replay request, if this is a replay.
    pub replay: Option<u64>,
    /// Whether the effects are dropped regardless of the verdict; outbound calls must be refused.
    pub is_dry_run: bool,
    /// The span of this attempt, if tracing is on; requests that it causes are below it.
    pub span: Option<Span>,
}

impl Delivery {
    /// The trace that the delivery is part of.
    pub fn trace(&self) -> Option<TraceContext> {
        self.span.as_ref().map(Span::context).or_else(|| self.event.trace_context())
    }

    /// The id of its trace, as logs have it.
    pub fn trace_id(&self) -> Option<String> {
        self.trace().map(TraceContext::trace_id_text)
    }

    /// An idempotency key for one outbound call: the same at every attempt and redelivery of the
    /// event, and distinct for every other event, subscription and plugin, across routers. `call`
    /// distinguishes the calls of one delivery. At most 162 characters of a-z, 0-9, '-' and '.'.
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

/// What the listener, or the sandbox on its behalf, decided about a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Success: the effects are committed together with this acknowledgement.
    Ack,
    /// Transient failure: retry after the backoff, or after `after` if the listener set it.
    Retry {
        /// Why.
        failure: Failure,
        /// Minimum delay before the next attempt, as requested by the listener.
        after: Option<Duration>,
    },
    /// Permanent failure: dead letter at once.
    Reject {
        /// Why.
        failure: Failure,
    },
}

/// Why a delivery failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure it is.
    pub class: FailureClass,
    /// What happened; lower case, no full stop.
    pub reason: String,
    /// The guest's call stack, one frame per line, innermost first.
    pub backtrace: Option<String>,
    /// What the delivery was told: a [`Recording`](crate::Recording) as JSON.
    pub recording: Option<Bytes>,
}

impl Failure {
    /// A failure without a backtrace.
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), backtrace: None, recording: None }
    }
}

/// Failure classes; stable names for logs, metrics and storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureClass {
    /// The listener returned `retry`.
    Retry,
    /// The listener returned `reject`.
    Reject,
    /// The guest trapped.
    Trap,
    /// The guest exceeded its CPU budget or wall deadline.
    Timeout,
    /// The guest exceeded a limit (memory, emissions, state, log, host calls…).
    Limit,
    /// The guest emitted an invalid event.
    Emission,
    /// The sandbox failed; not the guest's fault.
    Host,
}

impl FailureClass {
    /// All classes, ordered by storage code.
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

    /// Looks up a class by name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
