//! Waiting for Ctrl-C.

use anyhow::{Context as _, Result};

/// Returns when Ctrl-C is pressed (SIGINT), which ends nothing by itself from the first call on.
///
/// # Errors
/// The signal can't be waited for.
pub fn wait_for_interrupt() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("waiting for Ctrl-C")
}
