//! How fast a subscription hands out deliveries, and which it leaves out for newer ones.
//!
//! The rate of a subscription is a bucket of tokens. The rate of a key and debouncing are rests of its lane: a
//! lane that rests begins with no first attempt until its rest is over. Then it is *due*, and goes on as soon as
//! there is room. Of a debounced lane only the newest event waits: the others are *superseded*.

use std::collections::{BTreeSet, VecDeque};

use usher_event::Event;

use super::Ledger;
use super::lanes::lane_of;
use super::outgoing::Outgoing;
use super::subscription::Sub;
use crate::RESTING_MAX;
use crate::api::{BlockReason, Debounce, Order, Pace, Rate, StoredEvent};
use crate::store::rows::millis;

/// The lane of all events of a debounced subscription without a key.
const ONLY_LANE: u64 = 0;

/// What a subscription's pace needs in memory.
pub(super) struct Pacing {
    bucket: Option<Bucket>,
    /// Whether the rate would allow more, but what was handed out isn't leased yet.
    is_ahead: bool,
    /// The shortest time between two deliveries of a key.
    key_interval_ms: Option<u64>,
    debounce: Option<Debounce>,
    /// When to look at resting lanes; one time for each of them.
    resting: BTreeSet<(u64, u64)>,
    /// Lanes that have rested.
    due: VecDeque<u64>,
}

impl Pacing {
    /// `None` for a subscription without a pace.
    pub(super) fn new(pace: &Pace) -> Option<Box<Self>> {
        let Pace { max_rate, max_rate_per_key, debounce } = *pace;
        (*pace != Pace::default()).then(|| {
            Box::new(Self {
                bucket: max_rate.map(Bucket::new),
                is_ahead: false,
                key_interval_ms: max_rate_per_key
                    .map(|rate| 1_000_000_u64.div_ceil(rate.as_millihertz().into())),
                debounce,
                resting: BTreeSet::new(),
                due: VecDeque::new(),
            })
        })
    }

    /// How many deliveries its rate allows at this tick, while so many that were handed out aren't leased: if
    /// nobody leases for a while, they must not gather and then go out at once.
    pub(super) fn allows(&mut self, tick: u64, unleased: usize) -> usize {
        let Some(bucket) = &mut self.bucket else { return usize::MAX };
        let available = bucket.available(tick);
        self.is_ahead = unleased > 0;
        available.saturating_sub(unleased)
    }

    pub(super) fn take(&mut self, deliveries: usize) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(deliveries);
        }
    }

    /// A delivery was given back without an attempt.
    pub(super) fn give_back(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            bucket.tokens = bucket.tokens.saturating_add(Bucket::DELIVERY);
        }
    }

    /// Whether no more lanes may rest.
    pub(super) fn is_full(&self) -> bool {
        self.resting.len() >= RESTING_MAX
    }

    fn is_used_up(&self) -> bool {
        self.bucket.as_ref().is_some_and(|bucket| bucket.tokens < Bucket::DELIVERY)
    }

    /// When there may be more to hand out.
    fn next_tick(&self) -> Option<u64> {
        let bucket = self.bucket.as_ref();
        let refilled = match self.is_used_up() {
            true => bucket.map(Bucket::refilled_at),
            // Leasing tells the ledger nothing.
            false => bucket.filter(|_| self.is_ahead).map(Bucket::next_step),
        };
        let rested = self.resting.first().map(|(tick, _)| *tick);
        refilled.into_iter().chain(rested).min()
    }
}

/// A token bucket: a delivery costs [`Bucket::DELIVERY`] tokens, and each millisecond brings as many as the
/// rate has thousandths.
struct Bucket {
    rate: Rate,
    tokens: u64,
    tick: u64,
}

impl Bucket {
    const DELIVERY: u64 = 1_000_000;
    /// For how long tokens gather while there is nothing to deliver: a burst is a 20th of a second's deliveries.
    const BURST_MS: u64 = 50;
    /// For how long they gather before what waits goes on, so that many go on at once.
    const STEP_MS: u64 = 10;

    fn new(rate: Rate) -> Self {
        Self { rate, tokens: Self::DELIVERY, tick: 0 }
    }

    fn gathered_in(&self, ms: u64) -> u64 {
        ms.saturating_mul(self.rate.as_millihertz().into())
    }

