//! The pools of all plugins, for evicting idle instances: to make room for others, or once they
//! have been idle for too long.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use crate::pool::{Instance, Pool};
use crate::slots::InstanceSlots;

/// Interval between sweeps for expired instances, in ticks.
const SWEEP_TICKS: u64 = 200;
/// Instances evicted per tick; the rest follow on the next ticks, so that none is delayed.
const EXPIRED_PER_TICK_MAX: usize = 2;

/// Every plugin's pool, held weakly: its listener owns it.
pub(crate) struct Pools<T = Instance> {
    pools: Mutex<Vec<Weak<Pool<T>>>>,
    pub(crate) places: Arc<InstanceSlots>,
}

impl<T> Default for Pools<T> {
    fn default() -> Self {
        Self { pools: Mutex::default(), places: Arc::default() }
    }
}

impl<T> Pools<T> {
    /// Creates and registers a pool.
    pub(crate) fn add(&self) -> Arc<Pool<T>> {
        let pool = Arc::new(Pool::new(&self.places));
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(&pool));
        pool
    }

    fn all(&self) -> Vec<Weak<Pool<T>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Evicts the longest-idle half of every pool.
    pub(crate) fn shrink(&self) {
        for pool in self.all().iter().filter_map(Weak::upgrade) {
            pool.shrink();
        }
    }

    /// Evicts up to `max` expired instances; returns how many.
    fn expire(&self, now: Instant, max: usize) -> usize {
        let mut freed = 0;
        for pool in self.all().iter().filter_map(Weak::upgrade) {
            freed += pool.expire(now, max - freed);
        }
        freed
    }
}

/// Evicts expired instances, a few per tick.
pub(crate) struct IdleEvictor<T = Instance> {
    pools: Arc<Pools<T>>,
    ticks: u64,
    /// Whether the last tick reached its limit, so that more may be expired.
    is_under_way: bool,
}

impl<T> IdleEvictor<T> {
    pub(crate) fn new(pools: &Arc<Pools<T>>) -> Self {
        Self { pools: pools.clone(), ticks: 0, is_under_way: false }
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        self.ticks += 1;
        if self.is_under_way || self.ticks.is_multiple_of(SWEEP_TICKS) {
            let freed = self.pools.expire(now, EXPIRED_PER_TICK_MAX);
            self.is_under_way = freed == EXPIRED_PER_TICK_MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::IDLE_MAX;

    #[test]
    fn a_sweep_frees_a_few_at_each_tick_until_it_is_done() {
        let pools = Arc::<Pools<u32>>::default();
        let (one, two) = (pools.add(), pools.add());
        let start = Instant::now();
        for number in 0..3 {
            one.put(number, 10, start);
            two.put(number, 10, start);
        }
        two.put(3, 10, start + IDLE_MAX);
        let mut sweep = IdleEvictor::new(&pools);
        let mut left = |ticks: u64, now: Instant| {
            (0..ticks).for_each(|_| sweep.tick(now));
            one.len() + two.len()
        };
        assert_eq!(left(SWEEP_TICKS, start), 7, "nothing is old");
        let later = start + IDLE_MAX;
        assert_eq!(left(SWEEP_TICKS - 1, later), 7, "nobody looks");
        for expected in [5, 3, 1, 1] {
            assert_eq!(left(1, later), expected);
        }
    }
}
