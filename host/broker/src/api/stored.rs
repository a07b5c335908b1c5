//! Events as stored in the log, with position, time and cause.

use usher_event::{Event, SYSTEM_TYPE_PREFIX, SubscriptionName};
use usher_filter::{Filter, Mismatch};

use super::Subscription;

/// Result of publishing one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its sequence; for a duplicate, that of the original.
    pub sequence: u64,
    /// Whether an event with the same source and id was already in the duplicates window.
    pub duplicate: bool,
}

/// An event in the log.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its sequence in the log.
    pub sequence: u64,
    /// When it was appended, Unix milliseconds.
    pub recorded_ms: u64,
    /// Sequence of the first event of its flow.
    pub flow: u64,
    /// Number of hops from the flow's first event to this one.
    pub depth: u16,
    /// The delivery that caused it, if one did.
    pub cause: Option<Cause>,
    /// The event.
    pub event: Event,
}

impl StoredEvent {
    /// The only subscription it is delivered to; `None` if it isn't addressed.
    pub fn addressee(&self) -> Option<&SubscriptionName> {
        let cause = self.cause.as_ref()?;
        (cause.kind == CauseKind::Redrive).then_some(&cause.subscription)
    }

    /// Why a subscription doesn't take the event; `None` if it does.
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

    /// Whether a subscription with this filter takes the event when scanning the log.
    pub(crate) fn matches(&self, filter: &Filter) -> bool {
        self.may_reach(filter) && filter.matches(&self.event)
    }

    /// Whether it reaches a subscription whose filter matches it. Addressed events are delivered
    /// directly instead; the router's own events go only to filters that name them.
    pub(crate) fn may_reach(&self, filter: &Filter) -> bool {
        match self.cause.as_ref().map(|cause| cause.kind) {
            Some(CauseKind::Redrive) => false,
            _ => self.is_for_all() || filter.selects_type_prefix(SYSTEM_TYPE_PREFIX),
        }
    }

    /// Whether any matching filter takes it, as for events appended by producers and plugins.
    fn is_for_all(&self) -> bool {
        match self.cause.as_ref().map(|cause| cause.kind) {
            // Only the router publishes with its own source.
            None => !self.event.has_system_source(),
            Some(CauseKind::Emission) => true,
            Some(CauseKind::Redrive | CauseKind::Report) => false,
        }
    }
}

/// The delivery that caused an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// How the delivery caused it.
    pub kind: CauseKind,
    /// Sequence of the delivered event.
    pub parent: u64,
    /// The subscription it was delivered to.
    pub subscription: SubscriptionName,
    /// The attempt that caused it.
    pub attempt: u32,
    /// How long the listener took, microseconds.
    pub took_us: u64,
}

/// How a delivery caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseKind {
    /// The listener emitted it.
    Emission,
    /// The delivery was dead-lettered, and an operator redrove it with this event in place of the
    /// original. Delivered to that subscription only.
    Redrive,
    /// The router's own report that the delivery was dead-lettered.
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
    /// The sequence to stop before; by default the end of the log.
    pub to: Option<u64>,
    /// From which end to read.
    pub order: ReadOrder,
    /// Maximum number of events; an engine may return fewer and say where to continue.
    pub max: usize,
    /// Only events that match.
    pub filter: Option<Filter>,
}

/// From which end part of the log is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadOrder {
    /// In the order of the log.
    #[default]
    OldestFirst,
    /// Backwards.
    NewestFirst,
}

/// A page of the log.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events, in the order asked for.
    pub events: Vec<StoredEvent>,
    /// The sequence to continue from; newest first, the one to continue before, 0 if
    /// nothing is left.
    pub next: u64,
}
