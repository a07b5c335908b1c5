//! Paths of the configuration that take webhooks: each request becomes an event, once its signature
//! is checked. A sender that repeats a request finds its event by the id.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use ring::rand::{SecureRandom as _, SystemRandom};
use usher_event::Digest;
use usher_webhooks::{Received, Rejected, Webhook};

use super::authorize::identify;
use super::client::Client;
use super::ingest::{Timed, append, check_open, read};
use super::ingest_span::IngestSpan;
use super::problem::{ApiError, Challenge};
use super::state::Api;
use crate::access::Noted;
use usher_api::{Accepted, Scope};

/// Receives a request to the webhook with this place in the configuration.
pub(super) async fn receive(
    State((api, place)): State<(Api, usize)>,
    client: Client,
    request: Request,
) -> Response {
    let Some(webhook) = api.running.config.webhooks.get(place) else {
        return ApiError::not_found("there is no such webhook").into_response();
    };
    let mut span = IngestSpan::begin(&api, &webhook.path, request.headers());
    let received = take(&api, webhook, &client, request, &mut span).await;
    span.end(received.as_ref().map(Taken::status));
    let (outcome, response) = match received {
        Ok(Taken::Challenge(text)) => ("challenge", text.into_response()),
        Ok(Taken::Event(accepted, response)) => {
            let is_known = accepted.events.iter().all(|event| event.duplicate);
            (if is_known { "duplicate" } else { "accepted" }, response)
        }
        Err(error) => (error.outcome(), error.into_response()),
    };
    api.metrics.webhook(&webhook.path, outcome);
    response
}

enum Taken {
    Challenge(String),
    Event(Accepted, Response),
}

impl Taken {
    fn status(&self) -> StatusCode {
        match self {
            Self::Challenge(_) => StatusCode::OK,
            Self::Event(_, response) => response.status(),
        }
    }
}

async fn take(
    api: &Api,
    webhook: &Webhook,
    client: &Client,
    request: Request,
    span: &mut IngestSpan,
) -> Result<Taken, ApiError> {
    check_open(api)?;
    let (head, body): (_, Body) = request.into_parts();
    let identity = match webhook.kind.is_signed() {
        true => None,
        false => Some(identify(api, client, Scope::Publish, &head.uri, &head.headers)?),
    };
    let body = read(api, client.connection(), &head.headers, body).await?;
    let now_ms = api.running.clock.now_ms();
    let received = webhook.receive(&head.headers, &body.bytes, now_ms, &random_id);
    let event = match received.map_err(|rejected| refuse(api, webhook, client, rejected))? {
        Received::Challenge(text) => return Ok(Taken::Challenge(text)),
        Received::Event(event) => event,
    };
    let mut events = vec![event];
    span.join(&head.headers, &mut events);
    if let Some(identity) = identity {
        identity.check_publish(&events, false)?;
    }
    let (status, Json(accepted)) = append(api, events, false, Timed::Here, span).await?;
    Ok(Taken::Event(accepted.clone(), (status, Json(accepted)).into_response()))
}

/// Tells the sender what is wrong, and the operator the first time that an address sends what it
/// can't prove.
fn refuse(api: &Api, webhook: &Webhook, client: &Client, rejected: Rejected) -> ApiError {
    let reason = rejected.to_string();
    if !rejected.is_unproven() {
        return match rejected {
            Rejected::Event(error) => error.into(),
            _ => ApiError::invalid(reason),
        };
    }
    let address = client.origin().address;
    match api.failures.note(address) {
        Noted::TooMany(wait) => {
            let what = "too many requests from your address were not signed; try again later";
            return ApiError::busy(what).after(wait);
        }
        Noted::First => {
            tracing::warn!(webhook = webhook.path, %address, reason, "a webhook's request was refused");
        }
        Noted::More => {}
    }
    ApiError::unauthorized(reason, Challenge::Missing)
}

fn random_id() -> String {
    let mut bytes = [0; 32];
    // Without random numbers the id is missing, which is refused.
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Digest::from_bytes(bytes).short(),
        Err(_) => String::new(),
    }
}
