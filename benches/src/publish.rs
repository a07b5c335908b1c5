//! Durable publish: from the call until it returns after fsync, one batch at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use usher_broker::traits::*;

use crate::hops::open;
use crate::sample::Sample;

const RUN_MIN: Duration = Duration::from_secs(3);
const BATCHES_PREPARED: usize = 64;

pub(crate) fn time_per_event(
    folder: &Path,
    batch: usize,
    sample: &Sample,
) -> anyhow::Result<Duration> {
    let data = tempfile::tempdir_in(folder)?;
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    executor.block_on(async {
        let broker = open(data.path())?;
        let mut taken = Duration::ZERO;
        let mut events = 0;
        while taken < RUN_MIN {
            // Creating the events is the producer's work, so it isn't timed.
            let batches = (0..BATCHES_PREPARED)
                .map(|n| {
                    (0..batch)
                        .map(|m| sample.event(events + n * batch + m))
                        .collect::<Result<_, _>>()
                })
                .collect::<anyhow::Result<Vec<Vec<_>>>>()?;
            let start = Instant::now();
            for batch in batches {
                broker.publish(batch).await?;
            }
            taken += start.elapsed();
            events += BATCHES_PREPARED * batch;
        }
        broker.close().await?;
        Ok(taken.div_f64(events as f64))
    })
}
