//! Where one subscription stands: what is ready, what is under way, what waits for a retry, and
//! how far in the log it has come.
//!
//! An event goes from *ready* (matched, in memory) to *held* (handed out, or about to be again)
//! and leaves by a settlement, or becomes a *retry* that holds the cursor no longer. What doesn't
//! fit in memory is not kept: the subscription falls behind and reads it again from the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use usher_event::Delivery;
use usher_filter::Filter;

use super::tail::Tail;
use super::{Fetch, FetchedDelivery};
use crate::RETRIES_MAX;
use crate::api::{AttemptRecord, Lease, StoredEvent, Subscription, SubscriptionStatus};
use crate::store::rows::{CursorRow, RetryRow, SubscriptionRow};

/// Most matched events kept ready; beyond it the subscription falls behind.
const READY_MAX_EVENTS: usize = 2_048;

/// Most bytes of matched events kept ready.
const READY_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// Bytes of held events beyond which no new ones are handed out.
const HELD_MAX_BYTES: usize = 64 * 1_024 * 1_024;

/// Most deliveries that are being read from the store, or were and wait to be handed out.
const FETCHED_MAX: usize = 256;

/// One subscription.
pub(super) struct Sub {
    pub(super) id: u32,
    pub(super) row: Arc<SubscriptionRow>,
    pub(super) filter: Arc<Filter>,
    /// Changes whenever answers to earlier fetches must be ignored.
    pub(super) epoch: u64,
    position: Position,
    ready: VecDeque<StoredEvent>,
    ready_bytes: usize,
    pub(super) held: BTreeMap<u64, Held>,
    held_bytes: usize,
    /// Held deliveries to hand out before anything else.
    again: VecDeque<u64>,
    in_flight: usize,
    pub(super) retries: BTreeMap<u64, Retry>,
    /// Open since before the restart and not yet read back.
    open: BTreeSet<u64>,
    /// Deliveries to read from the store, in order, and how many were asked for.
    wanted: VecDeque<u64>,
    fetching: usize,
    pub(super) dead: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    /// `next` as the disk has it.
    pub(super) written_next: u64,
}

/// How far it has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// At every event so far.
    Live,
    /// At all before `from`; the rest is in the log.
    Behind { from: u64, fetching: bool },
}

/// A delivery that failed, or is to be repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) row: RetryRow,
    /// Whether its time has not come yet.
    pub(super) waiting: bool,
}

/// A delivery that was handed out, or is about to be again.
#[derive(Debug)]
pub(super) struct Held {
    /// The lease's; `None` while it is nobody's.
    pub(super) token: Option<u64>,
    pub(super) pending: Pending,
}

/// An event with all that a delivery of it needs.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) stored: StoredEvent,
    /// Where it stands as a retry; `None` at the first attempt of an ordinary delivery.
    pub(super) retry: Option<RetryRow>,
    /// Its failed attempts in this round, oldest first.
    pub(super) attempts: Vec<AttemptRecord>,
}

/// What [`Sub::refill`] did.
#[derive(Default)]
pub(super) struct Refilled {
    pub(super) fetches: Vec<Fetch>,
    pub(super) filled: bool,
}

impl Sub {
    /// A subscription that has looked at everything before `next`.
    pub(super) fn new(id: u32, row: SubscriptionRow, cursor: CursorRow, last: u64) -> Self {
        let mut sub = Self {
            id,
            filter: Arc::new(row.subscription.filter.clone()),
            row: Arc::new(row),
            epoch: 0,
            position: Position::Live,
            ready: VecDeque::new(),
            ready_bytes: 0,
            held: BTreeMap::new(),
            held_bytes: 0,
            again: VecDeque::new(),
            in_flight: 0,
            retries: BTreeMap::new(),
            wanted: cursor.open.iter().copied().collect(),
            open: cursor.open.into_iter().collect(),
            fetching: 0,
            dead: cursor.dead,
            acked: 0,
            failed: 0,
            written_next: cursor.next,
        };
        sub.look_from(cursor.next, last);
        sub
    }

    pub(super) fn subscription(&self) -> &Subscription {
        &self.row.subscription
    }

    /// Takes a new specification; what it has not looked at yet is judged by the new filter.
    pub(super) fn change(&mut self, subscription: Subscription, last: u64) {
        if subscription.filter != self.row.subscription.filter {
            let next = self.next(last);
            self.filter = Arc::new(subscription.filter.clone());
            self.ready.clear();
            self.ready_bytes = 0;
            self.epoch += 1;
            // What was being read for a second attempt is still wanted, but the answer to that
            // question will be ignored now.
            let pending = self.retries.keys().chain(&self.open);
            let lost = pending.filter(|sequence| !self.held.contains_key(sequence));
            self.wanted = lost.copied().filter(|sequence| !self.waits(*sequence)).collect();
            self.fetching = 0;
            self.look_from(next, last);
            self.drop_unwanted();
        }
        self.row = Arc::new(SubscriptionRow { first: self.row.first, subscription });
    }

