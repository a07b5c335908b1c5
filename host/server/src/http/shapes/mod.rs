//! The JSON of the HTTP API, one struct for each shape.
//!
//! The server writes them and the command line reads the same structs, so that what people see
//! and what programs get is one truth. `openapi.json` describes them; a test holds the two
//! together.

mod audit;
mod convert;
mod dead_letters;
mod dry_run;
mod events;
mod explanation;
mod flows;
mod plugins;
mod replays;
mod scalar;
mod schedules;
mod states;
mod store;
mod subscriptions;

use serde::{Deserialize, Serialize};

pub(crate) use audit::*;
pub(crate) use dead_letters::*;
pub(crate) use events::*;
pub(crate) use explanation::*;
pub(crate) use flows::*;
pub(crate) use plugins::*;
pub(crate) use replays::*;
pub(crate) use scalar::{CloudEvent, Timestamp};
pub(crate) use schedules::*;
pub(crate) use states::*;
pub(crate) use store::*;
pub(crate) use subscriptions::*;

/// Answer to `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    /// `ok`.
    pub(crate) status: String,
}

/// An error (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// What kind of problem, as a URI.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The kind in words; the same for every problem of the kind.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong here, and what to do.
    pub(crate) detail: String,
    /// The attribute that breaks a rule, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attribute: Option<String>,
    /// The member of the batch it is about; the first is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<usize>,
}
