//! Rate limiting of client requests.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::ui::error::CliError;
use super::ui::output::Output;

/// Limits work to a rate per second.
pub(crate) struct Pace {
    between: Duration,
    next: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: f64) -> Self {
        Self { between: Duration::from_secs_f64(1.0 / rate), next: None }
    }

    /// The size of one request: one second's worth of items, clamped to `1..=max`.
    pub(crate) fn piece(&self, max: u64) -> u64 {
        let a_second = 1.0 / self.between.as_secs_f64().max(f64::MIN_POSITIVE);
        // A float's cast saturates.
        (a_second as u64).clamp(1, max)
    }

    /// Sleeps until the next request is due and charges it `count` items. Flushes `out` before
    /// sleeping, to show progress.
    pub(crate) fn wait(&mut self, count: u64, out: &mut Output) -> Result<(), CliError> {
        let now = Instant::now();
        let due = self.next.unwrap_or(now);
        if due > now {
            out.flush()?;
            sleep(due - now);
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.next = Some(due.max(now) + self.between.saturating_mul(count));
        Ok(())
    }
}
