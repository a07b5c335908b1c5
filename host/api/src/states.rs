//! `/states`: active states in which producers are refused or deliveries are held.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Response to `GET /states`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct States {
    /// The active states.
    pub states: Vec<StateHeld>,
}

/// An active state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateHeld {
    /// Its name.
    pub name: String,
    /// What it means, and what to do.
    pub meaning: String,
    /// What it applies to: subscriptions or plugins by name, or `router`.
    pub concerned: Vec<String>,
}
