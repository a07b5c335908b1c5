//! Why a request came to nothing.

use std::io;
use std::time::Duration;

use http::{StatusCode, header};
use usher_api::Problem;

use crate::{Outcome, Response};

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection was refused.
    #[error("no router at {base}: start one with `usher run`")]
    NoRouter {
        /// The router's address.
        base: String,
    },
    /// The host's name doesn't resolve.
    #[error("no such host: {base}")]
    NoHost {
        /// The router's address.
        base: String,
    },
    /// No answer within the time limit.
    #[error("{base} did not answer in time")]
    Timeout {
        /// The router's address.
        base: String,
    },
    /// Anything else between here and the router.
    #[error("{base}: {error}")]
    Transport {
        /// The router's address.
        base: String,
        /// What happened.
        error: ureq::Error,
    },
    /// The request can't be written as HTTP.
    #[error("{base}: {error}")]
    Invalid {
        /// The router's address.
        base: String,
        /// Why.
        error: String,
    },
    /// The answer is not what the API returns.
    #[error("{url} returned something unexpected: {error}")]
    Unexpected {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// The router refused.
    #[error("{0}")]
    Refused(Box<Refusal>),
}

impl Error {
    pub(crate) fn transport(base: &str, error: ureq::Error) -> Self {
        let base = base.to_owned();
        match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Self::NoRouter { base }
            }
            ureq::Error::HostNotFound => Self::NoHost { base },
            ureq::Error::Timeout(_) => Self::Timeout { base },
            error => Self::Transport { base, error },
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

/// A status other than success, with the router's explanation where there is one.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The explanation.
    pub problem: Option<Problem>,
    retry_after: Duration,
}

impl Refusal {
    /// `None` for a success.
    pub(crate) fn of(response: &Response) -> Option<Self> {
        (!response.status.is_success()).then(|| Self::new(response))
    }

    pub(crate) fn new(response: &Response) -> Self {
        let seconds = response.header(header::RETRY_AFTER.as_str());
        let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(1);
        Self {
            status: response.status,
            problem: serde_json::from_slice(&response.body).ok(),
            retry_after: Duration::from_secs(seconds),
        }
    }

    pub(crate) fn into_outcome<T>(self) -> Outcome<T> {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => Outcome::Busy(self.retry_after),
            _ => Outcome::Refused(self),
        }
    }

    /// Whether the router has no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.problem {
            Some(problem) => f.write_str(&problem.detail),
            None => write!(f, "the router answered with status {}", self.status.as_u16()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn refusals_repeat_the_routers_words() {
        let refusal = |status: u16, body: &[u8]| {
            let status = StatusCode::from_u16(status).unwrap();
            Refusal::new(&Response { status, headers: HeaderMap::new(), body: body.to_vec() })
        };
        let body = br#"{"type":"about:blank","title":"t","status":404,"detail":"not there"}"#;
        assert_eq!(refusal(404, body).to_string(), "not there");
        assert_eq!(refusal(502, b"<html>").to_string(), "the router answered with status 502");
    }
}
