//! Errors of the HTTP API: `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use usher_broker::{Actor, BrokerError};
use usher_event::text::cut_chars;
use usher_event::{BatchError, EventError, EventErrorKind};

use usher_api::{PROBLEM_JSON, Problem, Scope};

/// Default for `Retry-After`.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Limit on request line and header fields together.
pub(super) const HEADER_MAX_BYTES: usize = 64 * 1024;

/// Limit on `detail`, so that an error doesn't echo a large request.
const DETAIL_MAX_CHARS: usize = 2048;

/// An error response.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    title: &'static str,
    detail: String,
    attribute: Option<String>,
    member: Option<usize>,
    retry_after: Option<Duration>,
    challenge: Option<Challenge>,
}

/// What `WWW-Authenticate` says (RFC 6750, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// There is no token.
    Missing,
    /// It is not presented as it should be.
    InvalidRequest,
    /// It is not accepted.
    InvalidToken,
    /// It lacks this scope.
    InsufficientScope(Scope),
}

impl Challenge {
    fn header(self) -> HeaderValue {
        let realm = "Bearer realm=\"usher\"";
        let text = match self {
            Self::Missing => realm.to_owned(),
            Self::InvalidRequest => format!("{realm}, error=\"invalid_request\""),
            Self::InvalidToken => format!("{realm}, error=\"invalid_token\""),
            Self::InsufficientScope(scope) => {
                let scope = scope.as_str().unwrap_or_default();
                format!("{realm}, error=\"insufficient_scope\", scope=\"{scope}\"")
            }
        };
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
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
            challenge: None,
        }
    }

    /// 400: something in the request is invalid.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid request", detail)
    }

    /// 401.
    pub(super) fn unauthorized(detail: impl Into<String>, challenge: Challenge) -> Self {
        Self {
            challenge: Some(challenge),
            ..Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        }
    }

    /// 403: the caller is known and lacks a scope.
    pub(super) fn insufficient_scope(caller: &Actor, scope: Scope) -> Self {
        let detail =
            format!("token {caller} lacks the scope {}", scope.as_str().unwrap_or_default());
        let challenge = Some(Challenge::InsufficientScope(scope));
        Self { challenge, ..Self::forbidden(detail) }
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

    /// 409: conflicts with current state.
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

    /// Whether it is a 429.
    pub(super) fn is_busy(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Whether it is a 415.
    pub(super) fn is_unsupported_media_type(&self) -> bool {
        self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE
    }

    /// What a refused webhook counts as.
    pub(super) fn outcome(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "unproven",
            StatusCode::TOO_MANY_REQUESTS => "busy",
            status if status.is_server_error() => "unavailable",
            _ => "invalid",
        }
    }

    /// 429, with the time to wait.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).after(RETRY_AFTER)
    }

    /// 431.
    pub(super) fn header_too_large() -> Self {
        let what =
            format!("the request's line and header fields may have {HEADER_MAX_BYTES} bytes");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header too large", what)
    }

    /// 507: the disk is about to be full (RFC 4918, section 11.5).
    fn full(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk full", detail)
    }

    /// 500: a fault of the router.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", detail)
    }

    /// 503.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).after(RETRY_AFTER)
    }

    /// 400 for an event that breaks a rule of `attribute`.
    pub(super) fn invalid_event(attribute: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid event", detail).about(attribute)
    }

    /// Sets the attribute of the event that the error is about.
    pub(super) fn about(self, attribute: &str) -> Self {
        Self { attribute: Some(attribute.to_owned()), ..self }
    }

    /// Sets the member of the batch that the error is about.
    pub(super) fn of_member(self, member: Option<usize>) -> Self {
        Self { member, ..self }
    }

    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The message.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// Sets the time to wait before trying again.
    pub(super) fn after(self, wait: Duration) -> Self {
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
            BrokerError::Away { retry_after } => Self::unavailable(detail).after(retry_after),
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

impl ApiError {
    /// As the API says it.
    pub(super) fn problem(&self) -> Problem {
        Problem {
            kind: "about:blank".to_owned(),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: cut_chars(&self.detail, DETAIL_MAX_CHARS).into_owned(),
            attribute: self.attribute.clone(),
            member: self.member,
        }
    }

    fn body(&self) -> Vec<u8> {
        serde_json::to_vec(&self.problem()).unwrap_or_default()
    }
}

/// Replaces an error response that hyper writes by itself, before there is a request, with one that
/// has a body. `None` if `bytes` are anything else.
pub(super) fn replace_bare_error(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = bytes.strip_suffix(b"\r\n\r\n").filter(|head| head.starts_with(b"HTTP/1.1 4"))?;
    let head = std::str::from_utf8(head).ok()?;
    let status = StatusCode::from_bytes(head.get(9..12)?.as_bytes()).ok()?;
    let mut lines = head.split("\r\n");
    let first = lines.next()?;
    let (empty, kept): (Vec<_>, Vec<_>) = lines.partition(|line| *line == "content-length: 0");
    if empty.is_empty() {
        return None;
    }
    let (title, detail) = match status {
        StatusCode::URI_TOO_LONG => ("address too long", "the address is too long".to_owned()),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            return Some(encode_response(first, &kept, &ApiError::header_too_large()));
        }
        _ => ("invalid request", "the request's line or header fields are not HTTP/1.1".to_owned()),
    };
    Some(encode_response(first, &kept, &ApiError::new(status, title, detail)))
}

/// The response to a request whose header does not arrive in time.
pub(super) fn header_timeout(timeout: Duration) -> Vec<u8> {
    let detail = format!("the header took longer than {} ms", timeout.as_millis());
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let error = ApiError::timeout(detail);
    encode_response("HTTP/1.1 408 Request Timeout", &[&format!("date: {date}")], &error)
}

/// The response to a request in plain text where TLS is spoken.
pub(super) fn plain_text() -> Vec<u8> {
    let error = ApiError::invalid("TLS is spoken here: use https:// in the address");
    encode_response("HTTP/1.1 400 Bad Request", &[], &error)
}

/// Serializes a whole response.
fn encode_response(first: &str, fields: &[&str], error: &ApiError) -> Vec<u8> {
    let body = error.body();
    let mut answer = format!("{first}\r\n");
    let fields = fields.iter().filter(|field| !field.starts_with("connection:"));
    fields.for_each(|field| answer.push_str(&format!("{field}\r\n")));
    answer.push_str(&format!(
        "connection: close\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    [answer.into_bytes(), body].concat()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge.header());
        }
        response
    }
}

/// `Retry-After` is in whole seconds: rounds up, to at least 1.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
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
        let text = cut_chars(&"é".repeat(DETAIL_MAX_CHARS + 1), DETAIL_MAX_CHARS).into_owned();
        assert_eq!(text.chars().count(), DETAIL_MAX_CHARS + 1);
        assert!(text.ends_with('…'));
        assert_eq!(cut_chars("short", DETAIL_MAX_CHARS), "short");
    }
}
