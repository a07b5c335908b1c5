//! State of one subscription: what is ready, what is in flight, what waits for a retry, and how far
//! it has read the log.
//!
//! An event goes from *ready* (matched, in memory) to *held* (handed out, or about to be again) and
//! leaves by a settlement, or becomes a *retry*, which no longer holds the cursor. Behind an
//! earlier event with the same key it waits in its lane or is *parked*. What exceeds the memory
//! limits isn't kept: the subscription falls behind and rereads it from the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use usher_event::Delivery;
use usher_filter::Filter;

use super::Fetch;
use super::lanes::{Entered, Lanes};
use super::leases::LeaseQueue;
use super::outgoing::Outgoing;
use super::pacing::Pacing;
use super::tail::Tail;
use crate::api::{
    AttemptRecord, BlockReason, Lease, Order, StoredEvent, Subscription, SubscriptionStatus,
};
use crate::store::rows::{CursorRow, RetryRow, SubscriptionRow};
use crate::{PARKED_MAX, RETRIES_MAX};

/// How much a subscription keeps ready; beyond it, it falls behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    events: usize,
    bytes: usize,
}

impl Room {
    /// Of one subscription; many share what all of them may keep.
    const MAX: Self = Self { events: 2_048, bytes: 8 * 1_024 * 1_024 };
    const SUM: Self = Self { events: 1_024 * 1_024, bytes: 1_024 * 1_024 * 1_024 };
    const MIN: Self = Self { events: 16, bytes: 16 * 1_024 };

    pub(super) fn of_each(subscriptions: usize) -> Self {
        let share = |sum: usize, min, max| (sum / subscriptions.max(1)).clamp(min, max);
        Self {
            events: share(Self::SUM.events, Self::MIN.events, Self::MAX.events),
            bytes: share(Self::SUM.bytes, Self::MIN.bytes, Self::MAX.bytes),
        }
    }
}

/// Bytes of held events beyond which no new ones are handed out.
const HELD_MAX_BYTES: usize = 64 * 1_024 * 1_024;

/// Maximum deliveries being read from the store, or read and waiting to be handed out.
const FETCHED_MAX: usize = 256;

/// One subscription.
pub(super) struct Sub {
    pub(super) id: u32,
    pub(super) row: Arc<SubscriptionRow>,
    /// Granted deliveries that aren't leased yet.
    pub(super) queue: Arc<LeaseQueue>,
    /// Incremented when results of earlier fetches must be ignored.
    pub(super) epoch: u64,
    position: Position,
    ready: VecDeque<StoredEvent>,
    ready_bytes: usize,
    /// Whether it has found a match or reached the end of the log since the start.
    has_looked: bool,
    pub(super) held: BTreeMap<u64, Held>,
    pub(super) held_bytes: usize,
    /// Held deliveries to hand out before anything else.
    pub(super) again: VecDeque<u64>,
    in_flight: usize,
    pub(super) retries: BTreeMap<u64, Retry>,
    pub(super) lanes: Lanes,
    /// `None` without a pace.
    pub(super) pacing: Option<Box<Pacing>>,
    /// Deliveries with a parked row, and the lane they wait in.
    pub(super) parked: BTreeMap<u64, Option<u64>>,
    /// Open before the restart and not read back yet.
    pub(super) open: BTreeSet<u64>,
    /// Deliveries to read from the store, in order, and the number already requested.
    pub(super) wanted: VecDeque<u64>,
    pub(super) fetching: usize,
    pub(super) dead: u64,
    /// Deliveries unfinished when their event left the log.
    pub(super) expired: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    /// Deliveries left out for newer ones.
    pub(super) superseded: u64,
    /// `next` as stored on disk.
    pub(super) written_next: u64,
}

/// How far it has read the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// All events so far.
    Live,
    /// All events before `from`; the rest must be read from the log.
    Behind { from: u64, fetching: bool },
}

/// A delivery that failed, or is to be redelivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) row: RetryRow,
    /// Whether it isn't due yet.
    pub(super) waiting: bool,
}

