//! `/tokens`: who may use the API.

use serde::{Deserialize, Serialize};
use usher_access::TokenScope;
use usher_event::TokenName;
use utoipa::ToSchema;

use super::Timestamp;

/// Response to `GET /tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    /// By name.
    pub tokens: Vec<Token>,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its name.
    pub name: TokenName,
    /// What it permits.
    pub scopes: Vec<TokenScope>,
    /// What the source of the events it publishes must start with.
    pub source_prefix: Option<String>,
    /// When it was created; `null` for one of the configuration.
    pub created: Option<Timestamp>,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
    /// Whether it is from the configuration, which alone can revoke it.
    pub configured: bool,
}

/// Body of `POST /tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name, which no other token has.
    pub name: TokenName,
    /// What it permits: 1 to 16.
    #[schema(min_items = 1, max_items = 16)]
    pub scopes: Vec<TokenScope>,
    /// What the source of the events it publishes must start with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_prefix: Option<String>,
    /// When it expires; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Response to `POST /tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// The token.
    pub token: Token,
    /// Its secret, which is returned here and never again.
    pub secret: String,
}

/// Response to `DELETE /tokens/{token}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenRevoked {
    /// The name of the token, which is no longer accepted.
    pub name: TokenName,
}
