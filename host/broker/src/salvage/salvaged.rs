//! What a salvage brought, or why there is nothing.

use std::io;

use usher_journal::JournalError;

use crate::store::{OpenFailure, StoreFailure};

/// How far sequences jump ahead, at least, where the newest events may be lost. More than fit into
/// all journals, which hold what is not in table files yet.
pub const SALVAGE_GAP_EVENTS: u64 = 1 << 24;

/// Most losses that are told in full.
const LOSSES_MAX: usize = 1_000;

/// What was rescued, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Salvaged {
    /// What there is now, and how much of it.
    pub counts: Vec<(&'static str, u64)>,
    /// What can't be read, or doesn't hold together with the rest; at most a thousand.
    pub losses: Vec<String>,
    /// How many losses there are beyond those.
    pub more_losses: u64,
    /// Events that are missing between others, first and last of each run.
    pub missing_events: Vec<(u64, u64)>,
    /// The last sequence of the new log; the next event gets the one after it.
    pub last_sequence: u64,
    /// How many sequences before that were left out to be sure, since newer events may be lost.
    pub skipped_sequences: u64,
}

impl Salvaged {
    pub(super) fn lose(&mut self, what: impl Into<String>) {
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(what.into());
        } else {
            self.more_losses += 1;
        }
    }
}

/// Why nothing was rescued. Nothing is left of the new folder.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// Something about the folders is not right.
    #[error("{0}")]
    Refused(String),
    /// The file system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The new store can't be written.
    #[error("the new store can't be written: {0}")]
    New(String),
}

impl From<StoreFailure> for SalvageError {
    fn from(failure: StoreFailure) -> Self {
        Self::New(failure.0)
    }
}

impl From<JournalError> for SalvageError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io { source, .. } => Self::Io(source),
            other => Self::New(other.to_string()),
        }
    }
}

impl From<OpenFailure> for SalvageError {
    fn from(failure: OpenFailure) -> Self {
        match failure {
            OpenFailure::Io(error) => Self::Io(error),
            OpenFailure::Refused(error) => Self::from(error),
            OpenFailure::Damaged(failure) => Self::New(failure.0),
        }
    }
}
