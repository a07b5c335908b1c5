//! What a subscription that lets its events expire loses to retention: all unfinished deliveries of
//! the removed events. Each is counted (invariant 3), its rows are deleted, and its lane continues.
//!
//! A delivery in flight at that moment may still be acknowledged or dead-lettered. To be retried it
//! would need its event, so any other outcome expires it. Redriven deliveries don't expire; their
//! events stay on disk.

use std::collections::{BTreeSet, HashMap};

use super::Ledger;
use super::outgoing::Outgoing;
use super::retention::Unseen;
use super::settle::Report;
use super::subscription::{Pending, Position, Sub};
use crate::api::Settled;
use crate::store::{Space, keys};

impl Sub {
    /// Expires all deliveries before `upto` that are neither in flight nor redriven. `unseen` is
    /// the number of events not looked at yet. Returns whether any was a retry.
    pub(super) fn expire(&mut self, upto: u64, unseen: u64, outgoing: &mut Outgoing) -> bool {
        let gone = self.unsettled_before(upto);
        let was_reading_back = !self.open.is_empty();
        let (mut heads, mut has_retries) = (Vec::new(), false);
        for sequence in &gone {
            let held = self.remove_held(*sequence);
            let retry = self.retries.remove(sequence);
            if retry.is_some() {
                has_retries = true;
                outgoing.delete(Space::Retries, keys::retry(self.id, *sequence));
            }
            let lane = held
                .and_then(|pending| pending.lane)
                .or_else(|| retry.and_then(|retry| retry.row.lane))
                .or_else(|| self.parked.get(sequence).copied().flatten())
                .or_else(|| self.lanes.here().get(sequence).copied());
            self.unpark(*sequence, outgoing);
            self.open.remove(sequence);
            heads.extend(lane.filter(|lane| !self.lanes.forget(*lane, *sequence)));
        }
        self.again.retain(|sequence| !gone.contains(sequence));
        self.wanted.retain(|sequence| !gone.contains(sequence));
        self.expired += gone.len() as u64 + self.pass_over(upto) + unseen;
        heads.into_iter().for_each(|lane| self.leave_lane(lane));
        if was_reading_back {
            self.start_lanes();
        }
        has_retries
    }

    /// Unfinished deliveries before `upto` that are neither in flight nor redriven.
    fn unsettled_before(&self, upto: u64) -> BTreeSet<u64> {
        let mut unsettled: BTreeSet<u64> = self.open.range(..upto).copied().collect();
        unsettled.extend(self.held.range(..upto).map(|(sequence, _)| *sequence));
        unsettled.extend(self.retries.range(..upto).map(|(sequence, _)| *sequence));
        unsettled.extend(self.parked.range(..upto).map(|(sequence, _)| *sequence));
        unsettled.extend(self.lanes.here().range(..upto).map(|(sequence, _)| *sequence));
        unsettled.retain(|sequence| {
            let held = self.held.get(sequence);
            let is_out = held.is_some_and(|held| held.token.is_some());
            let is_replay =
                self.retries.get(sequence).is_some_and(|retry| retry.row.replay.is_some());
            !is_out && !is_replay
        });
        unsettled
    }

    /// The lowest sequence it hasn't looked at; `None` if it has looked at all.
    pub(super) fn unseen_from(&self) -> Option<u64> {
        match self.position() {
            Position::Live => None,
            Position::Behind { from, .. } => Some(from),
        }
    }

    /// The lowest sequence needed by a replay; the log may have removed its event.
    fn oldest_replay(&self) -> Option<u64> {
        let mut retries = self.retries.iter();
        retries.find(|(_, retry)| retry.row.replay.is_some()).map(|(sequence, _)| *sequence)
    }
}

impl Ledger {
    /// Expires a subscription's deliveries of events that the log removes.
    pub(super) fn expire_deliveries(&mut self, id: u32, upto: u64, unseen: u64) {
        let Some(sub) = self.subs.get_mut(&id) else { return };
        if sub.expire(upto, unseen, &mut self.outgoing) {
            let retries = &sub.retries;
            self.due.retain(|(_, of, sequence)| *of != id || retries.contains_key(sequence));
        }
        self.unsaved.insert(id);
        self.touched.insert(id);
    }

    /// No lease survives a restart: expires deliveries whose event is gone.
    pub(super) fn expire_what_was_out(&mut self) {
        let first = self.counters.first_sequence;
        for sub in self.subs.values_mut() {
            let before = sub.expired;
            sub.expire(first, 0, &mut self.outgoing);
            if sub.expired > before {
                self.unsaved.insert(sub.id);
            }
        }
    }

    /// How many deliveries before `upto` each expiring subscription hasn't looked at; `None` if
    /// that is unknown.
    pub(super) fn count_unseen(&self, upto: u64, found: &[Unseen]) -> Option<Vec<(u32, u64)>> {
        let expiring = self.subs.values().filter(|sub| sub.subscription().expires);
        let found: HashMap<u32, &Unseen> =
            found.iter().map(|found| (found.subscription, found)).collect();
        let count = |sub: &Sub| {
            let Some(from) = sub.unseen_from().filter(|from| *from < upto) else {
                return Some((sub.id, 0));
            };
            let unseen = found.get(&sub.id).filter(|found| found.epoch == sub.epoch)?;
            let unseen =
                unseen.sequences.iter().filter(|sequence| (from..upto).contains(*sequence));
            Some((sub.id, unseen.count() as u64))
        };
        expiring.map(count).collect()
    }

    /// Up to where the store may free space now.
    pub(crate) fn disposable(&self) -> u64 {
        self.disposable_before(self.counters.first_sequence)
    }

    /// The same when events before `upto` are removed.
    pub(super) fn disposable_before(&self, upto: u64) -> u64 {
        let expiring = self.subs.values().filter(|sub| sub.subscription().expires);
        expiring.filter_map(Sub::oldest_replay).min().map_or(upto, |needed| needed.min(upto))
    }

    /// Expires a delivery that was put back if its event is gone.
    pub(super) fn expire_if_gone(&mut self, id: u32, sequence: u64, settled: Settled) -> Settled {
        let first = self.counters.first_sequence;
        if sequence >= first {
            return settled;
        }
        self.expire_deliveries(id, first, 0);
        let is_there = self.subs.get(&id).is_some_and(|sub| sub.is_open(sequence));
        if is_there { settled } else { Settled::Expired }
    }

    /// Whether a failed delivery can't be retried because its event is gone.
    pub(super) fn is_gone(&self, sequence: u64, is_replay: bool) -> bool {
        sequence < self.counters.first_sequence && !is_replay
    }

    /// Ends a failed delivery that can't be retried because its event is gone.
    pub(super) fn expire_failed(&mut self, report: &Report, pending: Pending) -> Settled {
        let Some(sub) = self.subs.get_mut(&report.subscription) else { return Settled::Stale };
        sub.expired += 1;
        sub.end(report.sequence, pending.lane, &mut self.outgoing);
        self.unsaved.insert(report.subscription);
        Settled::Expired
    }
}
