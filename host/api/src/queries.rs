//! Query parameters. A parameter that is not listed here is an error, so that a misspelt filter
//! never passes as no filter.

use serde::{Deserialize, Serialize};
use usher_event::{Digest, PluginName, SubscriptionName};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;

/// Default number of items in one response.
pub const PAGE_DEFAULT: usize = 100;

/// Limit on items in one response.
pub const PAGE_MAX: usize = 1000;

/// Limit on events in one step of a replay or a dry run.
pub const REPLAY_MAX_EVENTS: usize = 256;

/// `GET /events`
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// First sequence to read.
    #[param(default = 1)]
    pub from: Option<u64>,
    /// The sequence to stop before; by default the end of the log.
    pub to: Option<u64>,
    /// From which end to read.
    #[param(inline)]
    pub order: Option<ReadOrder>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub max: Option<usize>,
    /// Only events whose type starts with this.
    #[serde(rename = "type")]
    #[param(min_length = 1)]
    pub type_prefix: Option<String>,
    /// Only events that match this filter, as JSON.
    pub filter: Option<String>,
    /// Only events recorded at this time or later.
    pub since: Option<Timestamp>,
    /// Only events recorded before this time.
    pub until: Option<Timestamp>,
}

/// From which end part of the log is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadOrder {
    /// In the order of the log.
    #[default]
    Oldest,
    /// Backwards; continue with `next` as `to`.
    Newest,
}

/// `GET /events/stream`
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// First sequence to send; by default the next one to be appended.
    pub from: Option<u64>,
    /// Only events whose type starts with this.
    #[serde(rename = "type")]
    #[param(min_length = 1)]
    pub type_prefix: Option<String>,
    /// Only events that match this filter, as JSON.
    pub filter: Option<String>,
}

/// `POST /subscriptions/{plugin}/{name}/replay` and `…/dry-run`
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReplayQuery {
    /// First sequence.
    #[param(default = 1)]
    pub from: Option<u64>,
    /// The sequence to stop before; by default the current end of the log.
    pub to: Option<u64>,
    /// Limit on events; by default 256 for a replay and 16 for a dry run.
    #[param(minimum = 1, maximum = 256)]
    pub max: Option<usize>,
    /// Only events whose type starts with this.
    #[serde(rename = "type")]
    #[param(min_length = 1)]
    pub type_prefix: Option<String>,
    /// Only events that match this filter, as JSON.
    pub filter: Option<String>,
}

/// `GET /dead-letters`
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeadLettersQuery {
    /// Only those after this id.
    pub after: Option<u64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub max: Option<usize>,
    /// Only those of this subscription.
    pub subscription: Option<SubscriptionName>,
    /// Only those of this plugin's subscriptions.
    pub plugin: Option<PluginName>,
    /// Only those that ended with this class of failure: `retry`, `reject`, `trap`, `timeout`,
    /// `limit`, `emission` or `host`.
    pub class: Option<String>,
    /// Only those with exactly this reason of the last failure.
    pub reason: Option<String>,
    /// Only those whose event's type starts with this.
    #[serde(rename = "type")]
    pub type_prefix: Option<String>,
    /// Only those given up at this time or later.
    pub since: Option<Timestamp>,
    /// Only those given up before this time.
    pub until: Option<Timestamp>,
}

/// `GET /audit`
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only those after this number.
    pub after: Option<u64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub max: Option<usize>,
}

/// `GET /blobs`
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BlobsQuery {
    /// Only those after this digest.
    pub after: Option<Digest>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub max: Option<usize>,
}

/// `GET /plugins/{plugin}/state`
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StateQuery {
    /// Only what follows `after_key` in this bucket, and the buckets behind it.
    pub after_bucket: Option<String>,
    /// See `after_bucket`.
    pub after_key: Option<String>,
    /// As it stood once the event with this sequence was appended.
    pub at: Option<u64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub max: Option<usize>,
}

/// `GET /logs`
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// Only lines of this plugin.
    pub plugin: Option<PluginName>,
    /// Only lines written while this event was handled.
    pub sequence: Option<u64>,
    /// Only those after this number.
    pub after: Option<u64>,
    /// How many at most: the newest.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub max: Option<usize>,
}

/// `POST /backup`
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BackupQuery {
    /// Destination of the copy: an absolute path on the router's machine. The folder must not
    /// exist, its parent must.
    pub folder: String,
    /// An earlier backup on the same file system: an absolute path. Segments and blobs that it has as
    /// well are not copied but linked to.
    pub base: Option<String>,
}
