//! Who may do what: the scope that a route requires, the scopes that a token has, and the secret
//! that proves it. Nodes of a router prove themselves to each other with such a secret, too.
//!
//! Nothing here does I/O or knows HTTP.

mod permissions;
mod scope;
mod secret;

pub use permissions::{Permissions, PublishRefusal, SCOPES_MAX};
pub use scope::{PREFIX_MAX_BYTES, Scope, ScopeError, TokenScope};
pub use secret::{HashError, SECRET_PREFIX, TokenHash, TokenSecret};
