//! How long an instance lives, and with it what a plugin's deliveries can see of one another.

use serde::Serialize;

/// How long an instance lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// It takes one delivery after another, and its memory lives on between them. It goes after so
    /// many deliveries, once its memory has grown large, once it has waited for a minute, and
    /// whenever a delivery trapped or was cut off.
    #[default]
    Warm,
    /// It takes one delivery and goes: nothing survives.
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
