//! Parameters in paths and queries. Unknown ones are refused, so that a misspelt filter never
//! passes as no filter.

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
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

/// The parts of the path, or 400.
pub(super) struct PathParams<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(params)| Self(params))
            .map_err(|error| ApiError::invalid(format!("path: {}", error.body_text())))
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
    /// `filter` is not a filter, or no type begins with `type`.
    pub(super) fn filter(&self) -> Result<Option<Filter>, ApiError> {
        let prefix = self.type_prefix.as_deref().map(Filter::type_prefix).transpose();
        let prefix =
            prefix.map_err(|error| ApiError::invalid(format!("type: {}", error.reason())))?;
        let filter = self.filter.as_deref().map(Filter::parse).transpose();
        let filter = filter.map_err(|error| ApiError::invalid(error.to_string()))?;
        Ok(prefix.into_iter().chain(filter).reduce(Filter::and))
    }
}