/// A delivery that was handed out, or is about to be again.
#[derive(Debug)]
pub(super) struct Held {
    /// The token of its lease; `None` while it isn't leased.
    pub(super) token: Option<u64>,
    /// Number of state conflicts.
    pub(super) conflicts: u32,
    pub(super) pending: Pending,
}

/// An event with everything its delivery needs.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) stored: StoredEvent,
    /// Its retry row; `None` at the first attempt of an ordinary delivery.
    pub(super) retry: Option<RetryRow>,
    /// Its failed attempts in this round, oldest first.
    pub(super) attempts: Vec<AttemptRecord>,
    /// The lane it is the head of.
    pub(super) lane: Option<u64>,
}

impl Pending {
    /// Number of the next or current attempt, from 1.
    pub(super) fn attempt(&self) -> u32 {
        self.retry.map_or(1, |retry| retry.failures.saturating_add(1))
    }
}

/// Result of [`Sub::refill`].
#[derive(Default)]
pub(super) struct Refilled {
    pub(super) fetch: Option<Fetch>,
    /// Whether it waits for events of the log now.
    pub(super) needs_scan: bool,
    pub(super) filled: bool,
}

impl Sub {
    /// A subscription that continues from its cursor; `last` is the newest sequence of the log.
    pub(super) fn new(id: u32, row: SubscriptionRow, cursor: CursorRow, last: u64) -> Self {
        let mut sub = Self {
            id,
            pacing: Pacing::new(&row.subscription.pace),
            row: Arc::new(row),
            queue: Arc::default(),
            epoch: 0,
            position: Position::Live,
            ready: VecDeque::new(),
            ready_bytes: 0,
            has_looked: false,
            held: BTreeMap::new(),
            held_bytes: 0,
            again: VecDeque::new(),
            in_flight: 0,
            retries: BTreeMap::new(),
            lanes: Lanes::default(),
            parked: BTreeMap::new(),
            wanted: cursor.open.iter().copied().collect(),
            open: cursor.open.into_iter().collect(),
            fetching: 0,
            dead: cursor.dead,
            expired: cursor.expired,
            acked: 0,
            failed: 0,
            superseded: 0,
            written_next: cursor.next,
        };
        sub.look_from(cursor.next, last);
        sub
    }

    pub(super) fn subscription(&self) -> &Subscription {
        &self.row.subscription
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.row.subscription.filter
    }

    /// Takes an equal specification in place of its own, so that both are the same memory.
    pub(super) fn share(&mut self, subscription: Subscription) {
        let SubscriptionRow { first, filter_from, .. } = *self.row;
        let subscription = Arc::new(subscription);
        self.row = Arc::new(SubscriptionRow { first, filter_from, subscription });
    }

    /// Applies a new specification; what isn't handed out yet is matched against the new filter.
    pub(super) fn change(
        &mut self,
        subscription: Subscription,
        last: u64,
        outgoing: &mut Outgoing,
    ) {
        let new_filter = subscription.filter != self.row.subscription.filter;
        let old = &self.row.subscription;
        let new_pace = subscription.pace != old.pace;
        // Debouncing makes a lane of what had none.
        let new_order = subscription.order != old.order
            || subscription.pace.debounce.is_some() != old.pace.debounce.is_some();
        let next = self.next(last);
        let filter_from = if new_filter { next } else { self.row.filter_from };
        let subscription = Arc::new(subscription);
        self.row = Arc::new(SubscriptionRow { first: self.row.first, filter_from, subscription });
        if new_filter {
            self.ready.clear();
            self.ready_bytes = 0;
            self.look_from(next, last);
            self.drop_unwanted(outgoing);
        }
        if new_order {
            self.dissolve_lanes();
        }
        if new_pace {
            self.change_pace();
        }
        if new_filter || new_order {
            self.epoch += 1;
            self.refetch();
            if let Position::Behind { fetching, .. } = &mut self.position {
                *fetching = false;
            }
        }
    }

