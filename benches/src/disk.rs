//! Disk baseline: append to a file and fdatasync, nothing else.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

const RUN_MIN: Duration = Duration::from_secs(2);

/// Time per record of `record_bytes`, appended in batches of `batch`.
pub(crate) fn time_per_record(
    folder: &Path,
    batch: usize,
    record_bytes: usize,
) -> anyhow::Result<Duration> {
    let mut file: File = tempfile::tempfile_in(folder)?;
    let block = vec![0x5a; batch * record_bytes];
    let start = Instant::now();
    let mut records = 0;
    while start.elapsed() < RUN_MIN {
        file.write_all(&block)?;
        file.sync_data()?;
        records += batch;
    }
    Ok(start.elapsed().div_f64(records as f64))
}
