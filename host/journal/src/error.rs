//! What may go wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Why a journal can't do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Something is missing, or not what was written.
    #[error("journal {segment} at byte {byte}: {reason}")]
    Damaged {
        /// The name of the segment's file.
        segment: String,
        /// Where in it.
        byte: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The service that keeps the journal refused, or what it keeps is not what this node knows.
    #[error("journal stream {stream}: {reason}")]
    Service {
        /// The name of the stream there.
        stream: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A newer epoch has begun: somebody else appends.
    #[error("epoch {epoch} is over: epoch {newer} has begun, with which another owns the journal")]
    Fenced {
        /// The epoch of the append.
        epoch: u64,
        /// The newest.
        newer: u64,
    },
    /// Another record has the position.
    #[error("position {asked} was expected to be the end, which is {end}")]
    Position {
        /// That of the append.
        asked: u64,
        /// The end.
        end: u64,
    },
    /// The record is longer than may be.
    #[error("a record of {bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// What is asked for was given up.
    #[error("position {asked} was trimmed: the journal starts at {start}")]
    Trimmed {
        /// The position.
        asked: u64,
        /// The oldest there is.
        start: u64,
    },
    /// An earlier write failed, so that the end is unknown.
    #[error("an earlier write failed: {0}")]
    Failed(String),
}

/// The first failure after which a provider appends nothing more.
#[derive(Debug, Default)]
pub struct FirstFailure(OnceLock<String>);

impl FirstFailure {
    /// Notes a failure, unless there was one before; returns it.
    pub fn note(&self, error: JournalError) -> JournalError {
        // The first one is kept.
        let _ = self.0.set(error.to_string());
        error
    }

    /// Notes why nothing more is appended, unless something failed before.
    pub(crate) fn close(&self, reason: &str) {
        let _ = self.0.set(reason.to_owned());
    }

    /// Why nothing more is appended; `None` while nothing failed.
    pub fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Whether nothing failed so far.
    ///
    /// # Errors
    /// What failed.
    pub fn check(&self) -> Result<(), JournalError> {
        self.reason().map_or(Ok(()), |reason| Err(JournalError::Failed(reason.to_owned())))
    }
}

impl JournalError {
    pub(crate) fn io<'a>(
        what: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(segment: &str, byte: u64, reason: impl Into<String>) -> Self {
        Self::Damaged { segment: segment.to_owned(), byte, reason: reason.into() }
    }
}
