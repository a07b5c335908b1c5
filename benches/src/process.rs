//! Resource usage of this process and its files, as reported by Linux.

use std::path::Path;

use usher_tests::Holds;

/// Resident memory (`VmRSS`), bytes.
pub(crate) fn resident_bytes() -> anyhow::Result<u64> {
    Ok(Holds::of(std::process::id())?.memory_bytes)
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
