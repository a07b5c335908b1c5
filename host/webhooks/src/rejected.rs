//! Why a request is refused.

use usher_event::EventError;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// There is no signature.
    #[error(
        "the request is not signed: the header {header} is missing, or is not what it should be"
    )]
    NoSignature {
        /// The header.
        header: String,
    },
    /// No key has made the signature.
    #[error(
        "the signature in {header} is wrong: another secret made it, or the body was changed on its way"
    )]
    WrongSignature {
        /// The header.
        header: String,
    },
    /// The signature is too old, or from the future.
    #[error(
        "the request was signed {off_s} s from now, by the router's clock: more than is tolerated"
    )]
    Stale {
        /// How far it is off, seconds.
        off_s: u64,
    },
    /// The body is not JSON, but should be.
    #[error("the body is not JSON: {0}; set the webhook's content type to application/json")]
    NotJson(String),
    /// The event has no value for an attribute that it needs.
    #[error("the request has nothing for the event's {0}")]
    Missing(&'static str),
    /// The event breaks a rule.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl Rejected {
    /// Whether it doesn't prove whose it is.
    pub fn is_unproven(&self) -> bool {
        matches!(self, Self::NoSignature { .. } | Self::WrongSignature { .. } | Self::Stale { .. })
    }
}
