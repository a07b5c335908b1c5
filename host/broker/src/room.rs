//! Free-space check for publishing. Emissions aren't checked, so that a full system can drain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::BrokerError;

/// How long a free-space reading is reused.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a refused producer should wait.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Bytes free for this user on the disk of a folder.
///
/// # Errors
/// The file system doesn't say.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Free space on the disk of a data folder.
pub(crate) struct DiskSpace {
    folder: PathBuf,
    reserve_bytes: u64,
    /// When the file system was last asked, and how much was free.
    known: Mutex<Option<(Instant, Option<u64>)>>,
}

impl DiskSpace {
    pub(crate) fn new(folder: PathBuf, reserve_bytes: u64) -> Self {
        Self { folder, reserve_bytes, known: Mutex::default() }
    }

    /// Fails if less than the reserve is free.
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        // If it is unknown, and the disk really is full, the commit fails.
        let Some(free_bytes) = self.free_bytes(Instant::now()) else { return Ok(()) };
        if free_bytes >= self.reserve_bytes {
            return Ok(());
        }
        let reserve_bytes = self.reserve_bytes;
        Err(BrokerError::Full { free_bytes, reserve_bytes, retry_after: RETRY_AFTER })
    }

    /// Bytes free, as of the last second; `None` if the file system doesn't say.
    pub(crate) fn free_bytes(&self, now: Instant) -> Option<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, free_bytes)) = *known
            && now.saturating_duration_since(asked) < LOOK_EVERY
        {
            return free_bytes;
        }
        let free_bytes = free_bytes(&self.folder)
            .inspect_err(|error| tracing::warn!(%error, "cannot tell how much of the disk is free"))
            .ok();
        *known = Some((now, free_bytes));
        free_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_the_reserve_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let room = |reserve_bytes| DiskSpace::new(folder.path().to_owned(), reserve_bytes);
        room(0).check().unwrap();
        room(1).check().unwrap();
        let refused = room(u64::MAX).check().unwrap_err();
        assert!(matches!(refused, BrokerError::Full { reserve_bytes: u64::MAX, .. }), "{refused}");
    }

    #[test]
    fn the_file_system_is_asked_now_and_then() {
        let folder = tempfile::tempdir().unwrap();
        let room = DiskSpace::new(folder.path().to_owned(), 1);
        let start = Instant::now();
        *room.known.lock().unwrap() = Some((start, Some(7)));
        assert_eq!(room.free_bytes(start + LOOK_EVERY / 2), Some(7));
        assert_ne!(room.free_bytes(start + LOOK_EVERY), Some(7));
    }
}
