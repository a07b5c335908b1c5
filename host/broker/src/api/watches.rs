//! Watches: who waits for events of some types is woken by those, and by no others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Limit on watches of an engine.
pub const WATCHES_MAX: usize = 4_096;

/// Waits for events of the types that a filter may match. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch(Arc<Mark>);

/// The engine's side of a [`Watch`]. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watched(Arc<Mark>);

#[derive(Debug, Default)]
struct Mark {
    /// Sequence of the first match that was not told yet; 0 for none.
    first: AtomicU64,
    is_over: AtomicBool,
    arrived: Notify,
}

impl Watch {
    /// Both sides of a new watch.
    pub fn begin() -> (Watched, Self) {
        let mark = Arc::new(Mark::default());
        (Watched(Arc::clone(&mark)), Self(mark))
    }

    /// Waits for a match, and returns the sequence of the first one since the last call. Later ones
    /// up to now have not been told either: read on from there. `None` when the engine has stopped.
    ///
    /// Cancel-safe: dropping the future loses no match.
    pub async fn matched(&mut self) -> Option<u64> {
        loop {
            let arrived = self.0.arrived.notified();
            match self.0.first.swap(0, Ordering::AcqRel) {
                0 if self.0.is_over.load(Ordering::Acquire) => return None,
                0 => arrived.await,
                first => return Some(first),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

impl Watched {
    /// Tells of a match. It must be readable already, and [`crate::Log::committed`] include it.
    pub fn mark(&self, sequence: u64) {
        let first = &self.0.first;
        // Fails if an earlier match has not been told yet.
        if first.compare_exchange(0, sequence, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.0.arrived.notify_one();
        }
    }

    /// Whether it is waited for no more.
    pub fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Acquire)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        self.0.arrived.notify_one();
    }
}
