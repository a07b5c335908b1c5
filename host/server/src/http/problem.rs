//! Errors of the HTTP API: `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use usher_broker::BrokerError;
use usher_event::{BatchError, EventError, EventErrorKind};

use super::shapes::Problem;

/// How long a client should wait when the router says no and doesn't know better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The longest text repeated from a request, so that an error is never larger than its cause.
const DETAIL_MAX_CHARS: usize = 2048;

/// A request that was not done, and why.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    title: &'static str,
    detail: String,
    attribute: Option<String>,
    member: Option<usize>,
    retry_after: Option<Duration>,
}

impl ApiError {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
            attribute: None,
            member: None,
            retry_after: None,
        }
    }

    /// 400: something in the request can't be right.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid request", detail)
    }

    /// 403.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not found", detail)
    }

    /// 405.
    pub(super) fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed", detail)
    }

    /// 408: the body took too long.
    pub(super) fn timeout(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request timeout", detail)
    }

    /// 409: what is there stands against it.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 413.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", detail)
    }

    /// 415.
    pub(super) fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported media type", detail)
    }

    /// 421: the request was meant for another host.
    pub(super) fn misdirected(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected request", detail)
    }

    /// 429, with the time to wait.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).after(RETRY_AFTER)
    }

    /// 507: the disk is about to be full (RFC 4918, section 11.5).
    fn full(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk full", detail)
    }

    /// 500: not the client's doing.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", detail)
    }

    /// 503.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).after(RETRY_AFTER)
    }

    /// 400 for an event that breaks a rule of `attribute`.
    pub(super) fn invalid_event(attribute: &str, detail: impl Into<String>) -> Self {
        Self {
            attribute: Some(attribute.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, "invalid event", detail)
        }
    }

    /// The same, about one member of a batch.
    pub(super) fn of_member(self, member: Option<usize>) -> Self {
        Self { member, ..self }
    }

    fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }
}

impl From<EventError> for ApiError {
    fn from(error: EventError) -> Self {
        let (status, title) = match error.kind() {
            EventErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too large"),
            EventErrorKind::Malformed | EventErrorKind::Rule => {
                (StatusCode::BAD_REQUEST, "invalid event")
            }
        };
        Self {
            attribute: error.attribute().map(str::to_owned),
            ..Self::new(status, title, error.to_string())
        }
    }
}

impl From<BatchError> for ApiError {
    fn from(error: BatchError) -> Self {
        let detail = error.to_string();
        Self { detail, ..Self::from(error.reason).of_member(error.member) }
    }
}

impl From<BrokerError> for ApiError {
    fn from(error: BrokerError) -> Self {
        let detail = error.to_string();
        match error {
            BrokerError::TooLarge { member, .. } => Self::too_large(detail).of_member(Some(member)),
            BrokerError::BatchTooLong { .. } => Self::too_large(detail),
            BrokerError::Busy { retry_after }
            | BrokerError::Behind { retry_after, .. }
            | BrokerError::ManyRetries { retry_after, .. } => Self::busy(detail).after(retry_after),
            BrokerError::Full { retry_after, .. } => Self::full(detail).after(retry_after),
            BrokerError::NoSubscription(_) => Self::not_found(detail),
            BrokerError::Invalid(_) => Self::invalid(detail),
            BrokerError::Conflict(_) => Self::conflict(detail),
            BrokerError::Poisoned(_) | BrokerError::Closed => Self::unavailable(detail),
            BrokerError::Read(_) | BrokerError::Backup(_) => {
                tracing::error!(%error, "a request could not be answered");
                Self::internal(detail)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: cut(self.detail),
            attribute: self.attribute,
            member: self.member,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}

/// `Retry-After` has whole seconds; a fraction counts as one more, and none as one.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn cut(text: String) -> String {
    match text.char_indices().nth(DETAIL_MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_whole_seconds() {
        for (ms, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (90_000, 90)] {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), seconds, "{ms} ms");
        }
    }

    #[test]
    fn long_details_are_cut() {
        let text = cut("é".repeat(DETAIL_MAX_CHARS + 1));
        assert_eq!(text.chars().count(), DETAIL_MAX_CHARS + 1);
        assert!(text.ends_with('…'));
        assert_eq!(cut("short".to_owned()), "short");
    }
}
