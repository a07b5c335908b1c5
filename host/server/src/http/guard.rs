//! Keeps web pages out. The API listens on loopback and asks for no token, so a page in a browser
//! on the same machine could reach it: by sending forms across origins, or by pointing a name of
//! its own at 127.0.0.1. Programs send neither an `Origin` nor a foreign `Host`.

use std::net::IpAddr;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Uri, header};

use super::problem::ApiError;

/// Refuses requests that were sent by a web page from elsewhere.
pub(super) async fn same_machine(request: Request, next: Next) -> Response {
    match check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(host) = text(headers, header::HOST)
        && !host.parse::<Authority>().is_ok_and(|host| is_loopback(host.host()))
    {
        return Err(ApiError::misdirected(
            "the host header names another machine; use a loopback address or localhost",
        ));
    }
    if let Some(origin) = text(headers, header::ORIGIN)
        && !origin.parse::<Uri>().is_ok_and(|origin| origin.host().is_some_and(is_loopback))
    {
        return Err(ApiError::forbidden("web pages from elsewhere may not use this API"));
    }
    Ok(())
}

/// A header's text; empty, and so no host at all, where it is not text.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
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
    use super::*;

    #[track_caller]
    fn check_headers(headers: &[(HeaderName, &str)], allowed: bool) {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        assert_eq!(check(&headers).is_ok(), allowed, "{headers:?}");
    }

    #[test]
    fn programs_on_this_machine_pass() {
        check_headers(&[], true);
        for host in ["127.0.0.1:7171", "localhost:7171", "LOCALHOST", "[::1]:7171", "127.9.9.9"] {
            check_headers(&[(header::HOST, host)], true);
        }
        check_headers(&[(header::ORIGIN, "http://localhost:7171")], true);
    }

    #[test]
    fn pages_from_elsewhere_do_not() {
        for host in ["evil.example", "evil.example:7171", "localhost.evil.example", "10.0.0.1", ""]
        {
            check_headers(&[(header::HOST, host)], false);
        }
        for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example"] {
            check_headers(&[(header::HOST, "127.0.0.1:7171"), (header::ORIGIN, origin)], false);
        }
    }
}
