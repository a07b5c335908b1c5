//! Parameters in paths and queries. Unknown ones are refused, so that a misspelt filter never
//! passes as no filter.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use usher_event::SubscriptionName;
use usher_filter::Filter;

use super::problem::ApiError;

/// Items in one answer unless the client says otherwise.
const PAGE_DEFAULT: usize = 100;

/// Items in one answer at most.
pub(super) const PAGE_MAX: usize = 1000;

/// The query, or 400.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|error| ApiError::invalid(error.body_text()))
    }
}

/// The `max` parameter.
///
/// # Errors
/// It is 0 or larger than [`PAGE_MAX`].
pub(super) fn page(max: Option<usize>) -> Result<usize, ApiError> {
    match max {
        None => Ok(PAGE_DEFAULT),
        Some(max) if (1..=PAGE_MAX).contains(&max) => Ok(max),
        Some(_) => Err(ApiError::invalid(format!("max: use 1 to {PAGE_MAX}"))),
    }
}

/// A number in a path, such as a sequence.
///
/// # Errors
/// It is none.
pub(super) fn number(name: &str, text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(format!("{name}: use a whole number")))
}

/// A subscription's name, of its two parts in a path.
///
/// # Errors
/// They make none.
pub(super) fn subscription(plugin: &str, local: &str) -> Result<SubscriptionName, ApiError> {
    let name = format!("{plugin}/{local}").parse();
    name.map_err(|error| ApiError::invalid(format!("name: {error}")))
}

/// The parameters that choose events.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// First sequence to look at.
    pub(super) from: Option<u64>,
    /// At most so many events; not for streams.
    pub(super) max: Option<usize>,
    /// What the type starts with.
    #[serde(rename = "type")]
    pub(super) type_prefix: Option<String>,
    /// A filter of the CloudEvents Subscriptions API, as JSON.
    pub(super) filter: Option<String>,
}

impl Choice {
    /// What `type` and `filter` ask for together; `None` for every event.
    ///
    /// # Errors
    /// `filter` is not a filter, or `type` is empty.
    pub(super) fn filter(&self) -> Result<Option<Filter>, ApiError> {
        let mut wanted: Vec<Value> = Vec::new();
        if let Some(prefix) = &self.type_prefix {
            if prefix.is_empty() {
                return Err(ApiError::invalid("type: leave it out to take every type"));
            }
            wanted.push(json!({ "prefix": { "type": prefix } }));
        }
        if let Some(text) = &self.filter {
            let filter = serde_json::from_str(text)
                .map_err(|error| ApiError::invalid(format!("filter: not JSON: {error}")))?;
            wanted.push(filter);
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        Filter::from_json(&json!({ "all": wanted }))
            .map(Some)
            .map_err(|error| ApiError::invalid(format!("filter: {error}")))
    }
}
