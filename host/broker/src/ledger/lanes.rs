//! Lanes: the deliveries of one ordering key, one in flight at a time, in the order of the log.
//!
//! The first delivery of a lane is its *head*: in flight, or waiting for a retry. The others wait
//! behind it, in memory while the head is in flight. A head that failed stalls its lane: what waits
//! behind it is then *parked* (a row on disk and a few bytes in memory each), so that a lane can
//! wait for hours without blocking the others. A lane may also *rest*: it begins with nothing until its rest is
//! over.

use std::collections::{BTreeMap, HashMap};

use usher_event::{Digest, Event};

use crate::api::{Order, StoredEvent};

/// Maximum deliveries waiting in memory behind lane heads.
const HERE_MAX_EVENTS: usize = 4_096;

/// Maximum deliveries waiting in memory in one lane that rests: it must not take the room of others.
const RESTING_HERE_MAX_EVENTS: usize = 16;

/// Maximum bytes of their events.
const HERE_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// The lane of an event; `None` if it is unordered. Keys whose digests collide share a lane, which
/// only makes them wait for each other.
pub(super) fn lane_of(order: &Order, event: &Event) -> Option<u64> {
    let Order::Key(attribute) = order else { return None };
    let key = event.attribute(attribute.as_str())?;
    let digest = Digest::of(key.as_bytes());
    digest.as_bytes().first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// All non-empty lanes of a subscription.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<u64, Lane>,
    /// Deliveries waiting in memory, each with its lane.
    here: BTreeMap<u64, u64>,
    here_bytes: usize,
}

#[derive(Default)]
struct Lane {
    head: Option<u64>,
    /// Whether the head waits for a retry.
    stalled: bool,
    rest: Option<Rest>,
    /// Whether it has rested, and goes on with its next delivery as soon as there is room.
    is_due: bool,
    waiting: BTreeMap<u64, Waiting>,
}

/// A time in which a lane gets no new head, except a retry.
#[derive(Clone, Copy)]
pub(super) struct Rest {
    /// The tick at which it is over.
    pub(super) until: u64,
    /// The latest tick to which it may be prolonged.
    pub(super) latest: u64,
}

/// A delivery behind a head.
enum Waiting {
    Here(StoredEvent),
    Parked,
    /// Failed before, or to be redelivered; has a row of its own.
    Retry,
}

/// Result of [`Lanes::enter`].
pub(super) enum Entered {
    /// It is the head.
    First(StoredEvent),
    /// It waits in memory.
    Waits,
    /// The caller must park it.
    Parks,
}

/// The new head of a lane.
pub(super) enum Next {
    Here(StoredEvent),
    Parked(u64),
    Retry(u64),
}

impl Lanes {
    /// Whether more deliveries may wait in memory.
    pub(super) fn has_room(&self) -> bool {
        self.here.len() < HERE_MAX_EVENTS && self.here_bytes < HERE_MAX_BYTES
    }

    pub(super) fn here(&self) -> &BTreeMap<u64, u64> {
        &self.here
    }

    /// Number of lanes whose head waits for a retry.
    pub(super) fn stalled(&self) -> usize {
        self.lanes.values().filter(|lane| lane.stalled).count()
    }

    /// Whether a delivery waits behind a head.
    pub(super) fn is_waiting(&self, lane: Option<u64>, sequence: u64) -> bool {
        lane.and_then(|lane| self.lanes.get(&lane))
            .is_some_and(|lane| lane.waiting.contains_key(&sequence))
    }

    /// The head that a delivery waits behind (inner `None` if the lane has no head yet); `None` if
    /// it doesn't wait. `lane` is needed only for deliveries that don't wait in memory.
    pub(super) fn head_before(&self, lane: Option<u64>, sequence: u64) -> Option<Option<u64>> {
        let key = lane.or_else(|| self.here.get(&sequence).copied())?;
        let lane = self.lanes.get(&key)?;
        lane.waiting.contains_key(&sequence).then_some(lane.head)
    }

