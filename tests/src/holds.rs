//! Resources held by a router's process, as reported by Linux.

use anyhow::Result;

use crate::process;
use crate::router::Router;

/// Resources of a process.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
    /// Resident memory (`VmRSS`), bytes.
    pub memory_bytes: u64,
}

impl Holds {
    /// Measures a router's resources.
    ///
    /// # Errors
    /// The process is gone, or `/proc` can't be read.
    pub fn now(router: &Router) -> Result<Self> {
        let process = router.process();
        Ok(Self {
            descriptors: process::descriptors(process)?,
            threads: process::threads(process)?,
            memory_bytes: process::memory_bytes(process)?,
        })
    }
}
