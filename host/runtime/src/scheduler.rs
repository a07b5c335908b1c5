//! Scheduling of long-running guests.
//!
//! A guest still running when the epoch changes is long: from then on it runs only in its turn, for
//! one tick, and then rejoins the end of the queue. There are as many turns as cores, each with its
//! own thread of raised niceness, so that deliveries of microseconds neither queue behind
//! deliveries of seconds nor compete with them for the CPU, however many there are.

use std::sync::OnceLock;
use std::task::{Context, Poll};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::nice;

/// FIFO queue of long-running guests.
pub(crate) struct LongCallScheduler {
    count: usize,
    slots: Semaphore,
    /// One per turn; created for the first long-running guest, `None` if that failed.
    threads: OnceLock<Option<ThreadPool>>,
}

/// A guest's turn; ends on drop.
pub(crate) struct CpuPermit<'a> {
    turns: &'a LongCallScheduler,
    _permit: Option<SemaphorePermit<'a>>,
}

impl LongCallScheduler {
    /// As many concurrent turns as this machine has cores.
    pub(crate) fn for_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    pub(crate) fn new(count: usize) -> Self {
        Self { count, slots: Semaphore::new(count), threads: OnceLock::new() }
    }

    /// Waits for a turn; first come, first served.
    pub(crate) async fn next(&self) -> CpuPermit<'_> {
        // The semaphore is never closed; running without a permit would only cost fairness.
        CpuPermit { turns: self, _permit: self.slots.acquire().await.ok() }
    }

    fn threads(&self) -> Option<&ThreadPool> {
        let make = || {
            let threads = ThreadPoolBuilder::new()
                .num_threads(self.count)
                .thread_name(|number| format!("usher-long-{number}"))
                .start_handler(|_| nice::this_thread())
                .build();
            threads
                .inspect_err(|error| {
                    tracing::warn!(%error, "no threads for deliveries that take long");
                })
                .ok()
        };
        self.threads.get_or_init(make).as_ref()
    }
}

impl CpuPermit<'_> {
    /// Polls a guest's call on a turn's thread, while other tasks use the executor. On a
    /// current-thread executor, or if there are no turn threads, polls inline.
    pub(crate) fn poll<T: Send>(
        &self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T> + Send,
    ) -> Poll<T> {
        let executor = Handle::try_current().ok();
        let executor = executor.filter(|one| one.runtime_flavor() == RuntimeFlavor::MultiThread);
        let (Some(executor), Some(threads)) = (executor, self.turns.threads()) else {
            return poll(context);
        };
        let waker = context.waker().clone();
        let work = move || {
            let _entered = executor.enter();
            poll(&mut Context::from_waker(&waker))
        };
        tokio::task::block_in_place(|| threads.install(work))
    }
}
