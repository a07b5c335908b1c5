//! Lifetime of instances, which determines what a plugin's deliveries can see of one another.

use serde::Serialize;

/// Lifetime of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Reused for many deliveries, one at a time; memory persists between them. Dropped after a
    /// number of deliveries, once its memory has grown large, after a minute idle, and after a trap
    /// or timeout.
    #[default]
    Warm,
    /// One instance per delivery; no memory persists.
    Fresh,
}

impl Isolation {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Warm, Self::Fresh];

    /// The name used in configuration and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Fresh => "fresh",
        }
    }
}
