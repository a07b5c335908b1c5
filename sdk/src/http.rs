//! HTTP client, limited to the origins the operator has granted.
//!
//! ```no_run
//! use usher_sdk::{Failure, http};
//!
//! fn charge(order: &str) -> Result<String, Failure> {
//!     let response = http::post("https://gateway.example/charges")
//!         .header("idempotency-key", order)
//!         .json(&order)?
//!         .send()?
//!         .success()?;
//!     Ok(response.json()?)
//! }
//! ```
//!
//! The host allows 10 calls per delivery and 1 MiB in each direction, and follows no redirects.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Failure, backend, url};

/// Maximum size of a response body.
pub const RESPONSE_MAX_BYTES: usize = 1024 * 1024;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Bytes of a response body that an error quotes.
const QUOTE_MAX_BYTES: usize = 200;

/// A GET request.
pub fn get(url: impl Into<String>) -> Request {
    Request::new("GET", url)
}

/// A POST request.
pub fn post(url: impl Into<String>) -> Request {
    Request::new("POST", url)
}

/// A PUT request.
pub fn put(url: impl Into<String>) -> Request {
    Request::new("PUT", url)
}

/// A DELETE request.
pub fn delete(url: impl Into<String>) -> Request {
    Request::new("DELETE", url)
}

/// A request builder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// Absolute: http or https.
    pub url: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// Total time for connecting, sending, waiting and reading.
    pub timeout: Duration,
}

impl Request {
    /// A request by any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: TIMEOUT_DEFAULT,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body to a value serialised as JSON, and the content type.
    ///
    /// # Errors
    /// [`Error::Invalid`] if JSON can't represent the value.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, Error> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Error::Invalid(format!("body for {}: {error}", self.url)))?;
        Ok(self.body(body, "application/json"))
    }

    /// Sets the body and its media type.
    pub fn body(mut self, body: impl Into<Vec<u8>>, content_type: impl Into<String>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Sets the total timeout; 10 s by default. The host's own limits apply as well.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends the request and reads the whole response, whatever its status.
    ///
    /// # Errors
    /// [`Error::Denied`] if the operator has not granted this origin, [`Error::TimedOut`],
    /// [`Error::Unavailable`] if the other side can't be reached or breaks off, [`Error::Limit`]
    /// for a response beyond [`RESPONSE_MAX_BYTES`], [`Error::Invalid`] for a malformed request.
    pub fn send(self) -> Result<Response, Error> {
        url::parse(&self.url)?;
        let (method, url) = (self.method.clone(), self.url.clone());
        let mut response = backend::http_send(self)?;
        response.request = format!("{method} {url}");
        Ok(response)
    }
}

/// A response with its whole body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status, such as 200.
    pub status: u16,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Method and URL, for errors.
    request: String,
}

impl Response {
    /// An empty response with this status; for tests.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The first value of a header; names are case-insensitive.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body, read from JSON.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it isn't JSON of this type: the service misbehaves and may
    /// recover.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Unavailable(format!("answer to {}: {error}", self.request)))
    }

    /// The delay in `Retry-After`, in seconds; the date form is ignored.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
    }

    /// The response if its status is 2xx.
    ///
    /// # Errors
    /// [`Failure::Retry`] for transient statuses (408, 425, 429, 5xx; after `Retry-After`, if set),
    /// [`Failure::Reject`] for any other, since the same request would fail again.
    pub fn success(self) -> Result<Self, Failure> {
        match self.status {
            200..=299 => Ok(self),
            408 | 425 | 429 | 500..=599 => {
                Err(Failure::Retry { reason: self.quote(), after: self.retry_after() })
            }
            _ => Err(Failure::reject(self.quote())),
        }
    }

    /// Request, status and the beginning of the body, in one line.
    fn quote(&self) -> String {
        let start = self.body.get(..QUOTE_MAX_BYTES).unwrap_or(&self.body);
        let line = String::from_utf8_lossy(start).split_whitespace().collect::<Vec<_>>().join(" ");
        let separator = if line.is_empty() { "" } else { ": " };
        format!("{} answered {}{separator}{line}", self.request, self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_decides_what_becomes_of_the_delivery() {
        for status in [200, 201, 204, 299] {
            assert!(Response::new(status).success().is_ok(), "{status}");
        }
        for status in [408, 425, 429, 500, 503] {
            assert!(Response::new(status).success().unwrap_err().is_retry(), "{status}");
        }
        for status in [301, 400, 402, 404, 409, 422] {
            assert!(!Response::new(status).success().unwrap_err().is_retry(), "{status}");
        }
    }

    #[test]
    fn hands_on_how_long_to_wait() {
        let failure = Response::new(503).with_header("Retry-After", "7").success().unwrap_err();
        assert!(
            matches!(failure, Failure::Retry { after: Some(after), .. } if after.as_secs() == 7)
        );
        let dated = Response::new(503).with_header("Retry-After", "Fri, 01 Jan 2027 00:00:00 GMT");
        assert_eq!(dated.retry_after(), None);
    }

    #[test]
    fn quotes_the_beginning_of_an_error() {
        let mut response = Response::new(422).with_body("no\nsuch   card".repeat(100));
        response.request = "POST http://x/".into();
        let reason = response.success().unwrap_err();
        assert!(
            reason.reason().starts_with("POST http://x/ answered 422: no such cardno such"),
            "{reason}"
        );
        assert!(reason.reason().len() < 260, "{reason}");
    }
}
