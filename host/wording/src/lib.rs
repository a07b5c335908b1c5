//! What is known of events, deliveries and flows, in words: the same on the command line and on the
//! page. Nothing here knows how words are shown: a [`Phrase`] has a [`Tone`], to which a terminal
//! and a page give their colours.

mod delivery;
mod explanation;
mod flow;
mod text;

pub use delivery::{attempt, state};
pub use explanation::{details, headline};
pub use flow::{Branch, Child, FlowTree};
pub use text::{
    bytes, clock, count, date_time, duration, elapsed, now, printable, printable_cut, until,
    without_name,
};

/// Words, and how they are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    /// The words; untrusted text in them is escaped.
    pub words: String,
    /// How they are meant.
    pub tone: Tone,
}

/// How words are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Success.
    Good,
    /// Unfinished, or in need of attention.
    Open,
    /// Failure.
    Bad,
    /// Secondary information.
    Faint,
}

impl Phrase {
    fn new(tone: Tone, words: impl Into<String>) -> Self {
        Self { words: words.into(), tone }
    }
}
