//! The duplicates window: detects published events that repeat a recent one. It is bounded by a
//! number of events and optionally by age; what is too old is dropped a whole commit at a time.
//!
//! The identity of event `s` is in slot `s % capacity` of a ring, so that a new event overwrites
//! the one that leaves the window. An open-addressed table of slot numbers finds an identity in the
//! ring. That is 24 bytes per event; memory is touched only as the window fills.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use usher_event::Identity;

/// Marks a free place in the table; stored slots are offset by one.
const FREE: u32 = 0;

/// The largest window; slot numbers must fit in the table.
const CAPACITY_MAX: usize = 1 << 30;

/// The window.
pub(super) struct Duplicates {
    ring: Vec<[u8; 16]>,
    table: Vec<u32>,
    mask: usize,
    /// The lowest sequence in the window, and one above the highest.
    oldest: u64,
    next: u64,
    keys: [u64; 2],
    /// Maximum age of an identity.
    window_ms: Option<u64>,
    /// Rows on disk, oldest first.
    rows: VecDeque<Row>,
    /// How many of them have exceeded the maximum age.
    forgotten_rows: usize,
}

/// The identities of one commit, stored in one row.
#[derive(Clone, Copy, Debug)]
struct Row {
    first: u64,
    count: u32,
    recorded_ms: u64,
}

impl Row {
    /// One above its last sequence.
    fn end(self) -> u64 {
        self.first + u64::from(self.count)
    }
}

impl Duplicates {
    /// An empty window whose first event will be `next`.
    pub(super) fn new(capacity: usize, window_ms: Option<u64>, next: u64) -> Self {
        let capacity = capacity.clamp(1, CAPACITY_MAX);
        // At most half full, so that probes stay short.
        let places = (2 * capacity).next_power_of_two();
        // Producers choose ids; secret keys keep them from forcing collisions.
        let random = RandomState::new();
        Self {
            ring: vec![[0; 16]; capacity],
            table: vec![FREE; places],
            mask: places - 1,
            oldest: next,
            next,
            keys: [random.hash_one(1u8), random.hash_one(2u8) | 1],
            window_ms,
            rows: VecDeque::new(),
            forgotten_rows: 0,
        }
    }

    /// The sequence of the event with this identity, if it is in the window.
    pub(super) fn find(&self, identity: &Identity) -> Option<u64> {
        let mut place = self.home(identity.as_bytes());
        loop {
            let slot = self.slot_at(place)?;
            if self.ring.get(slot) == Some(identity.as_bytes()) {
                return Some(self.sequence_in(slot));
            }
            place = (place + 1) & self.mask;
        }
    }

    /// Adds the next event; sequences are consecutive.
    pub(super) fn push(&mut self, identity: &Identity) {
        let capacity = self.ring.len() as u64;
        if self.next - self.oldest == capacity {
            self.forget_oldest();
        }
        let slot = (self.next % capacity) as usize;
        if let Some(entry) = self.ring.get_mut(slot) {
            *entry = *identity.as_bytes();
        }
        self.next += 1;
        let mut place = self.home(identity.as_bytes());
        while self.slot_at(place).is_some() {
            place = (place + 1) & self.mask;
        }
        self.set(place, slot as u32 + 1);
    }

    /// Drops identities that exceed the maximum age.
    pub(super) fn forget_old(&mut self, now_ms: u64) {
        let Some(window_ms) = self.window_ms else { return };
        // Their rows are deleted with the next row written.
        while let Some(row) = self.rows.get(self.forgotten_rows).copied() {
            if row.recorded_ms.saturating_add(window_ms) > now_ms {
                break;
            }
            while self.oldest < row.end() {
                self.forget_oldest();
            }
            self.forgotten_rows += 1;
        }
    }

    /// Registers a row found on disk at the start.
    pub(super) fn note_old_row(&mut self, first: u64, count: u32, recorded_ms: u64) {
        self.rows.push_back(Row { first, count, recorded_ms });
    }

    /// Registers a new row with the identities from `first` on; returns the keys of rows that have
    /// left the window entirely.
    pub(super) fn note_row(&mut self, first: u64, count: u32, recorded_ms: u64) -> Vec<u64> {
        self.rows.push_back(Row { first, count, recorded_ms });
        let mut gone = Vec::new();
        while let Some(row) = self.rows.pop_front_if(|row| row.end() <= self.oldest) {
            gone.push(row.first);
            self.forgotten_rows = self.forgotten_rows.saturating_sub(1);
        }
        gone
    }