    fn available(&mut self, tick: u64) -> usize {
        let new = self.gathered_in(tick.saturating_sub(self.tick));
        let max = self.gathered_in(Self::BURST_MS).max(Self::DELIVERY);
        self.tokens = self.tokens.saturating_add(new).min(max);
        self.tick = tick;
        usize::try_from(self.tokens / Self::DELIVERY).unwrap_or(usize::MAX)
    }

    fn take(&mut self, deliveries: usize) {
        let cost = Self::DELIVERY.saturating_mul(deliveries as u64);
        self.tokens = self.tokens.saturating_sub(cost);
    }

    /// The tick at which there is more for a step.
    fn next_step(&self) -> u64 {
        let delivery_ms = Self::DELIVERY.div_ceil(self.rate.as_millihertz().into());
        self.tick.saturating_add(delivery_ms.max(Self::STEP_MS))
    }

    /// The tick at which there is enough for a step.
    fn refilled_at(&self) -> u64 {
        let wanted = self.gathered_in(Self::STEP_MS).max(Self::DELIVERY);
        let missing = wanted.saturating_sub(self.tokens);
        self.tick.saturating_add(missing.div_ceil(self.rate.as_millihertz().into()))
    }
}

impl Sub {
    pub(super) fn lane_of(&self, event: &Event) -> Option<u64> {
        let subscription = self.subscription();
        match subscription.order {
            Order::None if subscription.pace.debounce.is_some() => Some(ONLY_LANE),
            ref order => lane_of(order, event),
        }
    }

    pub(super) fn debounced(&self) -> Option<Debounce> {
        self.pacing.as_ref()?.debounce
    }

    /// Has a new event wait in its lane, which rests until it is known that no newer one follows.
    pub(super) fn debounce(
        &mut self,
        Debounce { quiet, max }: Debounce,
        lane: u64,
        stored: StoredEvent,
        tick: u64,
    ) {
        let (quiet_tick, max_tick) = (tick + millis(quiet), tick + millis(max));
        self.lanes.wait(lane, stored);
        self.supersede_in(lane);
        if self.lanes.is_due(lane) {
            return;
        }
        let rest = self.lanes.rest_of(lane);
        let latest = rest.map_or(max_tick, |rest| rest.latest);
        let until = quiet_tick.min(latest).max(rest.map_or(0, |rest| rest.until));
        self.rest(lane, until, latest);
    }

    /// Of what waits in a debounced lane only the newest is left. Returns how many are superseded.
    pub(super) fn supersede_in(&mut self, lane: u64) -> u64 {
        let superseded = match self.debounced() {
            Some(_) => self.lanes.supersede(lane),
            None => 0,
        };
        self.superseded += superseded;
        superseded
    }

    /// Supersedes a delivery whose next attempt is due, if a newer one waits. What an operator asked for stays.
    pub(super) fn supersede_retry(&mut self, sequence: u64, outgoing: &mut Outgoing) -> bool {
        let Some(row) = self.retries.get(&sequence).map(|retry| retry.row) else { return false };
        let Some(lane) = row.lane.filter(|_| row.replay.is_none() && self.debounced().is_some())
        else {
            return false;
        };
        let is_superseded = self.lanes.has_newer(lane, sequence);
        if is_superseded {
            self.superseded += 1;
            self.end(sequence, Some(lane), outgoing);
        }
        is_superseded
    }

    /// A delivery was handed out: its key's next first attempt waits.
    pub(super) fn rest_after(&mut self, lane: u64, tick: u64) {
        let interval_ms = self.pacing.as_ref().and_then(|pacing| pacing.key_interval_ms);
        if let Some(interval_ms) = interval_ms {
            self.rest(lane, tick + interval_ms, u64::MAX);
        }
    }

    fn rest(&mut self, lane: u64, until: u64, latest: u64) {
        let was_resting = self.lanes.rest(lane, until, latest);
        if let Some(pacing) = &mut self.pacing
            && !was_resting
        {
            pacing.resting.insert((until, lane));
        }
    }

    /// Ends the rests that are over: their lanes are due.
    fn end_rests(&mut self, tick: u64) {
        while let Some(pacing) = &mut self.pacing
            && let Some((due, lane)) = pacing.resting.first().copied()
            && due <= tick
        {
            pacing.resting.pop_first();
            match self.lanes.rest_of(lane) {
                Some(rest) if rest.until > tick => {
                    pacing.resting.insert((rest.until, lane));
                }
                Some(_) => {
                    pacing.due.push_back(lane);
                    self.lanes.end_rest(lane);
                }
                None => {}
            }
        }
    }