    /// Drops first attempts, not handed out yet, that no longer match.
    fn drop_unwanted(&mut self, outgoing: &mut Outgoing) {
        let filter = self.filter().clone();
        self.lanes.retain(|stored| stored.matches(&filter));
        let unwanted = |held: &Held| {
            let Pending { retry, stored, .. } = &held.pending;
            held.token.is_none() && retry.is_none() && !stored.matches(&filter)
        };
        let unwanted = self.held.iter().filter(|(_, held)| unwanted(held));
        let unwanted: Vec<u64> = unwanted.map(|(sequence, _)| *sequence).collect();
        for sequence in unwanted {
            self.again.retain(|other| *other != sequence);
            self.unpark(sequence, outgoing);
            if let Some(Pending { lane: Some(lane), .. }) = self.remove_held(sequence) {
                self.leave_lane(lane);
            }
        }
    }

    fn look_from(&mut self, from: u64, last: u64) {
        self.position =
            if from > last { Position::Live } else { Position::Behind { from, fetching: false } };
    }

    /// The lowest sequence it hasn't handed out; `last` is the newest of the log.
    pub(super) fn next(&self, last: u64) -> u64 {
        match (self.ready.front(), self.position) {
            (Some(stored), _) => stored.sequence,
            (None, Position::Behind { from, .. }) => from,
            (None, Position::Live) => last + 1,
        }
    }

    /// How many events of the log it hasn't handed out or skipped.
    pub(super) fn lag(&self, last: u64) -> u64 {
        (last + 1).saturating_sub(self.next(last))
    }

    /// The lag once it has looked at the log, else 0: after a restart the cursor may be far before
    /// the next match.
    pub(super) fn backlog(&self, last: u64) -> u64 {
        if self.has_looked { self.lag(last) } else { 0 }
    }

    /// Takes a new event that matches, or falls behind if memory is full.
    pub(super) fn offer(&mut self, stored: &StoredEvent, room: Room) {
        if self.position != Position::Live {
            return;
        }
        if self.is_full(room) {
            self.position = Position::Behind { from: stored.sequence, fetching: false };
        } else {
            self.push_ready(stored.clone());
        }
    }

    fn is_full(&self, room: Room) -> bool {
        self.ready.len() >= room.events || self.ready_bytes >= room.bytes
    }

    fn push_ready(&mut self, stored: StoredEvent) {
        self.ready_bytes += stored.event.encoded().len();
        self.ready.push_back(stored);
        self.has_looked = true;
    }

    /// Grants deliveries as far as the in-flight limit and the pace allow. Returns whether some were parked
    /// or superseded, so that the cursor must be written.
    pub(super) fn grant(
        &mut self,
        tick: u64,
        next_token: &mut u64,
        outgoing: &mut Outgoing,
    ) -> bool {
        let queue = &self.queue;
        let pacing = self.pacing.as_mut();
        let allowed = pacing.map_or(usize::MAX, |pacing| pacing.allows(tick, queue.len()));
        let credit = self.credit().min(allowed);
        let (mut leases, mut has_parked) = (Vec::new(), false);
        let superseded = self.superseded;
        while leases.len() < credit {
            let Some(sequence) = self.again.pop_front() else { break };
            leases.extend(self.lease(sequence, tick, next_token));
        }
        while leases.len() < credit && self.start_due_lane() {
            while let Some(sequence) = self.again.pop_front() {
                leases.extend(self.lease(sequence, tick, next_token));
            }
        }
        let debounced = self.debounced();
        // What is debounced waits first, so it needs no credit.
        while (leases.len() < credit || debounced.is_some()) && self.may_take_new() {
            let Some(stored) = self.ready.pop_front() else { break };
            let sequence = stored.sequence;
            let lane = self.lane_of(&stored.event);
            if leases.len() == credit && lane.is_none() {
                self.ready.push_front(stored);
                break;
            }
            self.ready_bytes -= stored.event.encoded().len();
            if let (Some(debounce), Some(lane)) = (debounced, lane) {
                self.debounce(debounce, lane, stored, tick);
                continue;
            }
            let stored = match lane.map(|lane| self.lanes.enter(lane, stored.clone())) {
                None => stored,
                Some(Entered::First(stored)) => stored,
                Some(Entered::Waits) => continue,
                Some(Entered::Parks) => {
                    self.park(sequence, lane.unwrap_or_default(), outgoing);
                    has_parked = true;
                    continue;
                }
            };
            self.hold(Pending { stored, retry: None, attempts: Vec::new(), lane });
            leases.extend(self.lease(sequence, tick, next_token));
        }
        self.in_flight += leases.len();
        if let Some(pacing) = &mut self.pacing {
            pacing.take(leases.len());
        }
        if !leases.is_empty() {
            self.queue.offer(leases);
        }
        has_parked || self.superseded > superseded
    }

