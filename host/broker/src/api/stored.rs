//! Events as the log has them: where, since when and what for.

use usher_event::{Event, SYSTEM_TYPE_PREFIX, SubscriptionName};
use usher_filter::{Filter, Mismatch};

use super::Subscription;

/// What became of a published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place in the log; for a duplicate, that of the first.
    pub sequence: u64,
    /// Whether an event with the same source and id was there before.
    pub duplicate: bool,
}

/// An event in the log.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its place in the log.
    pub sequence: u64,
    /// When it was appended, Unix milliseconds.
    pub recorded_ms: u64,
    /// The first event of its flow.
    pub flow: u64,
    /// How many emissions lie between the flow's first event and this one.
    pub depth: u16,
    /// How it came about, unless a producer published it.
    pub cause: Option<Cause>,
    /// The event.
    pub event: Event,
}

impl StoredEvent {
    /// The only subscription it is for, where it is for one.
    pub fn addressee(&self) -> Option<&SubscriptionName> {
        let cause = self.cause.as_ref()?;
        (cause.kind == CauseKind::Redrive).then_some(&cause.subscription)
    }

    /// Why a subscription doesn't take it; `None` where it does.
    pub(crate) fn mismatch(&self, subscription: &Subscription) -> Option<Mismatch> {
        match self.addressee() {
            None if self.matches(&subscription.filter) => None,
            None => subscription.filter.explain(&self.event).or_else(|| {
                Some(Mismatch::because(format!(
                    "it is the router's own, and the filter names no type that begins with \
                     {SYSTEM_TYPE_PREFIX}"
                )))
            }),
            Some(addressee) => (*addressee != subscription.name).then(|| {
                Mismatch::because(format!(
                    "it is for {addressee} alone, in place of the event of a dead letter"
                ))
            }),
        }
    }

    /// Whether a subscription with this filter takes it as it comes by in the log. One that has an
    /// addressee goes there by itself; the router's own are for those that ask for them.
    pub(crate) fn matches(&self, filter: &Filter) -> bool {
        let may_match = match self.cause.as_ref().map(|cause| cause.kind) {
            Some(CauseKind::Redrive) => false,
            _ => self.is_for_all() || filter.names_types(SYSTEM_TYPE_PREFIX),
        };
        may_match && filter.matches(&self.event)
    }

    /// Whether it is for whoever has a filter that matches, as what producers and plugins append.
    pub(crate) fn is_for_all(&self) -> bool {
        match self.cause.as_ref().map(|cause| cause.kind) {
            // Nobody but the router publishes with its source.
            None => !self.event.has_system_source(),
            Some(CauseKind::Emission) => true,
            Some(CauseKind::Redrive | CauseKind::Report) => false,
        }
    }
}

/// The delivery that an event came of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// How it came of it.
    pub kind: CauseKind,
    /// The event that was delivered.
    pub parent: u64,
    /// To which subscription.
    pub subscription: SubscriptionName,
    /// At which attempt.
    pub attempt: u32,
    /// How long the listener took, microseconds.
    pub took_us: u64,
}

/// How an event came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseKind {
    /// The listener emitted it.
    Emission,
    /// The delivery became a dead letter, and an operator redrove it with this event in place of
    /// its own. It is for that subscription alone.
    Redrive,
    /// The delivery became a dead letter, which this event of the router's own reports.
    Report,
}

impl CauseKind {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emission => "emission",
            Self::Redrive => "redrive",
            Self::Report => "report",
        }
    }
}

/// Which part of the log to read.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// First sequence to look at.
    pub from: u64,
    /// At most so many events; an engine may return fewer and say where to read on.
    pub max: usize,
    /// Only events that match.
    pub filter: Option<Filter>,
}

/// Part of the log.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events, in order.
    pub events: Vec<StoredEvent>,
    /// The next sequence to ask for.
    pub next: u64,
}
