//! Checks every request before a handler sees it: it must be unambiguous and meant for this router.
//!
//! Requests that violate RFC 9112 in a way that lets a proxy in front parse them differently are
//! refused. Web pages are kept out, because a router without tokens asks for none: a page in a
//! browser on the same machine could submit forms across origins, or resolve a name of its own to
//! 127.0.0.1 (DNS rebinding). Programs send neither an `Origin` nor a foreign `Host`. The router's
//! own names are the loopback ones, those of its certificate, and `allowed_hosts`.

use std::net::IpAddr;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Uri, Version, header};

use usher_api::routes;

use super::connections::Connection;
use super::problem::{ApiError, HEADER_MAX_BYTES};
use super::state::Front;

/// Prefixes of paths for events and blobs, which spare connections may not request; also for the
/// page, which has the API under a path of its own, and streams.
const BULK: [&str; 6] =
    ["/events", "/blobs", "/ui/api/events", "/ui/api/blobs", "/ui/events", "/ui/live"];

/// Refuses requests that are ambiguous, not meant for this router, or not allowed on a spare
/// connection.
///
/// # Errors
/// The response to such a request.
#[allow(clippy::result_large_err, reason = "it goes to the client as it is")]
pub(super) fn admit(front: &Front, client: &Connection, request: &Request) -> Result<(), Response> {
    let allowed = &front.config.http.allowed_hosts;
    let (uri, headers) = (request.uri(), request.headers());
    let is_ours = |host: &str| {
        is_loopback(host)
            || allowed.iter().any(|one| one.eq_ignore_ascii_case(host))
            || front.tls.as_ref().is_some_and(|tls| tls.covers(host))
    };
    let checked = size(uri, headers)
        .and_then(|()| framing(headers))
        .and_then(|()| authority(request.version(), request.method(), uri, headers))
        .and_then(|authority| check_origin(authority.as_ref(), uri.path(), headers, is_ours));
    if let Err(error) = checked {
        // It is uncertain where this request ends, so the connection can't be reused.
        return Err(([(header::CONNECTION, "close")], error).into_response());
    }
    if client.is_spare && BULK.iter().any(|start| uri.path().starts_with(start)) {
        if request.method() == Method::POST {
            front.busy.note();
        }
        let what = "all places for connections are taken; close some, or try again";
        return Err(ApiError::busy(what).into_response());
    }
    Ok(())
}

/// Checks the size of the header as a whole; hyper's own limit depends on how it buffers.
fn size(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    // A name, a colon, a space, a value, and the end of the line.
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let query_bytes = uri.query().map_or(0, str::len);
    if uri.path().len() + query_bytes + fields.sum::<usize>() > HEADER_MAX_BYTES {
        return Err(ApiError::header_too_large());
    }
    Ok(())
}

/// Checks that the body's length is unambiguous (RFC 9112, section 6).
fn framing(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
    {
        return Err(ApiError::invalid(
            "transfer-encoding: only chunked, once and alone, is taken; send the body as it is",
        ));
    }
    Ok(())
}

