//! Resources held by a process, as reported by Linux.

use std::fs;

use anyhow::{Context as _, Result};

use crate::router::Router;

/// Resources of a process.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads, but for those that the router makes once, for the first delivery that takes long.
    pub threads: u64,
    /// Resident memory that no file backs (`RssAnon`), bytes: pages of the program, which come in as
    /// its code first runs, are the kernel's to drop.
    pub memory_bytes: u64,
}

impl Holds {
    /// Measures a router's resources.
    ///
    /// # Errors
    /// The process is gone, or `/proc` can't be read.
    pub fn now(router: &Router) -> Result<Self> {
        Self::of(router.process())
    }

    /// Measures a process's resources.
    ///
    /// # Errors
    /// The process is gone, or `/proc` can't be read.
    pub fn of(process: u32) -> Result<Self> {
        let path = format!("/proc/{process}/fd");
        let descriptors = fs::read_dir(&path).with_context(|| format!("reading {path}"))?;
        Ok(Self {
            descriptors: descriptors.count(),
            threads: threads(process)?,
            memory_bytes: status(process, "RssAnon:")? * 1024,
        })
    }
}

fn threads(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/task");
    let all = fs::read_dir(&path).with_context(|| format!("reading {path}"))?;
    // One that has ended since it was listed has no name any more.
    let names = all.flatten().filter_map(|one| fs::read_to_string(one.path().join("comm")).ok());
    Ok(names.filter(|name| !name.starts_with("usher-long")).count() as u64)
}

/// The number in a line of the process's status.
fn status(process: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} tells no {name}"))
}
