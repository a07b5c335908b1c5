//! Flows and explanations of single deliveries, from the store and what only the ledger knows.

use std::collections::BTreeMap;

use usher_event::SubscriptionName;

use crate::api::{
    AttemptRecord, DelayedEvent, DeliveryState, DeliveryStatus, Explanation, Flow, FlowEvent,
    PastAttempt, StoredEvent, Subscription,
};
use crate::ledger::{DeliverySnapshot, FlowSnapshot, SubscriptionSnapshot};
use crate::log;
use crate::store::{StoreFailure, View, keys, schema};
use crate::{FLOW_MAX_BYTES, FLOW_MAX_EVENTS};

/// Sequences of the events of a flow.
pub(crate) struct Members {
    pub(crate) root: u64,
    pub(crate) sequences: Vec<u64>,
    truncated: bool,
}

/// Finds the events of the flow that `sequence` belongs to.
pub(crate) fn members(view: &dyn View, sequence: u64) -> Result<Option<Members>, StoreFailure> {
    let Some(stored) = log::event(view, sequence)? else { return Ok(None) };
    let root = stored.flow;
    let mut sequences = vec![root];
    let mut truncated = false;
    for row in view.rows_with::<schema::Children>(&keys::number(root)) {
        if sequences.len() == FLOW_MAX_EVENTS {
            truncated = true;
            break;
        }
        let ((_, child), ()) = row?;
        sequences.push(child);
    }
    Ok(Some(Members { root, sequences, truncated }))
}

/// Assembles the flow. View and members must not be older than the standing, or a delivery could be
/// done without its emissions. `asked` are the events the standing covers; deliveries of others
/// count as pending.
pub(crate) fn flow(
    view: &dyn View,
    members: Members,
    asked: &[u64],
    standing: &FlowSnapshot,
) -> Result<Flow, StoreFailure> {
    let mut events = Vec::with_capacity(members.sequences.len());
    let (mut bytes, mut truncated) = (0, members.truncated);
    for sequence in members.sequences {
        if let Some(stored) = log::event(view, sequence)? {
            bytes += stored.event.encoded().len();
            if bytes > FLOW_MAX_BYTES && !events.is_empty() {
                truncated = true;
                break;
            }
            let is_known = asked.binary_search(&sequence).is_ok();
            let deliveries = deliveries(view, &stored, is_known, &standing.subscriptions)?;
            events.push(FlowEvent { stored, deliveries });
        }
    }
    let mut delayed = Vec::with_capacity(standing.delayed.len());
    for (due_ms, number) in &standing.delayed {
        // A missing emission was appended after the standing was taken.
        let stored = view.row::<schema::Delayed>(keys::pair(*due_ms, *number))?;
        let Some(StoredEvent { cause: Some(cause), event, .. }) = stored else { continue };
        delayed.push(DelayedEvent { due_ms: *due_ms, cause, event });
    }
    Ok(Flow { root: members.root, events, delayed, truncated })
}

/// Explains what became of an event for a subscription; `None` if the log hasn't reached it. The
/// view must not be older than the standing.
pub(crate) fn explain(
    view: &dyn View,
    sequence: u64,
    standing: &DeliverySnapshot,
) -> Result<Option<Explanation>, StoreFailure> {
    let DeliverySnapshot { subscription, ahead, held_up, stored } = standing;
    let first_sequence = log::oldest(view)?;
    if (1..first_sequence).contains(&sequence) && !subscription.has(sequence) {
        let expires = subscription.row.subscription.expires;
        return Ok(Some(Explanation::Expired { first_sequence, expires }));
    }
    let stored = match stored {
        Some(stored) => Some(stored.clone()),
        None => log::record(view, sequence)?,
    };
    let Some(stored) = stored else { return Ok(None) };
    let mut on_disk = OnDisk::read(view, &keys::delivery(sequence, subscription.id))?;
    let row = &subscription.row;
    let Some(status) = on_disk.status(&stored, subscription, true) else {
        let mismatch = stored.mismatch(&row.subscription);
        let before = Explanation::BeforeStart { first: row.first };
        return Ok(Some(mismatch.map_or(before, Explanation::Unmatched)));
    };
    let is_pending = status.state == DeliveryState::Pending;
    let is_resting = status.state == DeliveryState::Parked { behind: None };
    let is_done = status.state == DeliveryState::Done;
    let may_be_passed_over = is_done && status.failures.is_empty() && sequence < row.filter_from;
    Ok(Some(Explanation::Delivery {
        status,
        ahead: if is_pending { *ahead } else { 0 },
        held_up: held_up.filter(|_| is_pending || is_resting),
        filter_from: may_be_passed_over.then_some(row.filter_from),
        may_be_superseded: is_done && row.subscription.pace.debounce.is_some(),
    }))
}

/// The failed attempts of one delivery, grouped into rounds.
#[derive(Default)]
struct Rounds {
    failures: Vec<PastAttempt>,
    /// Number of attempts in rounds before that of the last attempt.
    before: u32,
}

