//! What is missing in a log that was rescued from a damaged one. Without this row nothing may be.

use bytes::Bytes;

use super::varint::{Parts, put};
use super::{Space, StoreFailure, View, keys};

const VERSION: u8 = 1;

/// The row's name in `meta`.
pub(crate) const LOST_KEY: &[u8] = b"lost";

/// The row's name in `meta`: the sequence from which on the journal has every change of rows, and the
/// position that it was trimmed to. Without it there is nothing that it hasn't.
pub(crate) const COVERED_KEY: &[u8] = b"covered";

/// What that row says, sequence and position; both 0 without it.
pub(crate) fn covered(view: &dyn View) -> Result<(u64, u64), StoreFailure> {
    let covered = view.get(Space::Meta, COVERED_KEY)?.unwrap_or_default();
    let numbers = (keys::first_number(&covered), keys::last_number(&covered));
    Ok((numbers.0.unwrap_or_default(), numbers.1.unwrap_or_default()))
}

/// Which events are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The lowest sequence from which on the duplicates window has all identities; 0 where it was
    /// not begun anew.
    pub(crate) window_from: u64,
    /// Runs of sequences without an event, the first and the last of each, rising.
    pub(crate) runs: Vec<(u64, u64)>,
}

impl Lost {
    /// What a store says of itself.
    pub(crate) fn read_from(view: &dyn View) -> Result<Self, StoreFailure> {
        let Some(row) = view.get(Space::Meta, LOST_KEY)? else { return Ok(Self::default()) };
        Self::read(&row).ok_or_else(|| StoreFailure::damaged(Space::Meta, LOST_KEY))
    }

    /// Whether all events from `first` to `last` are missing.
    pub(crate) fn has(&self, first: u64, last: u64) -> bool {
        self.runs.iter().any(|run| run.0 <= first && last <= run.1)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        put(&mut row, self.window_from);
        put(&mut row, self.runs.len() as u64);
        for (first, last) in &self.runs {
            put(&mut row, *first);
            put(&mut row, *last);
        }
        row
    }

    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        let mut parts = Parts::versioned(row, VERSION)?;
        let (window_from, count) = (parts.number()?, parts.number()?);
        let mut runs = Vec::new();
        for _ in 0..count {
            runs.push((parts.number()?, parts.number()?));
        }
        parts.end().map(|()| Self { window_from, runs })
    }
}
