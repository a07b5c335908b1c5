//! How deliveries pass through a subscription's lanes: waiting, parking on disk, resuming, and
//! recovery after a restart.

use super::FetchedDelivery;
use super::lanes::Next;
use super::outgoing::Outgoing;
use super::subscription::{Pending, Retry, Sub};
use crate::api::StoredEvent;
use crate::store::rows::{RetryRow, write_parked};
use crate::store::{Space, keys};

impl Sub {
    /// Parks a delivery on disk.
    pub(super) fn park(&mut self, sequence: u64, lane: u64, outgoing: &mut Outgoing) {
        self.parked.insert(sequence, Some(lane));
        outgoing.put(Space::Parked, keys::retry(self.id, sequence), write_parked(lane));
    }

    /// Removes a delivery's parked row, if there is one.
    pub(super) fn unpark(&mut self, sequence: u64, outgoing: &mut Outgoing) {
        if self.parked.remove(&sequence).is_some() {
            outgoing.delete(Space::Parked, keys::retry(self.id, sequence));
        }
    }

    /// The lane's head will be retried: parks what waits behind it.
    pub(super) fn stall_lane(&mut self, lane: u64, outgoing: &mut Outgoing) {
        // Of a debounced lane the newest takes the head's place.
        for sequence in self.lanes.stall(lane, self.debounced().is_none()) {
            self.park(sequence, lane, outgoing);
        }
    }

    /// Ends a delivery that is no longer held: removes its rows, and its lane goes on.
    pub(super) fn end(&mut self, sequence: u64, lane: Option<u64>, outgoing: &mut Outgoing) {
        if self.retries.remove(&sequence).is_some() {
            outgoing.delete(Space::Retries, keys::retry(self.id, sequence));
        }
        self.unpark(sequence, outgoing);
        if let Some(lane) = lane {
            self.leave_lane(lane);
        }
    }

    /// The lane's head has finished: the next delivery becomes the head.
    pub(super) fn leave_lane(&mut self, lane: u64) {
        if let Some(next) = self.lanes.leave(lane) {
            self.promote(Some(lane), next);
        }
    }

    fn promote(&mut self, lane: Option<u64>, next: Next) {
        match next {
            Next::Here(stored) => {
                let sequence = stored.sequence;
                self.hold(Pending { stored, retry: None, attempts: Vec::new(), lane });
                self.again.push_back(sequence);
            }
            Next::Parked(sequence) => self.wanted.push_back(sequence),
            Next::Retry(sequence) => {
                // If it still waits for its due time, the timer requests it.
                if self.retries.get(&sequence).is_some_and(|retry| !retry.waiting) {
                    self.wanted.push_back(sequence);
                }
            }
        }
    }

    /// Adds a retry; `waiting` until it is due.
    pub(super) fn add_retry(&mut self, sequence: u64, row: RetryRow, waiting: bool) {
        self.retries.insert(sequence, Retry { row, waiting });
        let is_first = row.lane.is_none_or(|lane| self.lanes.enter_retry(lane, sequence));
        if is_first && !waiting {
            self.wanted.push_back(sequence);
        }
    }

    /// Marks a retry as due. Returns whether a newer delivery took its place.
    pub(super) fn retry_due(&mut self, sequence: u64, outgoing: &mut Outgoing) -> bool {
        if self.supersede_retry(sequence, outgoing) {
            return true;
        }
        let Some(retry) = self.retries.get_mut(&sequence) else { return false };
        retry.waiting = false;
        if !self.lanes.is_waiting(retry.row.lane, sequence) {
            self.wanted.push_back(sequence);
        }
        false
    }

    /// Registers a parked delivery found on disk.
    pub(super) fn found_parked(&mut self, sequence: u64, lane: u64) {
        self.parked.insert(sequence, Some(lane));
        self.lanes.found_parked(lane, sequence);
    }

    /// Starts the lanes once all deliveries that were open before the restart are back in them.
    pub(super) fn start_lanes(&mut self) {
        if self.open.is_empty() {
            for (lane, next) in self.lanes.start() {
                self.promote(Some(lane), next);
            }
        }
    }

    /// Releases everything that waits in a lane, because the order has changed.
    pub(super) fn dissolve_lanes(&mut self) {
        for next in self.lanes.dissolve() {
            self.promote(None, next);
        }
        for held in self.held.values_mut() {
            held.pending.lane = None;
        }
        for retry in self.retries.values_mut() {
            retry.row.lane = None;
        }
        for lane in self.parked.values_mut() {
            *lane = None;
        }
    }

    /// Requests everything being read again; results of earlier requests will be ignored.
    pub(super) fn refetch(&mut self) {
        let retries = self.retries.iter().filter(|(_, retry)| !retry.waiting);
        let retries = retries.map(|(sequence, retry)| (*sequence, retry.row.lane));
        let parked = self.parked.iter().map(|(sequence, lane)| (*sequence, *lane));
        let open = self.open.iter().map(|sequence| (*sequence, None));
        let lost = retries.chain(parked).chain(open).filter(|(sequence, lane)| {
            !self.held.contains_key(sequence) && !self.lanes.is_waiting(*lane, *sequence)
        });
        self.wanted = lost.map(|(sequence, _)| sequence).collect();
        self.fetching = 0;
    }

    /// Handles a delivery read from the store. Returns whether the cursor must be written.
    pub(super) fn fetched(&mut self, delivery: FetchedDelivery, outgoing: &mut Outgoing) -> bool {
        self.fetching = self.fetching.saturating_sub(1);
        let FetchedDelivery { sequence, stored, attempts } = delivery;
        let retry = self.retries.get(&sequence).map(|retry| retry.row);
        let parked = self.parked.get(&sequence).copied();
        let was_open = self.open.remove(&sequence);
        if (retry.is_none() && parked.is_none() && !was_open) || self.held.contains_key(&sequence) {
            return false;
        }
        self.expired += u64::from(stored.is_none());
        let wanted = |stored: &StoredEvent| retry.is_some() || stored.matches(self.filter());
        let Some(stored) = stored.filter(wanted) else {
            // The filter has changed since it was parked or handed out, or its event is gone.
            self.let_go(sequence, retry, parked, outgoing);
            self.start_lanes();
            return true;
        };
        if was_open && let Some(lane) = self.lane_of(&stored.event) {
            self.lanes.wait(lane, stored);
            let superseded = self.supersede_in(lane);
            self.start_lanes();
            return superseded > 0;
        }
        let before = retry.map_or(0, |retry| retry.before);
        let of_this_round = attempts.into_iter().filter(|(number, _)| *number > before);
        let attempts = of_this_round.map(|(_, attempt)| attempt).collect();
        let lane = retry.map_or(parked.flatten(), |retry| retry.lane);
        self.hold(Pending { stored, retry, attempts, lane });
        self.again.push_back(sequence);
        if was_open {
            self.start_lanes();
        }
        true
    }

    fn let_go(
        &mut self,
        sequence: u64,
        retry: Option<RetryRow>,
        parked: Option<Option<u64>>,
        outgoing: &mut Outgoing,
    ) {
        let lane = retry.map_or(parked.flatten(), |retry| retry.lane);
        self.end(sequence, lane, outgoing);
    }
}
