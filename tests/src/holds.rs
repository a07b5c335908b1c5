//! What a router's process holds, seen from the outside, as Linux tells.

use std::fs;

use anyhow::{Context as _, Result};

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
        let process = format!("/proc/{}", router.process());
        let status = fs::read_to_string(format!("{process}/status"))?;
        let number = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            Ok(word.with_context(|| format!("no {name}"))?.parse()?)
        };
        Ok(Self {
            descriptors: fs::read_dir(format!("{process}/fd"))?.count(),
            threads: number("Threads:")?,
            memory_bytes: number("VmRSS:")? * 1_024,
        })
    }
}
