//! Turns of guests that take long.
//!
//! A guest that has not come back when the epoch moves is long: from then on it goes on only when
//! it is its turn, for one tick, and then joins the end of the line. There are as many turns as
//! cores, and whoever has one leaves its place on the executor to others. So deliveries that take
//! microseconds never stand behind those that take seconds, however many these are; what they share
//! is the cores, which the system divides among threads.

use std::task::Poll;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The line of guests that take long.
pub(crate) struct Turns(Semaphore);

/// A guest's turn, until it is dropped.
pub(crate) struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}

impl Turns {
    /// One turn at a time for each core of this machine.
    pub(crate) fn for_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    pub(crate) fn new(count: usize) -> Self {
        Self(Semaphore::new(count))
    }

    /// Waits for a turn; first come, first served.
    pub(crate) async fn next(&self) -> Turn<'_> {
        // Never closed; going on without a turn would harm nothing but fairness.
        Turn { _permit: self.0.acquire().await.ok() }
    }
}

impl Turn<'_> {
    /// Does a tick's work of a guest, while others use the place on the executor.
    pub(crate) fn work<T>(&self, work: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let flavor = Handle::try_current().map(|executor| executor.runtime_flavor());
        match flavor {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
            // There is no other thread to leave the place to.
            _ => work(),
        }
    }
}