    /// Grants one particular delivery.
    pub(super) fn grant_alone(&mut self, sequence: u64, tick: u64, next_token: &mut u64) {
        let Some(position) = self.again.iter().position(|other| *other == sequence) else { return };
        self.again.remove(position);
        if let Some(lease) = self.lease(sequence, tick, next_token) {
            self.in_flight += 1;
            if let Some(pacing) = &mut self.pacing {
                pacing.take(1);
            }
            self.queue.offer(vec![lease]);
        }
    }

    /// Revokes granted deliveries that aren't leased yet: they are ready again.
    pub(super) fn take_back(&mut self) {
        for Lease { token, delivery } in self.queue.take_all() {
            if self.is_leased(delivery.sequence, token) {
                self.release(delivery.sequence);
            }
        }
    }

    /// How many more deliveries may be handed out.
    fn credit(&self) -> usize {
        let max_in_flight = match self.row.subscription.order {
            Order::Total => 1,
            Order::None | Order::Key(_) => self.row.subscription.max_in_flight as usize,
        };
        max_in_flight.saturating_sub(self.in_flight)
    }

    /// Why nothing is handed out, if so; `is_new` asks for deliveries never handed out before.
    pub(super) fn held_up(&self, is_new: bool) -> Option<BlockReason> {
        if self.row.subscription.order == Order::Total
            && is_new
            && let Some(behind) = self.lowest_unsettled()
        {
            return Some(BlockReason::Total { behind });
        }
        if self.credit() == 0 {
            return Some(BlockReason::InFlight);
        }
        let is_full = [
            (self.retries.len() >= RETRIES_MAX, BlockReason::Retrying),
            (self.parked.len() >= PARKED_MAX, BlockReason::Parked),
            (self.open.is_empty() && !self.may_take_new(), BlockReason::Memory),
        ];
        let full =
            is_full.into_iter().find_map(|(is_full, why)| (is_new && is_full).then_some(why));
        full.or(self.paced())
    }

    /// Whether deliveries never handed out before may be handed out now.
    fn may_take_new(&self) -> bool {
        let has_room = self.retries.len() < RETRIES_MAX
            && self.parked.len() < PARKED_MAX
            && self.held_bytes < HELD_MAX_BYTES;
        has_room
            && match self.row.subscription.order {
                Order::None if self.debounced().is_none() => true,
                // What was open before the restart comes first in its lane.
                Order::None | Order::Key(_) => {
                    self.open.is_empty()
                        && self.lanes.has_room()
                        && !self.pacing.as_ref().is_some_and(|pacing| pacing.is_full())
                }
                Order::Total => !self.has_unsettled(),
            }
    }

    fn lease(&mut self, sequence: u64, tick: u64, next_token: &mut u64) -> Option<Lease> {
        let held = self.held.get_mut(&sequence).filter(|held| held.token.is_none())?;
        let lane = held.pending.lane;
        let lease = lease(&self.row.subscription, held, next_token);
        if let Some(lane) = lane {
            self.rest_after(lane, tick);
        }
        Some(lease)
    }

    /// Keeps a delivery that is about to be handed out.
    pub(super) fn hold(&mut self, pending: Pending) {
        self.held_bytes += pending.stored.event.encoded().len();
        let sequence = pending.stored.sequence;
        self.held.insert(sequence, Held { token: None, conflicts: 0, pending });
    }

