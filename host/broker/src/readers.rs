//! Threads for store reads, so that neither the committer nor an executor blocks on a disk.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A thread pool with a bounded queue. Dropping it drops queued jobs and waits for running ones.
pub(crate) struct WorkerPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<Jobs>,
    arrived: Condvar,
    max_jobs: usize,
}

#[derive(Default)]
struct Jobs {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl WorkerPool {
    /// Starts the threads.
    pub(crate) fn start(name: &str, threads: usize, max_jobs: usize) -> std::io::Result<Self> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), arrived: Condvar::new(), max_jobs });
        let mut readers = Self { shared, threads: Vec::with_capacity(threads) };
        for _ in 0..threads {
            let shared = Arc::clone(&readers.shared);
            let thread = std::thread::Builder::new().name(name.to_owned());
            readers.threads.push(thread.spawn(move || shared.work())?);
        }
        Ok(readers)
    }

    /// Queues a job; `false` if the queue is full or the pool is closed.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut state = self.shared.state();
        if state.closed || state.jobs.len() >= self.shared.max_jobs {
            return false;
        }
        state.jobs.push_back(Box::new(job));
        self.shared.arrived.notify_one();
        true
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let idle = |state: &mut Jobs| state.jobs.is_empty() && !state.closed;
            let waited = self.arrived.wait_while(self.state(), idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            let Some(job) = state.jobs.pop_front() else { return };
            drop(state);
            // The caller sees a panic as a dropped sender; the panic hook has logged it.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn state(&self) -> MutexGuard<'_, Jobs> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.shared.arrived.notify_all();
        let here = std::thread::current().id();
        for thread in self.threads.drain(..).filter(|thread| thread.thread().id() != here) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_panic_ends_one_job_only() {
        let readers = WorkerPool::start("test", 1, 10).unwrap();
        let (panicking, answer) = mpsc::channel::<()>();
        readers.submit(move || {
            let _sender = panicking;
            panic!("on purpose");
        });
        assert!(answer.recv().is_err());
        let (working, answer) = mpsc::channel();
        readers.submit(move || working.send(7).unwrap());
        assert_eq!(answer.recv(), Ok(7));
    }

    #[test]
    fn too_many_jobs_are_refused() {
        let readers = WorkerPool::start("test", 1, 1).unwrap();
        let (begin, begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        readers.submit(move || {
            begin.send(()).unwrap();
            // Ends when the test does.
            let _ = released.recv();
        });
        begun.recv().unwrap();
        assert!(readers.submit(|| ()));
        assert!(!readers.submit(|| ()));
        drop(release);
    }
}
