//! Waits for Ctrl-C.

use anyhow::{Context as _, Result};

/// Waits for Ctrl-C (SIGINT). From the first call on, the signal no longer terminates the process.
///
/// # Errors
/// The signal can't be waited for.
pub fn wait_for_interrupt() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("waiting for Ctrl-C")
}