    /// Gets more to hand out: from memory if the tail reaches back far enough, else by requesting a
    /// part of the log. Also requests deliveries to read back.
    pub(super) fn refill(&mut self, tail: &Tail, last: u64, all: Room) -> Refilled {
        let mut refilled = Refilled::default();
        let room = FETCHED_MAX.saturating_sub(self.again.len() + self.fetching);
        if room > 0 && !self.wanted.is_empty() {
            let sequences: Vec<u64> = self.wanted.drain(..room.min(self.wanted.len())).collect();
            self.fetching += sequences.len();
            refilled.fetch =
                Some(Fetch::Deliveries { subscription: self.id, epoch: self.epoch, sequences });
        }
        let Position::Behind { from, fetching: false } = self.position else { return refilled };
        if self.ready.len() > all.events / 2 || self.ready_bytes > all.bytes / 2 {
            return refilled;
        }
        if from > last {
            self.position = Position::Live;
            self.has_looked = true;
        } else if let Some(newest) = tail.from(from) {
            self.position = Position::Live;
            self.has_looked = true;
            for stored in newest {
                if !stored.matches(&self.row.subscription.filter) {
                    continue;
                }
                if self.is_full(all) {
                    self.position = Position::Behind { from: stored.sequence, fetching: false };
                    break;
                }
                self.push_ready(stored.clone());
                refilled.filled = true;
            }
        } else {
            self.position = Position::Behind { from, fetching: true };
            refilled.needs_scan = true;
        }
        refilled
    }

