//! How far the node has come that answers: a request may want an event to be there, and each answer says
//! up to which it has read.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Uri, uri};
use tokio::time::timeout;
use usher_api::AT_LEAST;

use super::params::number;
use super::problem::ApiError;
use super::state::{Node, stopped};

/// Says which event was the newest of the log before it was read.
const SEQUENCE: HeaderName = HeaderName::from_static(usher_api::SEQUENCE_HEADER);

/// Answers once the node has the event that the request wants to be there.
///
/// # Errors
/// 400: the parameter is none; 503: it isn't there, and didn't come.
pub(super) async fn answer(
    node: &Node,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some((rest, sequence)) = take_at_least(request.uri())? {
        *request.uri_mut() = rest;
        until(node, sequence).await?;
    }
    let newest = *node.log.committed().borrow();
    let mut response = next.run(request).await;
    response.headers_mut().insert(SEQUENCE, HeaderValue::from(newest));
    Ok(response)
}

async fn until(node: &Node, sequence: u64) -> Result<(), ApiError> {
    let (mut committed, mut stop) = (node.log.committed(), node.stop.clone());
    let there = committed.wait_for(|newest| *newest >= sequence);
    let waited = tokio::select! {
        waited = timeout(node.patience, there) => waited.is_ok(),
        () = stopped(&mut stop) => false,
    };
    if waited {
        return Ok(());
    }
    let newest = *node.log.committed().borrow();
    Err(ApiError::unavailable(format!(
        "event {sequence} isn't here yet: this node has the log up to {newest}"
    )))
}

/// The address without the parameter, and its value; `None` if it isn't there.
fn take_at_least(uri: &Uri) -> Result<Option<(Uri, u64)>, ApiError> {
    let value = |pair| str::split_once(pair, '=').filter(|(name, _)| *name == AT_LEAST);
    let pairs = || uri.query().unwrap_or_default().split('&');
    let mut values = pairs().filter_map(value);
    let Some((_, sequence)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid(format!("{AT_LEAST} is there more than once")));
    }
    let sequence = number(AT_LEAST, sequence)?;
    let query = pairs().filter(|pair| value(pair).is_none()).collect::<Vec<_>>().join("&");
    let path =
        if query.is_empty() { uri.path().to_owned() } else { format!("{}?{query}", uri.path()) };
    let mut parts = uri::Parts::from(uri.clone());
    parts.path_and_query = Some(path.parse().map_err(|_| ApiError::invalid("the address"))?);
    let uri = Uri::from_parts(parts).map_err(|_| ApiError::invalid("the address"))?;
    Ok(Some((uri, sequence)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_taken_out_of_the_address() {
        for (uri, left, sequence) in [
            ("/events", "/events", None),
            ("/events?max=1&at-leas=7", "/events?max=1&at-leas=7", None),
            ("/events?at-least=7", "/events", Some(7)),
            ("/events?max=1&at-least=7&from=2", "/events?max=1&from=2", Some(7)),
            ("http://localhost/events?at-least=0", "http://localhost/events", Some(0)),
        ] {
            let uri: Uri = uri.parse().unwrap();
            let found = take_at_least(&uri).unwrap();
            let without = found.as_ref().map_or(&uri, |(without, _)| without).to_string();
            let found = found.map(|(_, sequence)| sequence);
            assert_eq!((without.as_str(), found), (left, sequence), "{uri}");
        }
        for uri in ["/events?at-least=", "/events?at-least=-1", "/events?at-least=1&at-least=1"] {
            assert!(take_at_least(&uri.parse().unwrap()).is_err(), "{uri}");
        }
    }
}
