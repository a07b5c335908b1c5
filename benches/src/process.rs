//! Resource usage of this process and its files, as reported by Linux.

use std::path::Path;

use anyhow::Context as _;
use usher_tests::Holds;

/// Resident memory (`VmRSS`), bytes.
pub(crate) fn resident_bytes() -> anyhow::Result<u64> {
    Ok(Holds::of(std::process::id())?.memory_bytes)
}

/// Bytes that this process has had written to disks so far.
pub(crate) fn written_bytes() -> anyhow::Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(written.context("no write_bytes in /proc/self/io")?.parse()?)
}

/// Total size of all files in a folder, recursively, in bytes.
pub(crate) fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path())?,
            Ok(metadata) => metadata.len(),
            // Compaction removes files at any time.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(bytes)
}
