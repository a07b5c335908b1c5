//! Resources held by the router's process, as reported by Linux.

use std::fs;

use anyhow::{Context as _, Result};

/// Resident memory in bytes.
///
/// # Errors
/// The process is gone.
pub(crate) fn memory_bytes(process: u32) -> Result<u64> {
    Ok(status(process, "VmRSS:")? * 1024)
}

/// Number of threads.
///
/// # Errors
/// The process is gone.
pub(crate) fn threads(process: u32) -> Result<u64> {
    status(process, "Threads:")
}

/// Number of open file descriptors.
///
/// # Errors
/// The process is gone.
pub(crate) fn descriptors(process: u32) -> Result<usize> {
    let path = format!("/proc/{process}/fd");
    Ok(fs::read_dir(&path).with_context(|| format!("reading {path}"))?.count())
}

/// The number in a line of the process's status.
fn status(process: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} tells no {name}"))
}
