//! Warm instances of one plugin. The one used last is used next, so that under light load few
//! instances stay in the caches. An instance leaves the pool for good when it trapped, was cut off,
//! or has served its number of calls.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::Store;

use crate::bindings::World;
use crate::guest::Guest;
use crate::meter::GuestClock;
use crate::plugin::Plugin;

/// An instance and its store.
pub(crate) struct Instance {
    pub(crate) store: Store<Guest>,
    pub(crate) world: World,
    pub(crate) clock: Arc<GuestClock>,
    /// Deliveries handled so far.
    pub(crate) calls: u64,
    _counted: Counted,
}

impl Instance {
    pub(crate) fn new(store: Store<Guest>, world: World, plugin: &Arc<Plugin>) -> Self {
        let clock = store.data().cpu.clock().clone();
        Self { store, world, clock, calls: 0, _counted: Counted::new(plugin) }
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
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Instance>>,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance that was put back last.
    pub(crate) fn take(&self) -> Option<Instance> {
        self.idle().pop()
    }

    /// Keeps an instance for later, unless `max` are waiting already.
    pub(crate) fn put(&self, instance: Instance, max: usize) {
        let mut idle = self.idle();
        if idle.len() < max {
            idle.push(instance);
            return;
        }
        // Tearing down takes a while; nobody has to wait for it.
        drop(idle);
        drop(instance);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.idle().len()
    }

    /// Frees the instances that waited longest: half of them, at least one.
    pub(crate) fn shrink(&self) {
        let freed: Vec<_> = {
            let mut idle = self.idle();
            let count = idle.len().div_ceil(2);
            idle.drain(..count).collect()
        };
        drop(freed);
    }
}
