//! Problems (RFC 9457): the body of every response other than a success, and when it is returned.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, as a URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// A summary of the kind, the same for every problem of that kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, and what to do.
    pub detail: String,
    /// The event attribute that breaks a rule, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// Index of the batch member it is about, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<usize>,
}

/// A status other than success, and when it is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Its name among the document's responses.
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// Whether it has a `Retry-After` header.
    pub(crate) is_retryable: bool,
}

impl Refusal {
    const fn final_(status: u16, name: &'static str, description: &'static str) -> Self {
        Self { status, name, description, is_retryable: false }
    }

    const fn retryable(status: u16, name: &'static str, description: &'static str) -> Self {
        Self { status, name, description, is_retryable: true }
    }
}

pub(crate) const INVALID: Refusal = Refusal::final_(
    400,
    "Invalid",
    "Something in the request is not valid; `detail` says what, `attribute` and `member` where.",
);
pub(crate) const UNAUTHORIZED: Refusal = Refusal::final_(
    401,
    "Unauthorized",
    "There is no token, or one that is unknown, revoked or expired; WWW-Authenticate says which.",
);
pub(crate) const FORBIDDEN: Refusal = Refusal::final_(
    403,
    "Forbidden",
    "The token lacks the scope, or the Origin header names a web page from elsewhere.",
);
pub(crate) const NOT_FOUND: Refusal = Refusal::final_(404, "NotFound", "There is no such thing.");
pub(crate) const TIMEOUT: Refusal = Refusal::final_(408, "Timeout", "The body took too long.");
pub(crate) const CONFLICT: Refusal = Refusal::final_(
    409,
    "Conflict",
    "Conflicts with the current state: a plugin serves it, the folder exists, another backup is \
     being made.",
);
pub(crate) const TOO_LARGE: Refusal =
    Refusal::final_(413, "TooLarge", "The body, an event or the batch exceeds a limit.");
pub(crate) const UNSUPPORTED_MEDIA_TYPE: Refusal = Refusal::final_(
    415,
    "UnsupportedMediaType",
    "Not a CloudEvent, or an encoding that is not supported.",
);
pub(crate) const MISDIRECTED: Refusal =
    Refusal::final_(421, "MisdirectedRequest", "The Host header names another machine.");
pub(crate) const BUSY: Refusal =
    Refusal::retryable(429, "Busy", "More than the router takes at once; nothing was done.");
pub(crate) const INTERNAL: Refusal = Refusal::final_(500, "Internal", "The store can't be read.");
pub(crate) const UNAVAILABLE: Refusal =
    Refusal::retryable(503, "Unavailable", "Starting, stopping, or the store has failed.");
pub(crate) const FULL: Refusal =
    Refusal::retryable(507, "Full", "The disk is almost full; nothing was stored.");

/// Every refusal, in the order of its status.
pub(crate) const REFUSALS: [Refusal; 13] = [
    INVALID,
    UNAUTHORIZED,
    FORBIDDEN,
    NOT_FOUND,
    TIMEOUT,
    CONFLICT,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    MISDIRECTED,
    BUSY,
    INTERNAL,
    UNAVAILABLE,
    FULL,
];
