//! Places for instances, of all plugins together. The engine counts them and refuses what is too
//! much; here one waits until another instance is gone. No instance goes unnoticed: whoever waits
//! has said so before it last looked for a place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Who waits for a place, and the signal that one is free.
#[derive(Default)]
pub(crate) struct Places {
    freed: Notify,
    waiting: AtomicUsize,
}

impl Places {
    /// The place an instance is about to take.
    pub(crate) fn take(self: &Arc<Self>) -> Place {
        Place(Some(self.clone()))
    }

    /// From here until it is dropped, someone waits.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }

    /// Whether someone waits, so that an instance should rather go than stay idle.
    pub(crate) fn are_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Ready once a place became free after this future was enabled.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }
}

/// One instance's place. Kept beside the instance's store and dropped after it, because that is
/// when the place is free.
pub(crate) struct Place(Option<Arc<Places>>);

impl Place {
    /// The engine refused it, so that nothing becomes free when it goes.
    pub(crate) fn refused(mut self) {
        self.0 = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = &self.0 {
            places.freed.notify_waiters();
        }
    }
}

/// Someone waits for a place.
pub(crate) struct Waiting<'a>(&'a Places);

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
        let places = Arc::<Places>::default();
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
        let places = Places::default();
        let one = places.wait();
        let two = places.wait();
        drop(one);
        assert!(places.are_waited_for());
        drop(two);
        assert!(!places.are_waited_for());
    }
}
