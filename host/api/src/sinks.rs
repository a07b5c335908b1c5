//! `/sinks`: servers that events are delivered to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use usher_event::{PluginName, SubscriptionName};
use utoipa::ToSchema;

use super::{Breaker, PluginState};

/// Response to `GET /sinks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sinks {
    /// By name.
    pub sinks: Vec<Sink>,
}

/// A sink. The actions on plugins apply to it by its name, rollback excepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sink {
    /// Its name.
    pub name: PluginName,
    /// Where it delivers; without the query.
    pub url: String,
    /// `binary`, `structured` or `batch`.
    pub mode: String,
    /// Its subscription.
    pub subscription: Option<SubscriptionName>,
    /// Its state.
    pub state: PluginState,
    /// State of its breaker.
    pub breaker: Breaker,
    /// Reason for the state, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Deliveries handled since it was installed, including failed ones.
    pub handled: u64,
    /// Failed deliveries, by class.
    pub failed: BTreeMap<String, u64>,
}
