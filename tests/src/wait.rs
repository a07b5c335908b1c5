//! Polling with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Timeout of any wait in a test. Generous, because the machine may be busy compiling; waits return
/// as soon as their condition holds, so it costs nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(15);

/// Polls `look` until it returns a value, for at most [`PATIENCE`].
///
/// # Errors
/// `look` failed, or the timeout expired; `what` names the condition.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    poll(what, PAUSE, look)
}

/// Like [`wait_for`], with another pause between two looks.
pub(crate) fn poll<T>(
    what: &str,
    pause: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().with_context(|| format!("while waiting for {what}"))? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        thread::sleep(pause);
    }
}
