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
    let (uri, at_least) = without_at_least(request.uri())?;
    if let Some(sequence) = at_least {
        *request.uri_mut() = uri;
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

/// An address without the parameter, and its value.
fn without_at_least(uri: &Uri) -> Result<(Uri, Option<u64>), ApiError> {
    let is_it = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| name == AT_LEAST);
    let query = uri.query().unwrap_or_default();
    let (mut asked, rest): (Vec<_>, Vec<_>) = query.split('&').partition(|pair| is_it(pair));
    let Some(pair) = asked.pop() else { return Ok((uri.clone(), None)) };
    if !asked.is_empty() {
        return Err(ApiError::invalid(format!("{AT_LEAST} is there more than once")));
    }
    let sequence = number(AT_LEAST, pair.split_once('=').map_or("", |(_, value)| value))?;
    let query = rest.join("&");
    let path =
        if query.is_empty() { uri.path().to_owned() } else { format!("{}?{query}", uri.path()) };
    let mut parts = uri::Parts::from(uri.clone());
    parts.path_and_query = Some(path.parse().map_err(|_| ApiError::invalid("the address"))?);
    let uri = Uri::from_parts(parts).map_err(|_| ApiError::invalid("the address"))?;
    Ok((uri, Some(sequence)))
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
            let (without, found) = without_at_least(&uri.parse().unwrap()).unwrap();
            assert_eq!((without.to_string().as_str(), found), (left, sequence), "{uri}");
        }
        for uri in ["/events?at-least=", "/events?at-least=-1", "/events?at-least=1&at-least=1"] {
            assert!(without_at_least(&uri.parse().unwrap()).is_err(), "{uri}");
        }
    }
}
