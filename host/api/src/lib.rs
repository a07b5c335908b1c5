//! The HTTP API as types: the [`routes`], their queries, what they return, and problems.
//!
//! The server returns these types and its clients read them. [`document`] derives the OpenAPI
//! description from them. Nothing here does I/O.

mod audit;
mod dead_letters;
mod events;
mod explanation;
mod flows;
mod hiding;
mod logs;
mod nodes;
mod openapi;
mod overview;
mod plugins;
mod problem;
mod queries;
mod recordings;
mod replays;
pub mod routes;
mod scalar;
mod schedules;
mod sinks;
mod state;
mod states;
mod store;
mod subscriptions;
mod tokens;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use audit::*;
pub use dead_letters::*;
pub use events::*;
pub use explanation::*;
pub use flows::*;
pub use hiding::HasEvents;
pub use logs::*;
pub use nodes::*;
pub use openapi::document;
pub use overview::*;
pub use plugins::*;
pub use problem::{PROBLEM_JSON, Problem, Refusal};
pub use queries::*;
pub use recordings::*;
pub use replays::*;
pub use routes::{AT_LEAST, Method, Route, SEQUENCE_HEADER};
pub use scalar::{CloudEvent, Timestamp};
pub use schedules::*;
pub use sinks::*;
pub use state::*;
pub use states::*;
pub use store::*;
pub use subscriptions::*;
pub use tokens::*;
pub use usher_access::{Scope, TokenScope};

/// Response to `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
}
