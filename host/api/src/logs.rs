//! `/logs`: what plugins wrote.

use serde::{Deserialize, Serialize};
use usher_event::{PluginName, SubscriptionName};
use utoipa::ToSchema;

use super::Timestamp;

/// Response to `GET /logs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Logs {
    /// By number, oldest first.
    pub lines: Vec<LogLine>,
}

/// A line that a plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Rises from line to line; begins at 1 when the router starts.
    pub number: u64,
    /// When it was written.
    pub time: Timestamp,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The plugin.
    pub plugin: PluginName,
    /// The subscription of the delivery; absent outside of deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<SubscriptionName>,
    /// The event of the delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// `stdout`, `stderr` or `log`.
    pub stream: String,
    /// The line: secrets replaced, control characters escaped.
    pub text: String,
}
