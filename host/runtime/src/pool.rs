//! Warm instances of one plugin. The one used last is used next, so that under light load few
//! instances stay in the caches. An instance leaves the pool for good when it trapped, was cut off,
//! has served its number of calls, or waited for too long.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::Store;

use crate::bindings::World;
use crate::guest::{Guest, Held};
use crate::meter::GuestClock;
use crate::places::{Place, Places};
use crate::plugin::Plugin;

/// How long an instance waits for work before it goes.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(60);

/// An instance and its store.
pub(crate) struct Instance {
    pub(crate) store: Store<Guest>,
    pub(crate) world: World,
    pub(crate) clock: Arc<GuestClock>,
    /// Deliveries handled so far.
    pub(crate) calls: u64,
    /// What it held after the last of them.
    pub(crate) held: Held,
    _counted: Counted,
    // The last field: the store goes first, and then its place is free.
    _place: Place,
}

impl Instance {
    pub(crate) fn new(
        mut store: Store<Guest>,
        world: World,
        plugin: &Arc<Plugin>,
        place: Place,
    ) -> Self {
        let clock = store.data().cpu.clock().clone();
        let held = store.data_mut().held();
        Self { store, world, clock, calls: 0, held, _counted: Counted::new(plugin), _place: place }
    }
}

/// Counts an instance for as long as it is there.
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

/// Instances that wait for work.
pub(crate) struct Pool<T = Instance> {
    idle: Mutex<Idle<T>>,
    places: Arc<Places>,
}

struct Idle<T> {
    /// With the time of their return: those that wait longest come first.
    instances: Vec<(T, Instant)>,
    is_retired: bool,
}

// Whatever leaves a pool is dropped after its lock is: tearing an instance down takes a while, and
// nobody has to wait for it.
impl<T> Pool<T> {
    pub(crate) fn new(places: &Arc<Places>) -> Self {
        let idle = Mutex::new(Idle { instances: Vec::new(), is_retired: false });
        Self { idle, places: places.clone() }
    }

    fn idle(&self) -> MutexGuard<'_, Idle<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance that was put back last.
    pub(crate) fn take(&self) -> Option<T> {
        self.idle().instances.pop().map(|(instance, _)| instance)
    }

    /// Keeps an instance for later, unless `max` are waiting already, someone waits for its place,
    /// or the pool is retired.
    pub(crate) fn put(&self, instance: T, max: usize, now: Instant) {
        let mut idle = self.idle();
        // Asked under the lock: whoever says later that it waits finds the instance here.
        if idle.instances.len() < max && !idle.is_retired && !self.places.are_waited_for() {
            idle.instances.push((instance, now));
            return;
        }
        drop(idle);
        drop(instance);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.idle().instances.len()
    }

    /// Frees the instances that waited longest: half of them, at least one.
    pub(crate) fn shrink(&self) {
        let freed: Vec<_> = {
            let mut idle = self.idle();
            let count = idle.instances.len().div_ceil(2);
            idle.instances.drain(..count).collect()
        };
        drop(freed);
    }

    /// Frees at most `max` of the instances that have waited for [`IDLE_MAX`]; answers how many.
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

    /// Frees all instances, and from now on those that are put back.
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

    fn pool_of(count: u64, start: Instant) -> (Pool<u64>, Arc<Places>) {
        let places = Arc::<Places>::default();
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
