//! Tiers of compiled code.

use std::str::FromStr;

/// How much a compilation does for the speed of the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// As little as possible: compiles in less than half the time.
    Baseline,
    /// All there is.
    #[default]
    Optimised,
}

impl Tier {
    /// The name by which a compiler process is told.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Optimised => "optimised",
        }
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tiers = [Self::Baseline, Self::Optimised];
        let found = tiers.into_iter().find(|tier| tier.as_str() == text);
        found.ok_or_else(|| format!("there is no tier {text:?}"))
    }
}
