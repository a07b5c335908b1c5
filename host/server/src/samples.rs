//! Samples of the last hour, in memory.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use usher_api::{Sample, Timestamp};
use usher_broker::{Broker, BrokerStats, Clock};

/// Time from one sample to the next.
const EVERY: Duration = Duration::from_secs(10);

/// Samples kept: an hour of them.
const SAMPLES_MAX: usize = 360;

/// The samples.
#[derive(Default)]
pub(crate) struct Samples(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    samples: VecDeque<Sample>,
    /// The counters at the end of the newest sample, and when that was.
    before: Option<(BrokerStats, u64)>,
}

impl Samples {
    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Sample> {
        self.lock().samples.iter().copied().collect()
    }

    /// Ends a sample at these counters.
    fn add(&self, stats: BrokerStats, lag: u64, now_ms: u64) {
        let kept = &mut *self.lock();
        if let Some((before, before_ms)) = &kept.before {
            let sample = Sample {
                time: Timestamp::from_ms(now_ms),
                span_ms: now_ms.saturating_sub(*before_ms),
                events: stats.appended.saturating_sub(before.appended),
                acked: stats.acked.saturating_sub(before.acked),
                failed: stats.failed.saturating_sub(before.failed),
                lag,
                dead_letters: stats.dead_letters,
                log_bytes: stats.log_bytes,
            };
            if kept.samples.len() >= SAMPLES_MAX {
                kept.samples.pop_front();
            }
            kept.samples.push_back(sample);
        }
        kept.before = Some((stats, now_ms));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes samples. Never returns.
pub(crate) async fn keep(samples: &Samples, broker: &dyn Broker, clock: &dyn Clock) -> Infallible {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // The broker reports its own read errors.
        let Ok(statuses) = broker.subscriptions().await else { continue };
        let lag = statuses.iter().map(|status| status.lag).sum();
        samples.add(broker.stats(), lag, clock.now_ms());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_what_happened_between_them() {
        let samples = Samples::default();
        let at = |appended, acked| BrokerStats { appended, acked, ..BrokerStats::default() };
        samples.add(at(5, 1), 4, 1_000);
        assert_eq!(samples.all(), []);
        samples.add(at(9, 3), 6, 11_000);
        let all = samples.all();
        let sample = all[0];
        assert_eq!((sample.events, sample.acked, sample.failed, sample.lag), (4, 2, 0, 6));
        assert_eq!((sample.span_ms, sample.time.as_ms()), (10_000, 11_000));
        for n in 0..2 * SAMPLES_MAX as u64 {
            samples.add(at(9 + n, 3), 0, 12_000 + n);
        }
        assert_eq!(samples.all().len(), SAMPLES_MAX);
    }
}
