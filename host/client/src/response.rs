//! What comes back: a response with any status, and what it means.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use usher_api::Problem;

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A header field as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What came of a request that the router may postpone or refuse.
#[derive(Debug)]
pub enum Outcome<T> {
    /// Done.
    Done(T),
    /// The router is busy; try again after this time.
    Busy(Duration),
    /// Refused.
    Refused(Refusal),
}

/// A status other than success, with the router's explanation where there is one.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The explanation.
    pub problem: Option<Problem>,
    retry_after: Duration,
    /// Whether the router has said when to try again.
    has_retry_after: bool,
}

impl Refusal {
    /// `None` for a success.
    pub(crate) fn of(response: &Response) -> Option<Self> {
        (!response.status.is_success()).then(|| Self::new(response))
    }

    pub(crate) fn new(response: &Response) -> Self {
        let seconds = response.header(header::RETRY_AFTER.as_str());
        let has_retry_after = seconds.is_some();
        let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(1);
        Self {
            status: response.status,
            problem: serde_json::from_slice(&response.body).ok(),
            retry_after: Duration::from_secs(seconds),
            has_retry_after,
        }
    }

    pub(crate) fn into_outcome<T>(self) -> Outcome<T> {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => Outcome::Busy(self.retry_after),
            _ => Outcome::Refused(self),
        }
    }

    /// How long to wait where the router can't do it now, as while another node takes over.
    pub fn passes_after(&self) -> Option<Duration> {
        let passes = self.status == StatusCode::SERVICE_UNAVAILABLE && self.has_retry_after;
        passes.then_some(self.retry_after)
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