    /// Lets go of what was ready for its first attempt and is no longer asked for.
    fn drop_unwanted(&mut self) {
        let Self { again, held, held_bytes, filter, .. } = self;
        again.retain(|sequence| {
            let Some(Held { token: None, pending }) = held.get(sequence) else { return true };
            if pending.retry.is_some() || filter.matches(&pending.stored.event) {
                return true;
            }
            *held_bytes -= pending.stored.event.encoded().len();
            held.remove(sequence);
            false
        });
    }

    fn look_from(&mut self, from: u64, last: u64) {
        self.position =
            if from > last { Position::Live } else { Position::Behind { from, fetching: false } };
    }

    /// Whether a retry's time has not come yet.
    fn waits(&self, sequence: u64) -> bool {
        self.retries.get(&sequence).is_some_and(|retry| retry.waiting)
    }

    /// The lowest sequence that it has not handed out; `last` is the newest of the log.
    pub(super) fn next(&self, last: u64) -> u64 {
        match (self.ready.front(), self.position) {
            (Some(stored), _) => stored.sequence,
            (None, Position::Behind { from, .. }) => from,
            (None, Position::Live) => last + 1,
        }
    }

    /// A new event that matches.
    pub(super) fn offer(&mut self, stored: &StoredEvent) {
        if self.position != Position::Live {
            return;
        }
        if self.is_full() {
            self.position = Position::Behind { from: stored.sequence, fetching: false };
        } else {
            self.push_ready(stored.clone());
        }
    }

    fn is_full(&self) -> bool {
        self.ready.len() >= READY_MAX_EVENTS || self.ready_bytes >= READY_MAX_BYTES
    }

    fn push_ready(&mut self, stored: StoredEvent) {
        self.ready_bytes += stored.event.encoded().len();
        self.ready.push_back(stored);
    }

    /// Hands out what may be handed out.
    pub(super) fn grant(&mut self, next_token: &mut u64) -> Vec<Lease> {
        let max_in_flight = self.row.subscription.max_in_flight as usize;
        let credit = max_in_flight.saturating_sub(self.in_flight);
        let parked = self.retries.len() >= RETRIES_MAX;
        let fresh = if parked { 0 } else { self.ready.len() };
        let count = credit.min(self.again.len() + fresh);
        let mut leases = Vec::with_capacity(count);
        while leases.len() < count {
            let Some(sequence) = self.again.pop_front() else { break };
            if let Some(held) = self.held.get_mut(&sequence)
                && held.token.is_none()
            {
                leases.push(lease(&self.row.subscription, held, next_token));
            }
        }
        while leases.len() < count && !parked && self.held_bytes < HELD_MAX_BYTES {
            let Some(stored) = self.ready.pop_front() else { break };
            let bytes = stored.event.encoded().len();
            self.ready_bytes -= bytes;
            self.held_bytes += bytes;
            let sequence = stored.sequence;
            let pending = Pending { stored, retry: None, attempts: Vec::new() };
            let mut held = Held { token: None, pending };
            leases.push(lease(&self.row.subscription, &mut held, next_token));
            self.held.insert(sequence, held);
        }
        self.in_flight += leases.len();
        leases
    }

    /// Gets more to hand out: from memory where the newest events reach back far enough, else by
    /// asking for a piece of the log; and asks for deliveries to read back.
    pub(super) fn refill(&mut self, tail: &Tail, last: u64) -> Refilled {
        let mut refilled = Refilled::default();
        let room = FETCHED_MAX.saturating_sub(self.again.len() + self.fetching);
        if room > 0 && !self.wanted.is_empty() {
            let sequences: Vec<u64> = self.wanted.drain(..room.min(self.wanted.len())).collect();
            self.fetching += sequences.len();
            refilled.fetches.push(Fetch::Deliveries {
                subscription: self.id,
                epoch: self.epoch,
                sequences,
            });
        }
        let Position::Behind { from, fetching: false } = self.position else { return refilled };
        if self.ready.len() > READY_MAX_EVENTS / 2 || self.ready_bytes > READY_MAX_BYTES / 2 {
            return refilled;
        }
        if from > last {
            self.position = Position::Live;
        } else if let Some(newest) = tail.from(from) {
            self.position = Position::Live;
            for stored in newest {
                if !self.filter.matches(&stored.event) {
                    continue;
                }
                if self.is_full() {
                    self.position = Position::Behind { from: stored.sequence, fetching: false };
                    break;
                }
                self.push_ready(stored.clone());
                refilled.filled = true;
            }
        } else {
            self.position = Position::Behind { from, fetching: true };
            refilled.fetches.push(Fetch::Scan {
                subscription: self.id,
                epoch: self.epoch,
                filter: Arc::clone(&self.filter),
                from,
                to: tail.first().unwrap_or(last + 1),
            });
        }
        refilled
    }

