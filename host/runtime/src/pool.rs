//! Pool of one plugin's warm instances. LIFO, so that light load keeps to few instances, which stay
//! in the CPU caches. An instance is dropped after a trap or timeout, after its maximum number of
//! calls, or once idle for too long.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::Store;

use crate::exported::Exported;
use crate::guest::{Guest, Held};
use crate::meter::GuestClock;
use crate::plugin::Plugin;
use crate::slots::{InstanceSlot, InstanceSlots};

/// Idle time after which an instance is evicted.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(60);

/// An instance and its store.
pub(crate) struct Instance {
    pub(crate) store: Store<Guest>,
    pub(crate) exported: Exported,
    pub(crate) clock: Arc<GuestClock>,
    /// Deliveries handled so far.
    pub(crate) calls: u64,
    /// What it held after the last one.
    pub(crate) held: Held,
    /// Whether its code is optimised.
    pub(crate) is_optimised: bool,
    _counted: Counted,
    // Must be the last field: the place is free only once the store is dropped.
    _place: InstanceSlot,
}

impl Instance {
    pub(crate) fn new(
        mut store: Store<Guest>,
        exported: Exported,
        plugin: &Arc<Plugin>,
        place: InstanceSlot,
        is_optimised: bool,
    ) -> Self {
        let clock = store.data().cpu.clock().clone();
        let held = store.data_mut().held();
        Self {
            store,
            exported,
            clock,
            calls: 0,
            held,
            is_optimised,
            _counted: Counted::new(plugin),
            _place: place,
        }
    }
}

/// Counts an instance in [`Plugin::instances`] until dropped.
struct Counted(Arc<Plugin>);

impl Counted {
    fn new(plugin: &Arc<Plugin>) -> Self {
        plugin.instances.fetch_add(1, Ordering::Relaxed);
        Self(plugin.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Idle instances of one plugin.
pub(crate) struct Pool<T = Instance> {
    idle: Mutex<Idle<T>>,
    places: Arc<InstanceSlots>,
}

struct Idle<T> {
    /// With the time of their return; longest idle first.
    instances: Vec<(T, Instant)>,
    is_retired: bool,
}

// Instances are dropped after the lock is released: teardown is slow and must not block others.
impl<T> Pool<T> {
    pub(crate) fn new(places: &Arc<InstanceSlots>) -> Self {
        let idle = Mutex::new(Idle { instances: Vec::new(), is_retired: false });
        Self { idle, places: places.clone() }
    }

    fn idle(&self) -> MutexGuard<'_, Idle<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the most recently returned instance.
    pub(crate) fn take(&self) -> Option<T> {
        self.idle().instances.pop().map(|(instance, _)| instance)
    }

    /// Pools an instance, or drops it if `max` are idle already, a place is being waited for, or
    /// the pool is retired.
    pub(crate) fn put(&self, instance: T, max: usize, now: Instant) {
        let mut idle = self.idle();
        // Checked under the lock: a waiter that registers later finds the instance here.
        if idle.instances.len() < max && !idle.is_retired && !self.places.has_waiters() {
            idle.instances.push((instance, now));
            return;
        }
        drop(idle);
        drop(instance);
    }

    /// Drops all idle instances.
    pub(crate) fn clear(&self) {
        let instances = std::mem::take(&mut self.idle().instances);
        drop(instances);
    }

    /// Number of idle instances.
    pub(crate) fn len(&self) -> usize {
        self.idle().instances.len()
    }

    /// Evicts the longest-idle half of the instances, rounded up.
    pub(crate) fn shrink(&self) {
        let freed: Vec<_> = {
            let mut idle = self.idle();
            let count = idle.instances.len().div_ceil(2);
            idle.instances.drain(..count).collect()
        };
        drop(freed);
    }

    /// Evicts up to `max` instances that have been idle for [`IDLE_MAX`]; returns how many.
    pub(crate) fn expire(&self, now: Instant, max: usize) -> usize {
        let expired: Vec<_> = {
            let mut idle = self.idle();
            let is_old = |since: Instant| now.saturating_duration_since(since) >= IDLE_MAX;
            let waiting = idle.instances.iter().take(max);
            let count = waiting.take_while(|(_, since)| is_old(*since)).count();
            idle.instances.drain(..count).collect()
        };
        expired.len()
    }

    /// Drops all idle instances, and from now on every instance that is returned.
    pub(crate) fn retire(&self) {
        let freed = {
            let mut idle = self.idle();
            idle.is_retired = true;
            std::mem::take(&mut idle.instances)
        };
        drop(freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool_of(count: u64, start: Instant) -> (Pool<u64>, Arc<InstanceSlots>) {
        let places = Arc::<InstanceSlots>::default();
        let pool = Pool::new(&places);
        for number in 0..count {
            pool.put(number, usize::MAX, start + Duration::from_secs(number));
        }
        (pool, places)
    }

    #[test]
    fn instances_that_waited_long_go_a_few_at_a_time() {
        let start = Instant::now();
        let (pool, _) = pool_of(5, start);
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(pool.expire(after(59), 2), 0);
        assert_eq!(pool.expire(after(60), 2), 1);
        assert_eq!(pool.expire(after(63), 2), 2);
        assert_eq!(pool.expire(after(63), 2), 1);
        assert_eq!(pool.expire(after(63), 2), 0);
        assert_eq!(pool.take(), Some(4), "the one used last stays");
    }

    #[test]
    fn time_counts_from_the_last_use() {
        let start = Instant::now();
        let (pool, _) = pool_of(2, start);
        let used = pool.take().unwrap();
        pool.put(used, 10, start + IDLE_MAX);
        assert_eq!(pool.expire(start + IDLE_MAX, 10), 1);
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn a_retired_pool_keeps_nothing() {
        let (pool, _) = pool_of(3, Instant::now());
        pool.retire();
        assert_eq!(pool.len(), 0);
        pool.put(7, 10, Instant::now());
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn nothing_stays_idle_while_someone_waits_for_a_place() {
        let (pool, places) = pool_of(1, Instant::now());
        let waiting = places.wait();
        pool.put(1, 10, Instant::now());
        assert_eq!(pool.len(), 1);
        drop(waiting);
        pool.put(1, 10, Instant::now());
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let (pool, _) = pool_of(0, Instant::now());
        let waiting = [1, 2, 3].map(|number| {
            pool.put(number, 2, Instant::now());
            pool.len()
        });
        assert_eq!(waiting, [1, 2, 2]);
        assert_eq!(pool.take(), Some(2), "the one too many went");
    }
}
