//! Parameters in paths and queries. Unknown ones are refused, so that a misspelt filter never
//! passes as no filter.

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;
use usher_api::{PAGE_DEFAULT, PAGE_MAX, Scope};
use usher_event::SubscriptionName;
use usher_filter::Filter;

use super::problem::ApiError;
use crate::access::Identity;

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

/// Parses a number in a path, such as a sequence.
///
/// # Errors
/// Not a whole number.
pub(super) fn number(name: &str, text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(format!("{name}: use a whole number")))
}

/// Builds a subscription's name from its two parts in a path.
///
/// # Errors
/// Not a valid name.
pub(super) fn subscription(plugin: &str, local: &str) -> Result<SubscriptionName, ApiError> {
    let name = format!("{plugin}/{local}").parse();
    name.map_err(|error| ApiError::invalid(format!("name: {error}")))
}

/// Combines the parameters `type` and `filter`; `None` if neither is given.
///
/// # Errors
/// `filter` is not a valid filter, or reads data that the caller may not; or no type can start with
/// `type_prefix`.
pub(super) fn filter(
    identity: &Identity,
    type_prefix: Option<&str>,
    filter: Option<&str>,
) -> Result<Option<Filter>, ApiError> {
    let prefix = type_prefix.map(Filter::type_prefix).transpose();
    let prefix = prefix.map_err(|error| ApiError::invalid(format!("type: {}", error.reason())))?;
    let filter = filter.map(Filter::parse).transpose();
    let filter = filter.map_err(|error| ApiError::invalid(error.to_string()))?;
    // What passes would tell what the data is.
    if filter.as_ref().is_some_and(Filter::reads_data) && !identity.may(Scope::ReadData) {
        return Err(ApiError::insufficient_scope(&identity.actor, Scope::ReadData));
    }
    Ok(prefix.into_iter().chain(filter).reduce(Filter::and))
}