    /// Has the next lane that is due, and has no head, go on; returns whether there is one.
    pub(super) fn start_due_lane(&mut self) -> bool {
        while let Some(lane) = self.pacing.as_mut().and_then(|pacing| pacing.due.pop_front()) {
            // One with a head goes on when that is over.
            if self.lanes.is_due(lane) && self.lanes.head_of(lane).is_none() {
                self.leave_lane(lane);
                return true;
            }
        }
        false
    }

    /// Another pace: all that rests is due.
    pub(super) fn change_pace(&mut self) {
        self.end_rests(u64::MAX);
        let mut next = Pacing::new(&self.row.subscription.pace);
        match (&mut next, &mut self.pacing) {
            (Some(next), Some(old)) => next.due = std::mem::take(&mut old.due),
            _ => while self.start_due_lane() {},
        }
        self.pacing = next;
    }

    /// Why nothing is handed out at this rate.
    pub(super) fn paced(&self) -> Option<BlockReason> {
        self.pacing.as_ref()?.is_used_up().then_some(BlockReason::Rate)
    }

    /// Why a delivery waits in its lane, if that rests.
    pub(super) fn rests(&self, sequence: u64) -> Option<BlockReason> {
        let parked = || self.parked.get(&sequence).copied().flatten();
        let lane = self.lanes.here().get(&sequence).copied().or_else(parked)?;
        if self.lanes.rest_of(lane).is_none() {
            return self.paced().filter(|_| self.lanes.is_due(lane));
        }
        let reason = match self.debounced() {
            Some(_) => BlockReason::Debounce,
            None => BlockReason::KeyRate,
        };
        self.lanes.head_of(lane).is_none().then_some(reason)
    }

    /// When it may hand out more because of its pace.
    pub(super) fn paced_until(&self) -> Option<u64> {
        self.pacing.as_ref()?.next_tick()
    }
}

impl Ledger {
    /// Goes on with subscriptions whose pace allows more.
    pub(super) fn go_on(&mut self, tick: u64) {
        while let Some((due, id)) = self.paced.first().copied()
            && due <= tick
        {
            self.paced.pop_first();
            if let Some(sub) = self.subs.get_mut(&id) {
                sub.end_rests(tick);
                self.touched.insert(id);
            }
        }
    }

    /// Milliseconds until the pace of a subscription allows more.
    pub(crate) fn paced_in_ms(&self) -> Option<u64> {
        self.paced.first().map(|(due, _)| due.saturating_sub(self.timeline.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: f64) -> Bucket {
        Bucket::new(Rate::per_second(per_second).unwrap())
    }

    /// Takes what there is at each tick; returns the number in each second.
    fn drain(mut bucket: Bucket, seconds: u64) -> Vec<usize> {
        let mut taken = Vec::new();
        for second in 0..seconds {
            let in_second = (0..1_000).map(|ms| {
                let available = bucket.available(1_000_000 + second * 1_000 + ms);
                bucket.take(available);
                available
            });
            taken.push(in_second.sum());
        }
        taken
    }

    #[test]
    fn no_second_has_more_than_the_rate_and_a_20th() {
        for (rate, first) in [(1.0, 1), (10.0, 10), (1_000.0, 1_000)] {
            let taken = drain(bucket(rate), 5);
            assert!(taken[0] <= first + first / 20 + 1, "{taken:?}");
            assert!(taken[1..].iter().all(|taken| *taken == first), "{taken:?}");
        }
        let mut slow = bucket(0.001);
        assert_eq!(slow.available(5), 1);
        slow.take(1);
        assert_eq!((slow.available(1_000_004), slow.available(1_000_005)), (0, 1));
    }

    #[test]
    fn what_waits_goes_on_in_steps() {
        let mut fast = bucket(10_000.0);
        fast.available(1_000);
        fast.take(500);
        assert_eq!(fast.refilled_at(), 1_010);
        assert_eq!(fast.available(1_010), 100);
        let mut slow = bucket(3.0);
        slow.available(1_000);
        slow.take(1);
        assert_eq!(slow.refilled_at(), 1_334);
    }

    #[test]
    fn rates_are_kept_in_thousandths() {
        for (number, kept) in [
            (0.001, Some(0.001)),
            (3.3334, Some(3.333)),
            (1e6, Some(1e6)),
            (0.0, None),
            (f64::NAN, None),
            (1e7, None),
        ] {
            assert_eq!(Rate::per_second(number).map(Rate::as_per_second), kept);
        }
    }
}
