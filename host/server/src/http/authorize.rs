//! Decides who a caller is, and whether it may use a route.
//!
//! Callers present a token as `Authorization: Bearer` (RFC 6750, section 2.1), or by a client
//! certificate that the configuration ties to one. As long as there are
//! no tokens, those who connect locally need none. A token in the query is refused even where it
//! would be accepted elsewhere: addresses end up in logs and histories.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderMap, Uri, header};
use usher_access::SECRET_PREFIX;
use usher_api::{CloudEvent, HasEvents, Scope};
use usher_event::Event;

use super::client::Client;
use super::problem::{ApiError, Challenge};
use super::state::Front;
use crate::access::{Denied, Identity, Noted};
use crate::metrics::Refused;

/// Parameters that other APIs take tokens in.
const TOKEN_PARAMETERS: [&str; 2] = ["access_token", "token"];

/// Who calls, if it may use a route that requires `scope`.
///
/// # Errors
/// 400, 401, 403 or 429.
pub(super) fn identify(
    front: &Front,
    client: &Client,
    scope: Scope,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Identity, ApiError> {
    if uri.query().is_some_and(has_token) {
        return Err(ApiError::invalid(
            "tokens are not taken in the address, which is logged in many places: revoke this one \
             and send another as `Authorization: Bearer TOKEN`",
        ));
    }
    if !needs_token(front, client) {
        return Ok(Identity::local());
    }
    let identity = match bearer(headers)? {
        None if client.is_unproven() => {
            return Err(ApiError::unavailable(
                "the node that forwards this was not heard here yet, so that its client's certificate \
                 doesn't count",
            ));
        }
        None => certified(front, client).ok_or_else(|| refuse(front, client, Refused::Missing))?,
        Some(secret) => front.access.identify(secret).map_err(|denied| match denied {
            Denied::Unknown => refuse(front, client, Refused::Unknown),
            Denied::Expired(name) => refuse(front, client, Refused::Expired(name)),
        })?,
    };
    if !identity.may(scope) {
        front.metrics.refused(&Refused::Scope);
        return Err(ApiError::insufficient_scope(&identity.actor, scope));
    }
    Ok(identity)
}

/// Whether a client has to say who it is: not on this machine, as long as there are no tokens.
pub(super) fn needs_token(front: &Front, client: &Client) -> bool {
    !client.origin().is_local || front.access.is_required()
}

/// Who a client is by its certificate.
pub(super) fn certified(front: &Front, client: &Client) -> Option<Identity> {
    front.access.certified(client.certificate()?)
}

/// Whether a query has a token in it, by the name of a parameter or by the look of its value.
fn has_token(query: &str) -> bool {
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        TOKEN_PARAMETERS.contains(&name) || value.starts_with(SECRET_PREFIX)
    })
}

/// The secret that a request presents.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("there is more than one authorization header"));
        }
    };
    let scheme = value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    match scheme.and_then(|_| value.get(7..)) {
        Some(secret) => Ok(Some(secret.trim_ascii())),
        None => Err(ApiError::unauthorized(
            "authorization: only the scheme Bearer is taken",
            Challenge::InvalidRequest,
        )),
    }
}

/// Counts a failed attempt, and logs the first of an address.
fn refuse(front: &Front, client: &Client, why: Refused) -> ApiError {
    let address = client.origin().address;
    match front.failures.note(address) {
        Noted::TooMany(wait) => {
            front.metrics.refused(&Refused::Limited);
            let what = "too many requests from your address had no valid token; try again later";
            return ApiError::busy(what).after(wait);
        }
        Noted::First => {
            tracing::warn!(%address, reason = why.as_str(), "a request without a valid token was refused");
        }
        Noted::More => {}
    }
    front.metrics.refused(&why);
    let (detail, challenge) = match why {
        Refused::Expired(name) => {
            (format!("token {name} has expired; ask for another"), Challenge::InvalidToken)
        }
        Refused::Unknown => {
            ("no such token: it is wrong, or was revoked".to_owned(), Challenge::InvalidToken)
        }
        Refused::Missing | Refused::Scope | Refused::Limited => (
            "this needs a token: send it as `Authorization: Bearer TOKEN`; `usher tokens new` \
             creates one"
                .to_owned(),
            Challenge::Missing,
        ),
    };
    ApiError::unauthorized(detail, challenge)
}

impl Identity {
    /// Takes the data of events away, if it may not read that.
    pub(super) fn hide_data(&self, response: &mut impl HasEvents) {
        if !self.may(Scope::ReadData) {
            response.events_mut().for_each(CloudEvent::hide_data);
        }
    }

    /// Whether it may publish these.
    ///
    /// # Errors
    /// 403 for the first that it may not; `is_batch` says whether to name its place.
    pub(super) fn check_publish(&self, events: &[Event], is_batch: bool) -> Result<(), ApiError> {
        let Some(permissions) = self.permissions() else { return Ok(()) };
        for (member, event) in events.iter().enumerate() {
            permissions.check_publish(event.ty(), event.source()).map_err(|refusal| {
                ApiError::forbidden(refusal.to_string())
                    .about(refusal.attribute())
                    .of_member(is_batch.then_some(member))
            })?;
        }
        Ok(())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            let what = "a route asks who calls, and requires no scope";
            ApiError::internal(what).into_response()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_addresses_are_found() {
        for (query, expected) in [
            ("access_token=x", true),
            ("a=b&token", true),
            ("x=usher_abc", true),
            ("type=usher", false),
            ("max=1&type=my.usher_x", false),
        ] {
            assert_eq!(has_token(query), expected, "{query}");
        }
    }
}
