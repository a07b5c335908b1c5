//! Errors of the SDK and failures of a delivery.

use std::fmt::{self, Display};
use std::time::Duration;

/// Why a delivery was not handled. Its effects are dropped in either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Transient: the host retries until the subscription's limits are reached.
    Retry {
        /// Why, for the operator.
        reason: String,
        /// Minimum delay before the next attempt. It can extend the host's backoff but not shorten
        /// it. A delay past the subscription's maximum age is cut to it, and that attempt is the
        /// last.
        after: Option<Duration>,
    },
    /// Permanent: the event becomes a dead letter of this subscription at once.
    Reject {
        /// Why, for the operator.
        reason: String,
    },
}

impl Failure {
    /// A transient failure.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), after: None }
    }

    /// A transient failure with a minimum delay before the next attempt.
    pub fn retry_after(reason: impl Into<String>, after: Duration) -> Self {
        Self::Retry { reason: reason.into(), after: Some(after) }
    }

    /// A permanent failure.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject { reason: reason.into() }
    }

    /// The reason, for the operator.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Retry { reason, .. } | Self::Reject { reason } => reason,
        }
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        matches!(self, Self::Retry { .. })
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Failure {}

/// An error of an SDK call. `?` converts it into the [`Failure`] noted at each variant; use
/// [`OrFail`] to choose another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not granted by the operator; the text names the missing grant. Retried: the grant may arrive
    /// in the meantime.
    Denied(String),
    /// The service is unreachable or failed. Retried.
    Unavailable(String),
    /// Timed out. Retried.
    TimedOut(String),
    /// A limit is reached; the text says which. Rejected.
    Limit(String),
    /// Invalid input. Rejected.
    Invalid(String),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text)
            | Self::Unavailable(text)
            | Self::TimedOut(text)
            | Self::Limit(text)
            | Self::Invalid(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Denied(reason) | Error::Unavailable(reason) | Error::TimedOut(reason) => {
                Self::retry(reason)
            }
            Error::Limit(reason) | Error::Invalid(reason) => Self::reject(reason),
        }
    }
}

/// Converts any `Result` or `Option` into a [`Failure`] of the chosen kind.
///
/// ```
/// use usher_sdk::prelude::*;
///
/// fn seat(text: &str) -> Result<u32, Failure> {
///     let (_row, number) = text.split_once('/').or_reject("a seat is ROW/NUMBER")?;
///     number.parse().or_reject("seat number")
/// }
///
/// assert_eq!(seat("7/12"), Ok(12));
/// assert_eq!(seat("7/x").unwrap_err().reason(), "seat number: invalid digit found in string");
/// ```
pub trait OrFail<T> {
    /// Returns the value, or [`Failure::Retry`] with the context followed by the error.
    ///
    /// # Errors
    /// If there is no value.
    fn or_retry(self, context: impl Display) -> Result<T, Failure>;

    /// Returns the value, or [`Failure::Reject`] with the context followed by the error.
    ///
    /// # Errors
    /// If there is no value.
    fn or_reject(self, context: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    fn or_retry(self, context: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::retry(format!("{context}: {error}")))
    }

    fn or_reject(self, context: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::reject(format!("{context}: {error}")))
    }
}

impl<T> OrFail<T> for Option<T> {
    fn or_retry(self, context: impl Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::retry(context.to_string()))
    }

    fn or_reject(self, context: impl Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::reject(context.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_failures_of_the_fitting_kind() {
        let kind = |error: Error| Failure::from(error).is_retry();
        assert!(kind(Error::Denied("d".into())));
        assert!(kind(Error::Unavailable("u".into())));
        assert!(kind(Error::TimedOut("t".into())));
        assert!(!kind(Error::Limit("l".into())));
        assert!(!kind(Error::Invalid("i".into())));
    }

    #[test]
    fn context_comes_first() {
        let broken: Result<(), &str> = Err("torn");
        assert_eq!(broken.or_retry("reading"), Err(Failure::retry("reading: torn")));
        assert_eq!(None::<()>.or_reject("no seat"), Err(Failure::reject("no seat")));
    }
}
