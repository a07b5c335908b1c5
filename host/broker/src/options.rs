//! Options for opening the embedded engine, and the errors of opening it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use usher_journal::{JournalError, LocalOptions};

use crate::store::OpenFailure;
use crate::store::tables::Caches;
use crate::{Clock, SystemClock};

/// How many segments a log that is as large as it may be has, at least.
const SEGMENTS_MIN: u64 = 8;

/// How to open an [`crate::EmbeddedBroker`].
#[derive(Clone)]
pub struct Options {
    /// The data folder; created if missing. Unused in memory.
    pub data: PathBuf,
    /// The time source.
    pub clock: Arc<dyn Clock>,
    /// Seeds the jitter of retries, and where the tokens of leases begin.
    pub seed: u64,
    /// Size of the duplicates window, in events. Takes 24 bytes of memory per event.
    pub duplicates_window_events: usize,
    /// Maximum age of an event in the duplicates window; `None` for no limit.
    pub duplicates_window: Option<Duration>,
    /// Maximum commands waiting for the committer; publishing is refused beyond it.
    pub intake_max_commands: usize,
    /// Maximum bytes of events waiting for the committer; publishing is refused beyond it.
    pub intake_max_bytes: usize,
    /// How many events of the log a subscription may be behind before publishing is refused; `None`
    /// for no limit. Emissions are accepted up to twice as many: beyond that, a delivery whose
    /// emissions would go to that subscription runs again, uncounted.
    pub backlog_max_events: Option<u64>,
    /// What the log keeps.
    pub retention: Retention,
    /// Free disk space below which publishing is refused. Emissions are still accepted, so that the
    /// system drains instead of stopping half-way. 0 disables the check.
    pub disk_reserve_bytes: u64,
    /// Size of the store's block cache.
    pub cache_bytes: u64,
    /// Maximum table files the store keeps open; others are opened on demand.
    pub open_tables_max: usize,
    /// Names of documents that an engine which goes on from a backup doesn't have: its first commit removes
    /// them.
    pub not_in_copies: Vec<Box<str>>,
}

/// How long the log keeps events. Events that a subscription still needs are kept in any case, and
/// so are dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Events older than this are removed.
    pub max_age: Option<Duration>,
    /// The oldest events are removed while the log has more bytes than this.
    pub max_bytes: Option<u64>,
}

impl Options {
    /// The defaults for a data folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            clock: Arc::new(SystemClock),
            seed: SystemClock.now_ms(),
            duplicates_window_events: 1_000_000,
            duplicates_window: None,
            intake_max_commands: 4_096,
            intake_max_bytes: 64 * 1_024 * 1_024,
            backlog_max_events: None,
            retention: Retention::default(),
            disk_reserve_bytes: 256 * 1_024 * 1_024,
            cache_bytes: 32 * 1_024 * 1_024,
            open_tables_max: 256,
            not_in_copies: Vec::new(),
        }
    }

    /// Retention removes whole segments: a small log has small ones.
    pub(crate) fn journal(&self) -> LocalOptions {
        let default = LocalOptions::default();
        let max_bytes = self.retention.max_bytes.unwrap_or(u64::MAX);
        let segment_bytes = default.segment_bytes.min(max_bytes / SEGMENTS_MIN);
        LocalOptions { segment_bytes }
    }

    pub(crate) fn caches(&self) -> Caches {
        Caches { bytes: self.cache_bytes, open_tables_max: self.open_tables_max }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("data", &self.data)
            .field("seed", &self.seed)
            .field("duplicates_window_events", &self.duplicates_window_events)
            .field("duplicates_window", &self.duplicates_window)
            .field("intake_max_commands", &self.intake_max_commands)
            .field("intake_max_bytes", &self.intake_max_bytes)
            .field("backlog_max_events", &self.backlog_max_events)
            .field("retention", &self.retention)
            .field("disk_reserve_bytes", &self.disk_reserve_bytes)
            .field("cache_bytes", &self.cache_bytes)
            .field("open_tables_max", &self.open_tables_max)
            .field("not_in_copies", &self.not_in_copies)
            .finish_non_exhaustive()
    }
}

impl OpenError {
    /// What a failure of the store means for who opens the data folder.
    pub(crate) fn of_store(
        what: &'static str,
        data: &Path,
    ) -> impl FnOnce(OpenFailure) -> Self + use<> {
        let path = data.to_owned();
        move |failure| match failure {
            OpenFailure::Io(source) => Self::Io { what, path, source },
            OpenFailure::Damaged(failure) => Self::Damaged { path, reason: failure.0 },
            OpenFailure::Refused(source) => Self::Refused { what, path, source },
        }
    }
}

/// Why a data folder could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process is using it.
    #[error(
        "data folder {} is in use by {}; stop that process or give another folder",
        path.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The data folder.
        path: PathBuf,
        /// The process that holds it, if known.
        pid: Option<u32>,
    },
    /// It was written by a newer version of Usher.
    #[error(
        "data folder {} has format {found}, this version reads formats up to {supported}; \
         use the version of usher that wrote it or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The data folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this version knows.
        supported: u32,
    },
    /// It was written by an older version of Usher, and not upgraded.
    #[error(
        "data folder {} has format {found}, which is upgraded when a router starts with it; until then \
         use the version of usher that wrote it",
        path.display()
    )]
    OlderFormat {
        /// The data folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The folder holds something that isn't Usher's.
    #[error(
        "{} is not a data folder of usher: {reason}; give an empty or a new folder",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A file system operation failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What failed.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The service that keeps the journal refused, or another node owns the journal.
    #[error("{what} {}: {source}", path.display())]
    Refused {
        /// What failed.
        what: &'static str,
        /// The data folder.
        path: PathBuf,
        /// The journal's error.
        source: JournalError,
    },
    /// The store is damaged.
    #[error(
        "the store in {path} is damaged: {reason}; restore a backup, or rescue what can be read with \
         usher store salvage {path} NEW",
        path = path.display()
    )]
    Damaged {
        /// The data folder.
        path: PathBuf,
        /// Where and how.
        reason: String,
    },
}