    fn forget_oldest(&mut self) {
        let slot = (self.oldest % self.ring.len() as u64) as usize;
        self.oldest += 1;
        let Some(identity) = self.ring.get(slot).copied() else { return };
        let mut place = self.home(&identity);
        while let Some(found) = self.slot_at(place) {
            if found == slot {
                self.free(place);
                return;
            }
            place = (place + 1) & self.mask;
        }
    }

    /// Frees a place and moves displaced entries up (backward-shift deletion).
    fn free(&mut self, mut hole: usize) {
        let mut place = hole;
        loop {
            place = (place + 1) & self.mask;
            let Some(slot) = self.slot_at(place) else { break };
            let Some(identity) = self.ring.get(slot) else { break };
            let home = self.home(identity);
            let from_home = place.wrapping_sub(home) & self.mask;
            let from_hole = place.wrapping_sub(hole) & self.mask;
            if from_home >= from_hole {
                self.set(hole, slot as u32 + 1);
                hole = place;
            }
        }
        self.set(hole, FREE);
    }

    fn home(&self, identity: &[u8; 16]) -> usize {
        let [a, b] = [identity.first_chunk::<8>(), identity.last_chunk::<8>()]
            .map(|half| half.map_or(0, |half| u64::from_le_bytes(*half)));
        let [first, second] = self.keys;
        let product = u128::from(a ^ first) * u128::from(b.rotate_left(17) ^ second);
        let mixed = (product >> 64) as u64 ^ product as u64 ^ a.wrapping_mul(second);
        (mixed ^ mixed >> 29) as usize & self.mask
    }

    fn slot_at(&self, place: usize) -> Option<usize> {
        self.table.get(place).and_then(|slot| slot.checked_sub(1)).map(|slot| slot as usize)
    }

    fn set(&mut self, place: usize, value: u32) {
        if let Some(entry) = self.table.get_mut(place) {
            *entry = value;
        }
    }

    fn sequence_in(&self, slot: usize) -> u64 {
        let capacity = self.ring.len() as u64;
        let offset = (slot as u64 + capacity - self.oldest % capacity) % capacity;
        self.oldest + offset
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn identity(number: u64) -> Identity {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Identity::from_bytes(bytes)
    }

    #[test]
    fn the_window_holds_exactly_the_newest() {
        for capacity in [1, 2, 3, 7, 64] {
            let mut window = Duplicates::new(capacity, None, 5);
            let mut model = HashMap::new();
            for sequence in 5..400u64 {
                let number = sequence * 31 % 1_009;
                assert_eq!(window.find(&identity(number)), None);
                window.push(&identity(number));
                model.insert(number, sequence);
                model.retain(|_, known| sequence - *known < capacity as u64);
                for (number, sequence) in &model {
                    assert_eq!(window.find(&identity(*number)), Some(*sequence));
                }
            }
            let found = (0..1_009).filter(|number| window.find(&identity(*number)).is_some());
            assert_eq!(found.count(), capacity);
        }
    }

    #[test]
    fn rows_leave_with_their_last_event() {
        let mut window = Duplicates::new(4, None, 1);
        for number in 1..=4 {
            window.push(&identity(number));
        }
        assert_eq!(window.note_row(1, 2, 0), Vec::<u64>::new());
        assert_eq!(window.note_row(3, 2, 0), Vec::<u64>::new());
        window.push(&identity(5));
        assert_eq!(window.note_row(5, 1, 0), Vec::<u64>::new());
        window.push(&identity(6));
        assert_eq!(window.note_row(6, 1, 0), vec![1]);
    }

    #[test]
    fn what_is_too_old_is_forgotten_whatever_the_capacity() {
        let mut window = Duplicates::new(100, Some(1_000), 1);
        let known = |window: &Duplicates| {
            let known = (1..=6).filter(|number| window.find(&identity(*number)).is_some());
            known.collect::<Vec<u64>>()
        };
        for (first, recorded_ms) in [(1, 5_000), (3, 5_400), (5, 5_200)] {
            window.push(&identity(first));
            window.push(&identity(first + 1));
            assert_eq!(window.note_row(first, 2, recorded_ms), Vec::<u64>::new());
        }
        window.forget_old(5_999);
        assert_eq!(known(&window), [1, 2, 3, 4, 5, 6]);
        window.forget_old(6_000);
        assert_eq!(known(&window), [3, 4, 5, 6]);
        // The clock was set back before the third row: it stays as long as the second.
        window.forget_old(6_399);
        assert_eq!(known(&window), [3, 4, 5, 6]);
        window.forget_old(6_400);
        assert_eq!(known(&window), [0u64; 0]);
        window.push(&identity(1));
        assert_eq!(window.find(&identity(1)), Some(7));
        assert_eq!(window.note_row(7, 1, 6_500), [1, 3, 5]);
    }
}
