//! `/plugins/{plugin}/state`: what plugins keep.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Response to `GET /plugins/{plugin}/state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateValues {
    /// By bucket and key.
    pub values: Vec<StateValue>,
}

/// A value of a plugin's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateValue {
    /// The bucket it is in.
    pub bucket: String,
    /// Its key there.
    pub key: String,
    /// Length of the value.
    pub size_bytes: u64,
    /// The value, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}
