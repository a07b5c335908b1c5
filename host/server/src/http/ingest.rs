//! `POST /events`: publishes events. Responds after fsync; a batch is accepted or refused as a
//! whole.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, StatusCode, header};
use usher_broker::BrokerError;
use usher_event::{Event, http_binary, json, media};

use super::body::{self, RequestBody};
use super::connections::{Caller, Connection};
use super::problem::ApiError;
use super::state::Api;
use crate::access::Identity;
use usher_api::{Accepted, AcceptedEvent};

/// Publishes one event or a batch, in any of the three modes of the CloudEvents HTTP binding.
pub(super) async fn publish(
    State(api): State<Api>,
    identity: Identity,
    Caller(client): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    if !api.running.intake.is_open() {
        return Err(ApiError::unavailable(match api.running.readiness.check() {
            Err(reason) => format!("the router takes no events now: {reason}"),
            Ok(()) => "the router takes no events now: it is stopping".to_owned(),
        }));
    }
    let mode = Mode::of(&headers)?;
    let intake = read(&api, &client, &headers, body).await;
    let intake = intake.inspect_err(|error| {
        if error.is_busy() {
            api.running.busy.note();
        }
    })?;
    let events = mode.decode(&headers, &intake)?;
    check_reserved(mode, &events)?;
    identity.check_publish(&events, mode == Mode::Batch)?;

    let published = match events.is_empty() {
        true => Vec::new(),
        false => api.running.broker.publish(events.clone()).await.inspect_err(|error| {
            if matches!(error, BrokerError::Busy { .. }) {
                api.running.busy.note();
            }
        })?,
    };
    let accepted = events
        .iter()
        .zip(published)
        .map(|(event, published)| AcceptedEvent {
            id: event.id().to_owned(),
            source: event.source().to_owned(),
            sequence: published.sequence,
            duplicate: published.duplicate,
        })
        .collect();
    Ok((StatusCode::ACCEPTED, Json(Accepted { events: accepted })))
}

/// Reads the body within the configured limits.
pub(super) async fn read(
    api: &Api,
    client: &Arc<Connection>,
    headers: &HeaderMap,
    body: Body,
) -> Result<RequestBody, ApiError> {
    let http = &api.running.config.http;
    let limits = (http.max_body_bytes, http.body_timeout);
    body::read(headers, body, client, limits, &api.intake).await
}

/// Reads the single event of a request in structured mode.
pub(super) async fn one_structured(
    api: &Api,
    client: &Arc<Connection>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Event, ApiError> {
    if Mode::of(headers)? != Mode::Structured {
        return Err(ApiError::unsupported_media_type(
            "send one event as application/cloudevents+json",
        ));
    }
    let intake = read(api, client, headers, body).await?;
    Ok(json::from_slice(intake.json()?)?)
}

/// The modes of the CloudEvents HTTP protocol binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// One event as JSON.
    Structured,
    /// An array of events as JSON.
    Batch,
    /// Attributes in headers, data in the body.
    Binary,
}

impl Mode {
    /// The mode of a request.
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err(ApiError::unsupported_media_type(
                "compressed bodies are not taken; leave content-encoding out",
            ));
        }
        let content_type = match headers.get(header::CONTENT_TYPE) {
            None => "",
            Some(value) => value.to_str().map_err(|_| {
                ApiError::unsupported_media_type("the content-type header is not text")
            })?,
        };
        let essence = media::essence(content_type).to_ascii_lowercase();
        if essence.starts_with("application/cloudevents") {
            let mode = match &*essence {
                "application/cloudevents+json" => Self::Structured,
                "application/cloudevents-batch+json" => Self::Batch,
                other => {
                    return Err(ApiError::unsupported_media_type(format!(
                        "{other} is not taken; use application/cloudevents+json or \
                         application/cloudevents-batch+json"
                    )));
                }
            };
            if !media::is_utf8(content_type) {
                return Err(ApiError::unsupported_media_type(
                    "JSON events are taken as UTF-8 only",
                ));
            }
            return Ok(mode);
        }
        if headers.keys().any(|name| name.as_str().starts_with("ce-")) {
            return Ok(Self::Binary);
        }
        Err(ApiError::unsupported_media_type(
            "this is no CloudEvent: send application/cloudevents+json, \
             application/cloudevents-batch+json, or the attributes as ce- headers",
        ))
    }

    fn decode(self, headers: &HeaderMap, body: &RequestBody) -> Result<Vec<Event>, ApiError> {
        Ok(match self {
            Self::Structured => vec![json::from_slice(body.json()?)?],
            Self::Batch => json::batch_from_slice(body.json()?)?,
            Self::Binary => vec![http_binary::from_parts(headers, body.bytes.clone())?],
        })
    }
}

/// Refuses events with a source or type that is reserved for plugins or the router.
fn check_reserved(mode: Mode, events: &[Event]) -> Result<(), ApiError> {
    let refused = events.iter().map(Event::reserved_attribute).enumerate();
    match refused.filter_map(|(member, refusal)| Some((member, refusal?))).next() {
        None => Ok(()),
        Some((member, (attribute, what))) => Err(ApiError::invalid_event(
            attribute,
            format!("attribute \"{attribute}\" must not {what}; use one of your own"),
        )
        .of_member((mode == Mode::Batch).then_some(member))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[track_caller]
    fn check_mode(headers: &[(&str, &str)], expected: Result<Mode, StatusCode>) {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())
            })
            .collect();
        let found = Mode::of(&map).map_err(|error| error.into_response().status());
        assert_eq!(found, expected, "{headers:?}");
    }

    #[test]
    fn the_content_type_decides() {
        const REFUSED: Result<Mode, StatusCode> = Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let structured = "application/cloudevents+json";
        check_mode(&[("content-type", structured)], Ok(Mode::Structured));
        check_mode(&[("content-type", structured), ("ce-id", "1")], Ok(Mode::Structured));
        for value in [
            "Application/CloudEvents+JSON; charset=UTF-8",
            "application/cloudevents+json;charset=\"utf-8\"",
        ] {
            check_mode(&[("content-type", value)], Ok(Mode::Structured));
        }
        check_mode(&[("content-type", "application/cloudevents-batch+json")], Ok(Mode::Batch));
        check_mode(&[("content-type", "text/plain"), ("ce-id", "1")], Ok(Mode::Binary));
        check_mode(&[("CE-Id", "1")], Ok(Mode::Binary));
        check_mode(&[], REFUSED);
        check_mode(&[("content-type", "application/json")], REFUSED);
        check_mode(&[("content-type", "application/cloudevents+avro"), ("ce-id", "1")], REFUSED);
        check_mode(&[("content-type", "application/cloudevents+json; charset=latin1")], REFUSED);
        check_mode(&[("content-type", structured), ("content-encoding", "gzip")], REFUSED);
    }
}
