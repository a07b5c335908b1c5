//! `/states`: in which states producers are refused or deliveries are held.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer to `GET /states`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct States {
    /// Those that hold.
    pub states: Vec<StateHeld>,
}

/// A state that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateHeld {
    /// Its name.
    pub name: String,
    /// What it means, and what to do.
    pub meaning: String,
    /// Whom it concerns: subscriptions or plugins by name, or `router`.
    pub concerned: Vec<String>,
}
