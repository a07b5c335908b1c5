//! `/tokens`: lists, creates and revokes tokens.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use usher_access::{PREFIX_MAX_BYTES, Permissions, SCOPES_MAX};
use usher_api::{NewToken, Timestamp, TokenCreated, TokenRevoked, Tokens};
use usher_event::{TokenName, media};

use super::client::Client;
use super::detached::detached;
use super::ingest;
use super::params::PathParams;
use super::problem::ApiError;
use super::state::Api;
use crate::access::{Identity, Token, TokenError};

/// All tokens.
pub(super) async fn list(State(api): State<Api>) -> Json<Tokens> {
    let tokens = api.access.tokens();
    Json(Tokens { tokens: tokens.iter().map(|token| project(token)).collect() })
}

/// Creates one.
pub(super) async fn create(
    State(api): State<Api>,
    identity: Identity,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_none_or(|value| media::essence(value) != "application/json") {
        return Err(ApiError::unsupported_media_type("send the token as application/json"));
    }
    let body = ingest::read(&api, client.connection(), &headers, body).await?;
    let new: NewToken = serde_json::from_slice(body.json()?)
        .map_err(|error| ApiError::invalid(format!("the token: {error}")))?;
    let NewToken { name, scopes, source_prefix, expires } = new;
    if !(1..=SCOPES_MAX).contains(&scopes.len()) {
        return Err(ApiError::invalid(format!("scopes: use 1 to {SCOPES_MAX}")));
    }
    let prefix_bytes = source_prefix.as_ref().map_or(1, String::len);
    if !(1..=PREFIX_MAX_BYTES).contains(&prefix_bytes) {
        return Err(ApiError::invalid(format!("source_prefix: use 1 to {PREFIX_MAX_BYTES} bytes")));
    }
    let permissions = Permissions { scopes, source_prefix };
    let expires_ms = expires.map(Timestamp::as_ms);
    let (shared, by) = (api.clone(), identity.actor.clone());
    let create = async move {
        let broker = &*shared.running.broker;
        shared.access.create(broker, &by, name, permissions, expires_ms).await
    };
    let (token, secret) = detached(create).await?;
    tracing::info!(token = %token.name, by = %identity.actor, "token created");
    let created = TokenCreated { token: project(&token), secret: secret.reveal().to_owned() };
    let mut response = (StatusCode::CREATED, Json(created)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Revokes one.
pub(super) async fn revoke(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<TokenRevoked>, ApiError> {
    let name: TokenName =
        name.parse().map_err(|error| ApiError::invalid(format!("token: {error}")))?;
    let (by, revoked) = (identity.actor.clone(), name.clone());
    let revoke = async move { api.access.revoke(&*api.running.broker, &by, &revoked).await };
    detached(revoke).await?;
    tracing::info!(token = %name, by = %identity.actor, "token revoked");
    Ok(Json(TokenRevoked { name }))
}

fn project(token: &Token) -> usher_api::Token {
    usher_api::Token {
        name: token.name.clone(),
        scopes: token.permissions.scopes.clone(),
        source_prefix: token.permissions.source_prefix.clone(),
        created: token.created_ms.map(Timestamp::from_ms),
        expires: token.expires_ms.map(Timestamp::from_ms),
        last_used: token.last_used_ms().map(Timestamp::from_ms),
        configured: token.is_configured(),
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        let detail = error.to_string();
        match error {
            TokenError::NotFound(_) => Self::not_found(detail),
            TokenError::Reserved(_) | TokenError::Past => Self::invalid(detail),
            TokenError::Exists(_)
            | TokenError::TooMany
            | TokenError::FirstNotAdmin
            | TokenError::LastAdmin(_)
            | TokenError::Configured(_) => Self::conflict(detail),
            TokenError::Broker(error) => error.into(),
            TokenError::NoRandom => Self::internal(detail),
        }
    }
}
