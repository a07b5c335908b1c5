//! Waiting for something to become true, with an end to patience.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long anything may take before a test gives up. Long, because the machine may be busy
/// compiling: what waits returns as soon as its condition holds, so the length costs nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(15);

/// Looks again and again until `look` answers something, for at most [`PATIENCE`].
///
/// # Errors
/// `look` failed, or patience ended; `what` says what was waited for.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().with_context(|| format!("while waiting for {what}"))? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        thread::sleep(PAUSE);
    }
}
