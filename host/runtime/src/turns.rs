//! Turns of guests that take long.
//!
//! A guest that has not come back when the epoch moves is long: from then on it goes on only when
//! it is its turn, for one tick, and then joins the end of the line. There are as many turns as
//! cores, each with a thread of its own that is nicer than the others: deliveries that take
//! microseconds neither stand in line with those that take seconds nor wait for the processor that
//! these have, however many they are.

use std::sync::OnceLock;
use std::task::{Context, Poll};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::nice;

/// The line of guests that take long.
pub(crate) struct Turns {
    count: usize,
    permits: Semaphore,
    /// One for each turn; made for the first guest that takes long, `None` where that failed.
    threads: OnceLock<Option<ThreadPool>>,
}

/// A guest's turn, until it is dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Turns {
    /// One turn at a time for each core of this machine.
    pub(crate) fn for_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    pub(crate) fn new(count: usize) -> Self {
        Self { count, permits: Semaphore::new(count), threads: OnceLock::new() }
    }

    /// Waits for a turn; first come, first served.
    pub(crate) async fn next(&self) -> Turn<'_> {
        // Never closed; going on without a turn would harm nothing but fairness.
        Turn { turns: self, _permit: self.permits.acquire().await.ok() }
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

impl Turn<'_> {
    /// Polls a guest's call, while others use the place on the executor. Where this executor has one
    /// thread only, or there are no threads to be had, they wait.
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
