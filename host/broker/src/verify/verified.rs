//! What a verification found.

/// Most problems that are told in full.
pub const PROBLEMS_MAX: usize = 1_000;

/// What was found in a data folder.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What there is, and how much of it.
    pub counts: Vec<(&'static str, u64)>,
    /// Bytes of an unfinished commit at the end of the newest journal, which the next start cuts
    /// off. A crash leaves them; nothing in them was ever acknowledged.
    pub torn_bytes: u64,
    /// What doesn't hold together; at most [`PROBLEMS_MAX`].
    pub problems: Vec<Damage>,
    /// How many problems there are beyond those.
    pub more_problems: u64,
}

/// Something that doesn't hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file or the row.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn count(&mut self, what: &'static str, count: u64) {
        self.counts.push((what, count));
    }

    pub(super) fn problem(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Damage { place: place.into(), what: what.into() });
        } else {
            self.more_problems += 1;
        }
    }
}