    /// Takes the result of a scan; skips events that expired since, which are already counted.
    pub(super) fn scanned(&mut self, events: Vec<StoredEvent>, next: u64) {
        let from = self.unseen_from().unwrap_or(next);
        for stored in events.into_iter().filter(|stored| stored.sequence >= from) {
            self.push_ready(stored);
        }
        self.position = Position::Behind { from: next.max(from), fetching: false };
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Skips everything before `upto`; returns how many of it was ready.
    pub(super) fn pass_over(&mut self, upto: u64) -> u64 {
        let mut passed_over = 0;
        while let Some(stored) = self.ready.pop_front_if(|stored| stored.sequence < upto) {
            self.ready_bytes -= stored.event.encoded().len();
            passed_over += 1;
        }
        if let Position::Behind { from, .. } = &mut self.position {
            *from = (*from).max(upto);
        }
        passed_over
    }

    /// Ends a lease that came to no attempt.
    pub(super) fn release(&mut self, sequence: u64) {
        self.put_back(sequence);
        if let Some(pacing) = &mut self.pacing {
            pacing.give_back();
        }
    }

    /// Ends a lease: the delivery is ready again immediately.
    pub(super) fn put_back(&mut self, sequence: u64) {
        if let Some(held) = self.held.get_mut(&sequence)
            && held.token.take().is_some()
        {
            self.in_flight -= 1;
            self.again.push_back(sequence);
        }
    }

    /// Like [`Sub::put_back`], after a state conflict. Returns the number of conflicts so far.
    pub(super) fn put_back_conflicting(&mut self, sequence: u64) -> u32 {
        self.put_back(sequence);
        let Some(held) = self.held.get_mut(&sequence) else { return 0 };
        held.conflicts = held.conflicts.saturating_add(1);
        held.conflicts
    }

    /// Whether it is held but not leased.
    pub(super) fn is_again(&self, sequence: u64) -> bool {
        self.held.get(&sequence).is_some_and(|held| held.token.is_none())
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether this lease is valid.
    pub(super) fn is_leased(&self, sequence: u64, token: u64) -> bool {
        self.held.get(&sequence).is_some_and(|held| held.token == Some(token))
    }

    /// Removes a held delivery and ends its lease.
    pub(super) fn remove_held(&mut self, sequence: u64) -> Option<Pending> {
        let held = self.held.remove(&sequence)?;
        self.held_bytes -= held.pending.stored.event.encoded().len();
        if held.token.is_some() {
            self.in_flight -= 1;
        }
        Some(held.pending)
    }

    /// The cursor row to store.
    pub(super) fn cursor(&self, last: u64) -> CursorRow {
        let has_no_row = |sequence: &u64, held: &Held| {
            held.pending.retry.is_none() && !self.parked.contains_key(sequence)
        };
        let held = self.held.iter().filter(|(sequence, held)| has_no_row(sequence, held));
        let mut open: Vec<u64> = held.map(|(sequence, _)| *sequence).collect();
        if !self.open.is_empty() || !self.lanes.here().is_empty() {
            open.extend(&self.open);
            open.extend(self.lanes.here().keys());
            open.sort_unstable();
        }
        CursorRow { next: self.next(last), dead: self.dead, open, expired: self.expired }
    }

    /// Whether a delivery of this event is pending or in flight.
    pub(super) fn is_pending(&self, stored: &StoredEvent, last: u64) -> bool {
        let sequence = stored.sequence;
        self.is_open(sequence)
            || self.retries.contains_key(&sequence)
            || (sequence >= self.next(last) && stored.matches(self.filter()))
    }

    /// Whether anything that was handed out is unsettled or waits for a retry.
    pub(super) fn has_unsettled(&self) -> bool {
        !(self.held.is_empty()
            && self.open.is_empty()
            && self.retries.is_empty()
            && self.parked.is_empty()
            && self.lanes.here().is_empty())
    }

    /// Whether its delivery is unfinished, except for a retry that isn't due yet.
    pub(super) fn is_open(&self, sequence: u64) -> bool {
        self.held.contains_key(&sequence)
            || self.open.contains(&sequence)
            || self.parked.contains_key(&sequence)
            || self.lanes.here().contains_key(&sequence)
            || self.retries.get(&sequence).is_some_and(|retry| !retry.waiting)
    }

    /// The lowest sequence whose event it still needs.
    pub(super) fn oldest_unsettled(&self, last: u64) -> u64 {
        let next = self.next(last);
        self.lowest_unsettled().map_or(next, |lowest| lowest.min(next))
    }

    /// The lowest unfinished sequence that was handed out or waits in its lane.
    fn lowest_unsettled(&self) -> Option<u64> {
        let lowest = [
            self.held.first_key_value().map(|(sequence, _)| *sequence),
            self.retries.first_key_value().map(|(sequence, _)| *sequence),
            self.parked.first_key_value().map(|(sequence, _)| *sequence),
            self.open.first().copied(),
            self.lanes.here().first_key_value().map(|(sequence, _)| *sequence),
        ];
        lowest.into_iter().flatten().min()
    }

    /// Deliveries that were handed out before and are about to be again, as after a conflict or a restart.
    fn put_back_now(&self) -> usize {
        let is_retry = |sequence: &&u64| self.retries.contains_key(sequence);
        self.open.len() + self.again.iter().filter(|sequence| !is_retry(sequence)).count()
    }

    /// Status for operators. An offered delivery is pending until it is leased, not in flight.
    pub(super) fn status(&self, last: u64) -> SubscriptionStatus {
        let next = self.next(last);
        let offered = self.queue.len();
        let first_held = self.held.iter().find(|(_, held)| held.pending.retry.is_none());
        let lowest = [
            first_held.map(|(sequence, _)| *sequence),
            self.open.first().copied(),
            self.parked.first_key_value().map(|(sequence, _)| *sequence),
            self.lanes.here().first_key_value().map(|(sequence, _)| *sequence),
        ];
        let waiting = self.retries.values().filter(|retry| retry.waiting);
        SubscriptionStatus {
            subscription: Arc::clone(&self.row.subscription),
            first: self.row.first,
            cursor: lowest.into_iter().flatten().min().unwrap_or(next).min(next),
            lag: self.lag(last) + (offered + self.put_back_now()) as u64,
            holds_back: None,
            held_back_by: None,
            in_flight: self.in_flight.saturating_sub(offered) as u64,
            retrying: self.retries.len() as u64,
            parked: (self.parked.len() + self.lanes.here().len()) as u64,
            stalled_lanes: self.lanes.stalled() as u64,
            next_retry_ms: waiting.map(|retry| retry.row.due_ms).min(),
            delayed: 0,
            oldest_unsettled: Some(self.oldest_unsettled(last)).filter(|oldest| *oldest <= last),
            oldest_unsettled_ms: None,
            acked: self.acked,
            failed: self.failed,
            superseded: self.superseded,
            dead: self.dead,
            expired: self.expired,
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
            attempt: held.pending.attempt(),
            flow: stored.flow,
            depth: stored.depth,
            replay: retry.and_then(|retry| retry.replay),
            is_dry_run: false,
            span: None,
        },
    }
}
