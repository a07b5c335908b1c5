//! `/states`: in which states producers are refused or deliveries are held.

use serde::{Deserialize, Serialize};

/// Answer to `GET /states`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct States {
    /// Those that hold.
    pub(crate) states: Vec<StateHeld>,
}

/// A state that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateHeld {
    /// Its name.
    pub(crate) name: String,
    /// What it means, and what to do.
    pub(crate) meaning: String,
    /// Whom it concerns: subscriptions or plugins by name, or `router`.
    pub(crate) concerned: Vec<String>,
}
