//! How things stand, for questions about flows: what only memory knows. The rest of the answer is
//! on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Ledger;
use crate::FLOW_MAX_EVENTS;
use crate::store::rows::SubscriptionRow;

/// How the deliveries of some events stand.
pub(crate) struct Standing {
    pub(crate) subscriptions: Vec<SubscriptionStanding>,
    /// Emissions of the flow that wait for their delay: due time and number.
    pub(crate) delayed: Vec<(u64, u64)>,
}

/// How they stand with one subscription.
pub(crate) struct SubscriptionStanding {
    pub(crate) id: u32,
    pub(crate) row: Arc<SubscriptionRow>,
    /// Nothing from here on has been handed out.
    pub(crate) next: u64,
    /// Of the events asked for, those that are not over and wait for nothing.
    pub(crate) open: BTreeSet<u64>,
    /// Those that a listener has, and at which attempt.
    pub(crate) in_flight: BTreeMap<u64, u32>,
    /// Those that wait in a lane, and the head before them.
    pub(crate) parked: BTreeMap<u64, Option<u64>>,
    /// Those that wait for another attempt, and until when.
    pub(crate) waiting: BTreeMap<u64, u64>,
}

impl Ledger {
    /// How these events of a flow stand.
    pub(crate) fn standing(&self, flow: u64, sequences: &[u64]) -> Standing {
        let last = self.counters.last_sequence;
        let subscriptions = self.subs.values().map(|sub| {
            // Most subscriptions have nothing open at most times.
            let sequences = if sub.has_unsettled() { sequences } else { &[] };
            let open = sequences.iter().copied().filter(|sequence| sub.is_open(*sequence));
            let in_flight = sequences.iter().filter_map(|sequence| {
                let held = sub.held.get(sequence).filter(|held| held.token.is_some())?;
                Some((*sequence, held.pending.attempt()))
            });
            let parked = sequences.iter().filter_map(|sequence| {
                let parked = sub.parked.get(sequence).copied().flatten();
                let lane = parked.or_else(|| sub.retries.get(sequence)?.row.lane);
                Some((*sequence, sub.lanes.head_before(lane, *sequence)?))
            });
            let waiting = sequences.iter().filter_map(|sequence| {
                let retry = sub.retries.get(sequence).filter(|retry| retry.waiting)?;
                Some((*sequence, retry.row.due_ms))
            });
            SubscriptionStanding {
                id: sub.id,
                row: Arc::clone(&sub.row),
                next: sub.next(last),
                open: open.collect(),
                in_flight: in_flight.collect(),
                parked: parked.collect(),
                waiting: waiting.collect(),
            }
        });
        Standing {
            subscriptions: subscriptions.collect(),
            delayed: self.delayed.of_flow(flow, FLOW_MAX_EVENTS),
        }
    }
}
