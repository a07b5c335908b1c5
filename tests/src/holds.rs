//! What a router's process holds, seen from the outside, as Linux tells.

use anyhow::Result;

use crate::process;
use crate::router::Router;

/// What a process holds.
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
    /// What a router holds now.
    ///
    /// # Errors
    /// Its process is gone, or the system doesn't tell.
    pub fn now(router: &Router) -> Result<Self> {
        let process = router.process();
        Ok(Self {
            descriptors: process::descriptors(process)?,
            threads: process::threads(process)?,
            memory_bytes: process::memory_bytes(process)?,
        })
    }
}
