//! Waiting for the engine's instance limit, which all plugins share. The engine counts and refuses;
//! this module wakes waiters when an instance is dropped. No wakeup is lost: a waiter registers
//! before its last attempt to instantiate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Number of waiters, and the signal that a place was freed.
#[derive(Default)]
pub(crate) struct InstanceSlots {
    freed: Notify,
    waiting: AtomicUsize,
}

impl InstanceSlots {
    /// The place of an instance about to be created. Never fails: the engine enforces the limit.
    pub(crate) fn take(self: &Arc<Self>) -> InstanceSlot {
        InstanceSlot(Some(self.clone()))
    }

    /// Registers a waiter until the guard is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }

    /// Whether there are waiters; if so, drop instances instead of pooling them.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Resolves when a place is freed after this future was enabled.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }
}

/// One instance's place. Must be dropped after the instance's store: only then does the engine have
/// room again.
pub(crate) struct InstanceSlot(Option<Arc<InstanceSlots>>);

impl InstanceSlot {
    /// The engine refused the instance: drops the place without waking waiters.
    pub(crate) fn refused(mut self) {
        self.0 = None;
    }
}

impl Drop for InstanceSlot {
    fn drop(&mut self) {
        if let Some(places) = &self.0 {
            places.freed.notify_waiters();
        }
    }
}

/// Guard of a registered waiter.
pub(crate) struct Waiting<'a>(&'a InstanceSlots);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn whoever_looked_before_a_place_became_free_is_woken() {
        let places = Arc::<InstanceSlots>::default();
        for _ in 0..3 {
            let place = places.take();
            let mut freed = std::pin::pin!(places.freed());
            assert!(!freed.as_mut().enable(), "nothing is left of the round before");
            places.take().refused();
            let mut is_woken = || freed.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(is_woken().is_pending());
            drop(place);
            assert!(is_woken().is_ready());
        }
    }

    #[test]
    fn the_waiting_are_counted() {
        let places = InstanceSlots::default();
        let one = places.wait();
        let two = places.wait();
        drop(one);
        assert!(places.has_waiters());
        drop(two);
        assert!(!places.has_waiters());
    }
}