    /// Enters a new event.
    pub(super) fn enter(&mut self, key: u64, stored: StoredEvent) -> Entered {
        let Some(lane) = self.lanes.get_mut(&key) else {
            let lane = Lane { head: Some(stored.sequence), ..Lane::default() };
            self.lanes.insert(key, lane);
            return Entered::First(stored);
        };
        let is_long = lane.rest.is_some() && lane.waiting.len() >= RESTING_HERE_MAX_EVENTS;
        if lane.stalled || is_long {
            lane.waiting.insert(stored.sequence, Waiting::Parked);
            return Entered::Parks;
        }
        self.wait(key, stored);
        Entered::Waits
    }

    /// Queues an event in memory even if its lane is empty, until [`Lanes::start`].
    pub(super) fn wait(&mut self, key: u64, stored: StoredEvent) {
        self.here_bytes += stored.event.encoded().len();
        self.here.insert(stored.sequence, key);
        let lane = self.lanes.entry(key).or_default();
        lane.waiting.insert(stored.sequence, Waiting::Here(stored));
    }

    /// Registers a parked delivery found on disk.
    pub(super) fn found_parked(&mut self, key: u64, sequence: u64) {
        self.lanes.entry(key).or_default().waiting.insert(sequence, Waiting::Parked);
    }

    /// Enters a delivery that has a retry row; returns whether it is the head.
    pub(super) fn enter_retry(&mut self, key: u64, sequence: u64) -> bool {
        let lane = self.lanes.entry(key).or_default();
        if lane.head.is_some() {
            lane.waiting.insert(sequence, Waiting::Retry);
            return false;
        }
        lane.head = Some(sequence);
        true
    }

    /// Stalls a lane whose head will be retried; returns the deliveries to park, if what waits is parked.
    pub(super) fn stall(&mut self, key: u64, parks: bool) -> Vec<u64> {
        let Some(lane) = self.lanes.get_mut(&key) else { return Vec::new() };
        lane.stalled = true;
        let mut parked = Vec::new();
        if !parks {
            return parked;
        }
        for (sequence, waiting) in &mut lane.waiting {
            if let Waiting::Here(stored) = waiting {
                self.here_bytes -= stored.event.encoded().len();
                self.here.remove(sequence);
                parked.push(*sequence);
                *waiting = Waiting::Parked;
            }
        }
        parked
    }

    /// Removes the finished head; the next delivery becomes the head, unless the lane rests.
    pub(super) fn leave(&mut self, key: u64) -> Option<Next> {
        let lane = self.lanes.get_mut(&key)?;
        (lane.stalled, lane.head) = (false, None);
        lane.is_due &= lane.rest.is_some();
        let is_retry = |next: (&u64, &Waiting)| matches!(next.1, Waiting::Retry);
        if lane.rest.is_some() && !lane.waiting.first_key_value().is_some_and(is_retry) {
            return None;
        }
        let Some((sequence, waiting)) = lane.waiting.pop_first() else {
            self.lanes.remove(&key);
            return None;
        };
        lane.head = Some(sequence);
        Some(match waiting {
            Waiting::Here(stored) => {
                self.here_bytes -= stored.event.encoded().len();
                self.here.remove(&sequence);
                Next::Here(stored)
            }
            Waiting::Parked => Next::Parked(sequence),
            Waiting::Retry => Next::Retry(sequence),
        })
    }

    pub(super) fn head_of(&self, key: u64) -> Option<u64> {
        self.lanes.get(&key)?.head
    }

    pub(super) fn rest_of(&self, key: u64) -> Option<Rest> {
        self.lanes.get(&key)?.rest
    }

    /// Has a lane rest; returns whether it did already.
    pub(super) fn rest(&mut self, key: u64, until: u64, latest: u64) -> bool {
        let lane = self.lanes.entry(key).or_default();
        lane.rest.replace(Rest { until, latest }).is_some()
    }

