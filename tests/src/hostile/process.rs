//! What the router's process holds, as the system tells it.

use std::fs;

use anyhow::{Context as _, Result};

/// Memory in use, in bytes.
///
/// # Errors
/// The process is gone.
pub(crate) fn memory_bytes(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{path} tells no VmRSS"))? * 1024)
}

/// Open file descriptors.
///
/// # Errors
/// The process is gone.
pub(crate) fn descriptors(process: u32) -> Result<usize> {
    let path = format!("/proc/{process}/fd");
    Ok(fs::read_dir(&path).with_context(|| format!("reading {path}"))?.count())
}
