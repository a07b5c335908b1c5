//! Status of deliveries as only memory knows it, for queries about flows and single deliveries. The
//! rest of the answer is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use usher_event::SubscriptionName;

use super::Ledger;
use super::subscription::Sub;
use crate::FLOW_MAX_EVENTS;
use crate::api::{BlockReason, StoredEvent};
use crate::store::rows::SubscriptionRow;

/// Status of the deliveries of some events.
pub(crate) struct FlowSnapshot {
    pub(crate) subscriptions: Vec<SubscriptionSnapshot>,
    /// Emissions of the flow waiting for their delay: due time and number.
    pub(crate) delayed: Vec<(u64, u64)>,
}

/// Their status with one subscription.
pub(crate) struct SubscriptionSnapshot {
    pub(crate) id: u32,
    pub(crate) row: Arc<SubscriptionRow>,
    /// Nothing from this sequence on has been handed out.
    pub(crate) next: u64,
    /// Of the requested events, those unfinished, except retries that aren't due yet.
    pub(crate) open: BTreeSet<u64>,
    /// Those in flight, with their attempt number.
    pub(crate) in_flight: BTreeMap<u64, u32>,
    /// Those waiting in a lane, with its head.
    pub(crate) parked: BTreeMap<u64, Option<u64>>,
    /// Those waiting for a retry, with its due time, Unix milliseconds.
    pub(crate) waiting: BTreeMap<u64, u64>,
    /// Attempts before their current round, for those that failed in it or were started again.
    pub(crate) before: BTreeMap<u64, u32>,
}

/// Status of one delivery, and what it waits for while it is pending.
pub(crate) struct DeliverySnapshot {
    pub(crate) subscription: SubscriptionSnapshot,
    /// Upper bound on the number of deliveries ahead of it.
    pub(crate) ahead: u64,
    pub(crate) held_up: Option<BlockReason>,
    /// The event, if it is held; the log may no longer have it.
    pub(crate) stored: Option<StoredEvent>,
}

impl Ledger {
    /// Status of these events of a flow.
    pub(crate) fn standing(&self, flow: u64, sequences: &[u64]) -> FlowSnapshot {
        let last = self.counters.last_sequence;
        FlowSnapshot {
            subscriptions: self.subs.values().map(|sub| sub.standing(sequences, last)).collect(),
            delayed: self.delayed.of_flow(flow, FLOW_MAX_EVENTS),
        }
    }

    /// Status of one event with one subscription; `None` if there is none of that name.
    pub(crate) fn delivery_standing(
        &self,
        name: &SubscriptionName,
        sequence: u64,
    ) -> Option<DeliverySnapshot> {
        let sub = self.subs.get(self.names.get(name)?)?;
        let subscription = sub.standing(&[sequence], self.counters.last_sequence);
        let is_new = sequence >= subscription.next;
        let offered = sub.queue.sequences();
        let (ahead, held_up) = match offered.iter().position(|other| *other == sequence) {
            Some(place) => (place as u64, None),
            None => {
                let alone = self.alone.blocks(name.plugin()).then_some(BlockReason::Alone);
                let backlog = self.backlog.holds_back(sub.id).then_some(BlockReason::Backlog);
                let ahead = sequence.saturating_sub(subscription.next) + offered.len() as u64;
                let rests = sub.rests(sequence);
                (ahead, backlog.or(rests).or(sub.held_up(is_new)).or(alone))
            }
        };
        Some(DeliverySnapshot {
            ahead,
            held_up,
            stored: sub.held.get(&sequence).map(|held| held.pending.stored.clone()),
            subscription,
        })
    }
}

impl Sub {
    /// An offered delivery is pending until it is leased, not in flight.
    fn standing(&self, sequences: &[u64], last: u64) -> SubscriptionSnapshot {
        // Most subscriptions have nothing unsettled most of the time.
        let sequences = if self.has_unsettled() { sequences } else { &[] };
        let open = sequences.iter().copied().filter(|sequence| self.is_open(*sequence));
        let offered = match sequences {
            [] => BTreeSet::new(),
            _ => self.queue.sequences().into_iter().collect(),
        };
        let in_flight = sequences.iter().filter_map(|sequence| {
            let held = self.held.get(sequence).filter(|held| held.token.is_some())?;
            (!offered.contains(sequence)).then(|| (*sequence, held.pending.attempt()))
        });
        let parked = sequences.iter().filter_map(|sequence| {
            let parked = self.parked.get(sequence).copied().flatten();
            let lane = parked.or_else(|| self.retries.get(sequence)?.row.lane);
            Some((*sequence, self.lanes.head_before(lane, *sequence)?))
        });
        let waiting = sequences.iter().filter_map(|sequence| {
            let retry = self.retries.get(sequence).filter(|retry| retry.waiting)?;
            Some((*sequence, retry.row.due_ms))
        });
        let before = sequences
            .iter()
            .filter_map(|sequence| Some((*sequence, self.retries.get(sequence)?.row.before)));
        SubscriptionSnapshot {
            id: self.id,
            row: Arc::clone(&self.row),
            next: self.next(last),
            open: open.collect(),
            in_flight: in_flight.collect(),
            parked: parked.collect(),
            waiting: waiting.collect(),
            before: before.collect(),
        }
    }
}

impl SubscriptionSnapshot {
    /// Whether the delivery is unfinished, whatever the current filter.
    pub(crate) fn has(&self, sequence: u64) -> bool {
        self.open.contains(&sequence) || self.waiting.contains_key(&sequence)
    }
}
