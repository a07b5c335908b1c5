//! A flow as a tree: events, the deliveries of each, and what those emitted.

use std::collections::BTreeMap;

use usher_api::{Cause, Delayed, DeliveryReport, DeliveryState, Flow, FlowEvent, Timestamp};

/// A flow, from its first event down.
pub struct FlowTree<'a> {
    flow: &'a Flow,
    /// Emissions by delivery: parent sequence and subscription.
    children: BTreeMap<(u64, &'a str), Vec<Child<'a>>>,
}

/// An emission of a delivery: an event, or one that is still delayed.
#[derive(Clone, Copy, Debug)]
pub enum Child<'a> {
    /// An event.
    Event(&'a FlowEvent),
    /// An emission that is not due yet.
    Delayed(&'a Delayed),
}

/// A delivery of an event, and what it emitted.
#[derive(Debug)]
pub struct Branch<'a> {
    /// The subscription it is for.
    pub subscription: &'a str,
    /// The delivery; a removed subscription has none, but its emissions remain.
    pub delivery: Option<&'a DeliveryReport>,
    /// What it emitted.
    pub emitted: Vec<Child<'a>>,
}

impl<'a> FlowTree<'a> {
    /// The tree of a flow.
    pub fn new(flow: &'a Flow) -> Self {
        let mut children: BTreeMap<(u64, &str), Vec<Child>> = BTreeMap::new();
        for event in &flow.events {
            if let Some(cause) = parent(flow, event) {
                children.entry(key(cause)).or_default().push(Child::Event(event));
            }
        }
        for delayed in &flow.delayed {
            children.entry(key(&delayed.cause)).or_default().push(Child::Delayed(delayed));
        }
        Self { flow, children }
    }

    /// When it began.
    pub fn start(&self) -> Timestamp {
        self.flow.events.first().map_or(Timestamp::from_ms(0), |event| event.stored.recorded)
    }

    /// Time of its newest event or failed attempt.
    pub fn newest(&self) -> Timestamp {
        let events = self.flow.events.iter();
        let recorded = events.clone().map(|event| event.stored.recorded);
        let failures = events.flat_map(|event| &event.deliveries).flat_map(|one| &one.failures);
        recorded.chain(failures.map(|failure| failure.time)).max().unwrap_or_else(|| self.start())
    }

    /// Number of deliveries that were given up.
    pub fn dead(&self) -> usize {
        let deliveries = self.flow.events.iter().flat_map(|event| &event.deliveries);
        deliveries.filter(|delivery| delivery.state == DeliveryState::Dead).count()
    }

    /// The first event, and any whose parent is not in the flow.
    pub fn roots(&self) -> impl Iterator<Item = &'a FlowEvent> {
        self.flow.events.iter().filter(|event| parent(self.flow, event).is_none())
    }

    /// An event's deliveries. Emissions have higher sequences than their parents, so that the tree
    /// ends.
    pub fn branches(&self, event: &'a FlowEvent) -> Vec<Branch<'a>> {
        let sequence = event.stored.sequence;
        let known = event.deliveries.iter().map(|delivery| (&delivery.subscription, delivery));
        let mut branches: Vec<_> = known
            .map(|(name, delivery)| (name.as_str(), Some(delivery)))
            .map(|(subscription, delivery)| Branch {
                subscription,
                delivery,
                emitted: self.children.get(&(sequence, subscription)).cloned().unwrap_or_default(),
            })
            .collect();
        let here = (sequence, "")..(sequence.saturating_add(1), "");
        for (&(_, subscription), emitted) in self.children.range(here) {
            if !branches.iter().any(|branch| branch.subscription == subscription) {
                branches.push(Branch { subscription, delivery: None, emitted: emitted.clone() });
            }
        }
        branches
    }
}

impl<'a> Branch<'a> {
    /// The cause in one of its emissions: it records the successful attempt and its duration. Reports of
    /// rounds that failed before are no emissions.
    pub fn cause(&self) -> Option<&'a Cause> {
        let mut causes = self.emitted.iter().rev().filter_map(|child| match child {
            Child::Event(event) => event.stored.cause.as_ref(),
            Child::Delayed(delayed) => Some(&delayed.cause),
        });
        let newest = causes.clone().next();
        causes.find(|cause| cause.kind == "emission").or(newest)
    }
}

/// An event's cause, if its parent is an earlier event of the flow.
fn parent<'a>(flow: &Flow, event: &'a FlowEvent) -> Option<&'a Cause> {
    let cause = event.stored.cause.as_ref()?;
    let known = cause.parent < event.stored.sequence
        && flow.events.iter().any(|other| other.stored.sequence == cause.parent);
    known.then_some(cause)
}

fn key(cause: &Cause) -> (u64, &str) {
    (cause.parent, cause.subscription.as_str())
}