/// Returns the request's authority; target and `Host` must agree (RFC 9112, section 3.2).
fn authority(
    version: Version,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<Authority>, ApiError> {
    let host = unique_header(headers, header::HOST)?.map(|host| host.parse::<Authority>());
    let host = match host {
        None if version == Version::HTTP_11 => {
            return Err(ApiError::invalid("there is no host header, which HTTP/1.1 asks for"));
        }
        None => None,
        Some(Ok(host)) if !host.as_str().contains('@') && !host.host().is_empty() => Some(host),
        Some(_) => {
            return Err(ApiError::invalid("host: use a name or address, and perhaps a port"));
        }
    };
    let target = uri.authority().filter(|_| method != Method::CONNECT);
    match (target, host) {
        (None, host) => Ok(host),
        (Some(target), None) => Ok(Some(target.clone())),
        (Some(target), Some(host)) if target.as_str().eq_ignore_ascii_case(host.as_str()) => {
            Ok(Some(host))
        }
        (Some(_), Some(_)) => {
            Err(ApiError::invalid("the request's target names another host than the host header"))
        }
    }
}

/// Checks that the request is meant for this router and doesn't come from a foreign origin.
fn check_origin(
    authority: Option<&Authority>,
    path: &str,
    headers: &HeaderMap,
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), ApiError> {
    if let Some(authority) = authority
        && !is_ours(authority.host())
        && !routes::is_probe(path)
    {
        return Err(ApiError::misdirected(
            "the host header names another machine; use a loopback address, localhost or a name of \
             the certificate, or add the name to allowed_hosts in [http] in usher.toml",
        ));
    }
    if let Some(origin) = unique_header(headers, header::ORIGIN)?
        && !origin.parse::<Uri>().is_ok_and(|origin| origin.host().is_some_and(&is_ours))
    {
        return Err(ApiError::forbidden("web pages from elsewhere may not use this API"));
    }
    Ok(())
}

/// Returns a header that may occur at most once; empty, which is no valid host, if it isn't text.
fn unique_header(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(&name).iter();
    let value = values.next().map(|value| value.to_str().unwrap_or_default());
    match values.next() {
        None => Ok(value),
        Some(_) => Err(ApiError::invalid(format!("there is more than one {name} header"))),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    /// The status that a request is refused with; 200 where it is let through.
    fn check(target: &str, fields: &str) -> StatusCode {
        let (version, fields) = match fields.strip_prefix("HTTP/1.0\n") {
            Some(rest) => (Version::HTTP_10, rest),
            None => (Version::HTTP_11, fields),
        };
        let mut headers = HeaderMap::new();
        for line in fields.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let uri: Uri = target.parse().unwrap();
        let is_ours =
            |host: &str| is_loopback(host) || host.eq_ignore_ascii_case("router.internal");
        framing(&headers)
            .and_then(|()| authority(version, &Method::GET, &uri, &headers))
            .and_then(|authority| check_origin(authority.as_ref(), uri.path(), &headers, is_ours))
            .map_or_else(|error| error.into_response().status(), |()| StatusCode::OK)
    }

    #[test]
    fn requests_are_judged_by_the_letter() {
        const OK: StatusCode = StatusCode::OK;
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const MISDIRECTED: StatusCode = StatusCode::MISDIRECTED_REQUEST;
        const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
        let cases = [
            // For us.
            ("/plugins", "Host: 127.0.0.1:7171", OK),
            ("/plugins", "Host: localhost:7171", OK),
            ("/plugins", "Host: LOCALHOST", OK),
            ("/plugins", "Host: [::1]:7171", OK),
            ("/plugins", "Host: 127.9.9.9", OK),
            ("/plugins", "Host: Router.Internal:80", OK),
            ("/plugins", "HTTP/1.0\n", OK),
            ("/plugins", "Host: localhost:7171\nOrigin: http://localhost:7171", OK),
            ("http://localhost:7171/plugins", "Host: localhost:7171", OK),
            ("http://LOCALHOST/plugins", "Host: localhost", OK),
            ("http://localhost/plugins", "HTTP/1.0\n", OK),
            ("/events", "Host: localhost\nTransfer-Encoding: Chunked", OK),
            // For somebody else.
            ("/plugins", "Host: evil.example", MISDIRECTED),
            ("/plugins", "Host: localhost.evil.example", MISDIRECTED),
            ("/plugins", "Host: 10.0.0.1", MISDIRECTED),
            ("http://evil.example/plugins", "HTTP/1.0\n", MISDIRECTED),
            ("http://evil.example/plugins", "Host: evil.example", MISDIRECTED),
            ("/healthz", "Host: 10.0.0.1:7171", OK),
            ("/readyz", "Host: pod-7.cluster", OK),
            // From a page elsewhere.
            ("/plugins", "Host: localhost\nOrigin: https://evil.example", FORBIDDEN),
            ("/plugins", "Host: localhost\nOrigin: null", FORBIDDEN),
            ("/healthz", "Host: localhost\nOrigin: http://127.0.0.1.evil.example", FORBIDDEN),
            ("/plugins", "Host: localhost\nOrigin: http://router.internal", OK),
            // Ambiguous.
            ("/plugins", "Host: localhost\nHost: evil.example", BAD),
            ("/plugins", "Host: localhost\nHost: localhost", BAD),
            ("/plugins", "Host: localhost\nOrigin: http://localhost\nOrigin: null", BAD),
            ("/plugins", "", BAD),
            ("/healthz", "", BAD),
            ("/plugins", "Host: evil@localhost", BAD),
            ("/plugins", "Host: local host", BAD),
            ("/plugins", "Host: localhost, localhost", BAD),
            ("/plugins", "Host: localhost/x", BAD),
            ("/plugins", "Host: :7171", BAD),
            ("http://evil.example/plugins", "Host: localhost", BAD),
            ("http://localhost:1/plugins", "Host: localhost:2", BAD),
            ("http://evil@localhost/plugins", "Host: localhost", BAD),
            ("/events", "Host: localhost\nTransfer-Encoding: gzip, chunked", BAD),
            ("/events", "Host: localhost\nTransfer-Encoding: identity, chunked", BAD),
            ("/events", "Host: localhost\nTransfer-Encoding: chunked, chunked", BAD),
            (
                "/events",
                "Host: localhost\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked",
                BAD,
            ),
            ("/events", "Host: localhost\nTransfer-Encoding: identity", BAD),
        ];
        for (target, fields, expected) in cases {
            assert_eq!(check(target, fields), expected, "{target} {fields:?}");
        }
    }
}