impl Rounds {
    /// Adds the next attempt; `number` counts through all rounds.
    fn push(&mut self, number: u32, record: AttemptRecord) {
        let before = number.saturating_sub(record.attempt);
        let round = match self.failures.last() {
            Some(last) if last.record.ended || before != self.before => last.round + 1,
            Some(last) => last.round,
            // Retention may have removed the first rounds.
            None if before > 0 => 2,
            None => 1,
        };
        self.before = before;
        self.failures.push(PastAttempt { round, record });
    }

    /// The current round of a delivery, finished or not. `before` is known for an unfinished
    /// delivery that has failed or was started again.
    fn present(&self, is_dead: bool, before: Option<u32>) -> u32 {
        match self.failures.last() {
            Some(last) if is_dead => last.round,
            Some(last) if last.record.ended => last.round + 1,
            Some(last) => {
                last.round + u32::from(before.is_some_and(|before| before != self.before))
            }
            None => 1,
        }
    }
}

/// On-disk records of the deliveries of one event, by subscription id.
#[derive(Default)]
struct OnDisk {
    failures: BTreeMap<u32, Rounds>,
    /// Dead letters by id; 0 for a discarded one.
    dead: BTreeMap<u32, u64>,
}

impl OnDisk {
    /// Reads all rows under the key of an event or of one delivery.
    fn read(view: &dyn View, prefix: &[u8]) -> Result<Self, StoreFailure> {
        let mut found = Self::default();
        for row in view.rows_with::<schema::Attempts>(prefix) {
            let ((_, id, number), attempt) = row?;
            found.failures.entry(id).or_default().push(number, attempt);
        }
        for row in view.rows_with::<schema::DeadByDelivery>(prefix) {
            let ((_, id), letter) = row?;
            found.dead.insert(id, letter);
        }
        Ok(found)
    }

    /// Status of the delivery to one subscription, if there is one. If its standing isn't known,
    /// only what is on disk counts.
    fn status(
        &mut self,
        stored: &StoredEvent,
        standing: &SubscriptionSnapshot,
        is_known: bool,
    ) -> Option<DeliveryStatus> {
        let sequence = stored.sequence;
        let rounds = self.failures.remove(&standing.id).unwrap_or_default();
        let dead = self.dead.remove(&standing.id);
        let row = &standing.row;
        let Subscription { name, filter, .. } = &*row.subscription;
        let is_meant = row.first <= sequence
            && match stored.addressee() {
                Some(addressee) => addressee == name,
                None => stored.matches(filter),
            };
        // The filter may have changed since it was delivered.
        let is_there = !rounds.failures.is_empty() || dead.is_some() || standing.has(sequence);
        if !is_meant && !is_there {
            return None;
        }
        let state = match dead {
            Some(id) => DeliveryState::Dead { id: Some(id).filter(|id| *id != 0) },
            None if !is_known => DeliveryState::Pending,
            // Delivered directly to its addressee, so it is never ahead of the cursor.
            None if stored.addressee().is_some() && !standing.has(sequence) => DeliveryState::Done,
            None => live_state(sequence, standing),
        };
        let round = rounds.present(dead.is_some(), standing.before.get(&sequence).copied());
        let failures = rounds.failures;
        Some(DeliveryStatus { subscription: name.clone(), state, round, failures })
    }
}

fn deliveries(
    view: &dyn View,
    stored: &StoredEvent,
    is_known: bool,
    subscriptions: &[SubscriptionSnapshot],
) -> Result<Vec<DeliveryStatus>, StoreFailure> {
    let mut on_disk = OnDisk::read(view, &keys::number(stored.sequence))?;
    let known = subscriptions.iter();
    let mut deliveries: Vec<DeliveryStatus> =
        known.filter_map(|standing| on_disk.status(stored, standing, is_known)).collect();
    // Dead letters still name subscriptions that no longer exist.
    for (subscription, letter) in on_disk.dead {
        let Some(name) = name_of(view, letter)? else { continue };
        let rounds = on_disk.failures.remove(&subscription).unwrap_or_default();
        let (round, failures) = (rounds.present(true, None), rounds.failures);
        let state = DeliveryState::Dead { id: Some(letter) };
        deliveries.push(DeliveryStatus { subscription: name, state, round, failures });
    }
    deliveries.sort_by(|a, b| a.subscription.cmp(&b.subscription));
    Ok(deliveries)
}

/// State of a delivery that isn't dead-lettered.
fn live_state(sequence: u64, standing: &SubscriptionSnapshot) -> DeliveryState {
    if let Some(attempt) = standing.in_flight.get(&sequence) {
        DeliveryState::InFlight { attempt: *attempt }
    } else if let Some(due_ms) = standing.waiting.get(&sequence) {
        DeliveryState::Waiting { due_ms: *due_ms }
    } else if let Some(behind) = standing.parked.get(&sequence) {
        DeliveryState::Parked { behind: *behind }
    } else if standing.open.contains(&sequence) || sequence >= standing.next {
        DeliveryState::Pending
    } else {
        DeliveryState::Done
    }
}

fn name_of(view: &dyn View, letter: u64) -> Result<Option<SubscriptionName>, StoreFailure> {
    let dead = view.row::<schema::Dead>(keys::number(letter))?;
    Ok(dead.map(|dead| dead.subscription))
}