    /// Part of the log came back.
    pub(super) fn scanned(&mut self, events: Vec<StoredEvent>, next: u64) {
        for stored in events {
            self.push_ready(stored);
        }
        self.position = Position::Behind { from: next, fetching: false };
    }

    /// A delivery came back.
    pub(super) fn fetched(&mut self, delivery: FetchedDelivery) {
        self.fetching = self.fetching.saturating_sub(1);
        let FetchedDelivery { sequence, stored, attempts } = delivery;
        let retry = self.retries.get(&sequence).copied();
        let open = self.open.remove(&sequence);
        if (retry.is_none() && !open) || self.held.contains_key(&sequence) {
            return;
        }
        let Some(stored) = stored else { return };
        if retry.is_none() && !self.filter.matches(&stored.event) {
            // The filter has changed since it was handed out.
            return;
        }
        let before = retry.map_or(0, |retry| retry.row.before);
        let of_this_round = attempts.into_iter().filter(|(number, _)| *number > before);
        let attempts = of_this_round.map(|(_, attempt)| attempt).collect();
        self.held_bytes += stored.event.encoded().len();
        let pending = Pending { stored, retry: retry.map(|retry| retry.row), attempts };
        self.held.insert(sequence, Held { token: None, pending });
        self.again.push_back(sequence);
    }

    /// A retry's time has come.
    pub(super) fn retry_due(&mut self, sequence: u64) {
        if let Some(retry) = self.retries.get_mut(&sequence) {
            retry.waiting = false;
            self.wanted.push_back(sequence);
        }
    }

    /// Makes a lease nobody's: the delivery is ready again at once.
    pub(super) fn put_back(&mut self, sequence: u64) {
        if let Some(held) = self.held.get_mut(&sequence)
            && held.token.take().is_some()
        {
            self.in_flight -= 1;
            self.again.push_back(sequence);
        }
    }

    /// Whether this lease holds.
    pub(super) fn is_leased(&self, sequence: u64, token: u64) -> bool {
        self.held.get(&sequence).is_some_and(|held| held.token == Some(token))
    }

    /// Ends a lease.
    pub(super) fn remove_held(&mut self, sequence: u64) -> Option<Pending> {
        let held = self.held.remove(&sequence)?;
        self.held_bytes -= held.pending.stored.event.encoded().len();
        if held.token.is_some() {
            self.in_flight -= 1;
        }
        Some(held.pending)
    }

    /// The cursor as it is to be stored.
    pub(super) fn cursor(&self, last: u64) -> CursorRow {
        let held = self.held.iter().filter(|(_, held)| held.pending.retry.is_none());
        let mut open: Vec<u64> = held.map(|(sequence, _)| *sequence).collect();
        if !self.open.is_empty() {
            open.extend(&self.open);
            open.sort_unstable();
        }
        CursorRow { next: self.next(last), dead: self.dead, open }
    }

    /// Whether a delivery of this event is yet to come or under way.
    pub(super) fn is_pending(&self, stored: &StoredEvent, last: u64) -> bool {
        let sequence = stored.sequence;
        self.held.contains_key(&sequence)
            || self.open.contains(&sequence)
            || self.retries.contains_key(&sequence)
            || (sequence >= self.next(last) && self.filter.matches(&stored.event))
    }

    /// Whether anything was handed out and not settled, or waits for a retry.
    pub(super) fn has_unsettled(&self) -> bool {
        !(self.held.is_empty() && self.open.is_empty() && self.retries.is_empty())
    }

    /// Whether it is under way, or about to be again.
    pub(super) fn is_open(&self, sequence: u64) -> bool {
        self.held.contains_key(&sequence)
            || self.open.contains(&sequence)
            || self.retries.get(&sequence).is_some_and(|retry| !retry.waiting)
    }

    /// For people.
    pub(super) fn status(&self, last: u64) -> SubscriptionStatus {
        let next = self.next(last);
        let first_held = self.held.iter().find(|(_, held)| held.pending.retry.is_none());
        let lowest =
            first_held.map(|(sequence, _)| *sequence).into_iter().chain(self.open.first().copied());
        SubscriptionStatus {
            subscription: self.row.subscription.clone(),
            cursor: lowest.min().unwrap_or(next).min(next),
            lag: (last + 1).saturating_sub(next),
            in_flight: self.in_flight as u64,
            retrying: self.retries.len() as u64,
            acked: self.acked,
            failed: self.failed,
            dead: self.dead,
        }
    }
}

fn lease(subscription: &Subscription, held: &mut Held, next_token: &mut u64) -> Lease {
    *next_token += 1;
    held.token = Some(*next_token);
    let Pending { stored, retry, .. } = &held.pending;
    Lease {
        token: *next_token,
        delivery: Delivery {
            sequence: stored.sequence,
            event: stored.event.clone(),
            subscription: subscription.name.clone(),
            attempt: retry.map_or(1, |retry| retry.failures.saturating_add(1)),
            flow: stored.flow,
            depth: stored.depth,
            replay: retry.is_some_and(|retry| retry.replay),
        },
    }
}