    /// Ends a lane's rest: it is due. Without anything in it, it is gone.
    pub(super) fn end_rest(&mut self, key: u64) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        (lane.rest, lane.is_due) = (None, true);
        if lane.head.is_none() && lane.waiting.is_empty() {
            self.lanes.remove(&key);
        }
    }

    /// Whether a lane has rested, and hasn't gone on yet.
    pub(super) fn is_due(&self, key: u64) -> bool {
        self.lanes.get(&key).is_some_and(|lane| lane.is_due)
    }

    /// Whether a delivery that was never handed out waits in a lane's memory, newer than this one.
    pub(super) fn has_newer(&self, key: u64, than: u64) -> bool {
        let lane = self.lanes.get(&key);
        let mut newer = lane.into_iter().flat_map(|lane| lane.waiting.range(than..));
        newer.any(|(_, waiting)| matches!(waiting, Waiting::Here(_)))
    }

    /// Removes all deliveries waiting in a lane's memory but the newest; returns how many.
    pub(super) fn supersede(&mut self, key: u64) -> u64 {
        let Some(lane) = self.lanes.get_mut(&key) else { return 0 };
        let is_new = |waiting: &Waiting| matches!(waiting, Waiting::Here(_));
        let newest = lane.waiting.iter().rfind(|(_, waiting)| is_new(waiting));
        let newest = newest.map(|(sequence, _)| *sequence);
        let mut superseded = 0;
        lane.waiting.retain(|sequence, waiting| {
            let Waiting::Here(stored) = waiting else { return true };
            if Some(*sequence) == newest {
                return true;
            }
            self.here_bytes -= stored.event.encoded().len();
            self.here.remove(sequence);
            superseded += 1;
            false
        });
        superseded
    }

    /// Gives every lane without a head one; returns the new heads with their lanes.
    pub(super) fn start(&mut self) -> Vec<(u64, Next)> {
        let headless = self.lanes.iter().filter(|(_, lane)| lane.head.is_none() && !lane.is_due);
        let mut keys: Vec<u64> = headless.map(|(key, _)| *key).collect();
        // Deterministic: the same history always takes the same path.
        keys.sort_unstable();
        keys.into_iter().filter_map(|key| Some((key, self.leave(key)?))).collect()
    }

    /// Removes a delivery that waits behind a head; returns whether it did.
    pub(super) fn forget(&mut self, key: u64, sequence: u64) -> bool {
        let lane = self.lanes.get_mut(&key);
        let Some(waiting) = lane.and_then(|lane| lane.waiting.remove(&sequence)) else {
            return false;
        };
        if let Waiting::Here(stored) = waiting {
            self.here_bytes -= stored.event.encoded().len();
            self.here.remove(&sequence);
        }
        true
    }

    /// Removes deliveries in memory that `wanted` rejects.
    pub(super) fn retain(&mut self, wanted: impl Fn(&StoredEvent) -> bool) {
        for lane in self.lanes.values_mut() {
            lane.waiting.retain(|sequence, waiting| {
                let Waiting::Here(stored) = waiting else { return true };
                if wanted(stored) {
                    return true;
                }
                self.here_bytes -= stored.event.encoded().len();
                self.here.remove(sequence);
                false
            });
        }
    }

    /// Dissolves all lanes; returns everything that waited, in the order of the log.
    pub(super) fn dissolve(&mut self) -> Vec<Next> {
        let lanes = std::mem::take(self).lanes;
        let mut freed: BTreeMap<u64, Next> = BTreeMap::new();
        for (sequence, waiting) in lanes.into_values().flat_map(|lane| lane.waiting) {
            let next = match waiting {
                Waiting::Here(stored) => Next::Here(stored),
                Waiting::Parked => Next::Parked(sequence),
                Waiting::Retry => Next::Retry(sequence),
            };
            freed.insert(sequence, next);
        }
        freed.into_values().collect()
    }
}
