//! `POST /events`: publishes events. Responds after fsync; a batch is accepted or refused as a
//! whole. `OPTIONS /events` is the handshake of webhooks.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, StatusCode, header};
use usher_broker::BrokerError;
use usher_event::{Event, SpanAbout, SpanKind, TraceContext, http_binary, json, media};

use super::body::{self, RequestBody};
use super::client::Client;
use super::connections::Connection;
use super::encoding::Encoding;
use super::ingest_span::IngestSpan;
use super::problem::ApiError;
use super::state::Api;
use crate::access::Identity;
use usher_api::{Accepted, AcceptedEvent, routes};

const REQUEST_ORIGIN: &str = "webhook-request-origin";

/// Publishes one event or a batch, in any of the three modes of the CloudEvents HTTP binding.
pub(super) async fn publish(
    State(api): State<Api>,
    identity: Identity,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let mut span = IngestSpan::begin(&api, routes::PUBLISH.path, &headers);
    let published = take(&api, &identity, client.connection(), &headers, body, &mut span).await;
    span.end(published.as_ref().map(|(status, _)| *status));
    published
}

async fn take(
    api: &Api,
    identity: &Identity,
    client: &Arc<Connection>,
    headers: &HeaderMap,
    body: Body,
    span: &mut IngestSpan,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    check_open(api)?;
    let mode = match Mode::of(headers) {
        Ok(mode) => mode,
        Err(error) => return Err(explain(error, api, client, headers, body).await),
    };
    let intake = read(api, client, headers, body).await;
    let intake = intake.inspect_err(|error| {
        if error.is_busy() {
            api.busy.note();
        }
    })?;
    let mut events = mode.decode(headers, &intake)?;
    span.join(headers, &mut events);
    identity.check_publish(&events, mode == Mode::Batch)?;
    append(api, events, mode == Mode::Batch, Timed::ByProducer, span).await
}

/// Refuses producers while the router starts or stops.
pub(super) fn check_open(api: &Api) -> Result<(), ApiError> {
    if api.running.intake.is_open() {
        return Ok(());
    }
    Err(ApiError::unavailable(match api.running.readiness.check() {
        Err(reason) => format!("the router takes no events now: {reason}"),
        Ok(()) => "the router takes no events now: it is stopping".to_owned(),
    }))
}

/// Where the time of events comes from.
#[derive(Clone, Copy)]
pub(super) enum Timed {
    /// Their producer, if they have any.
    ByProducer,
    /// Perhaps this router, when they came: an event that comes again has another.
    Here,
}

/// Appends events to the log, all or none.
pub(super) async fn append(
    api: &Api,
    events: Vec<Event>,
    is_batch: bool,
    of: Timed,
    span: &IngestSpan,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    check_reserved(&events, is_batch)?;
    let published = match events.is_empty() {
        true => Vec::new(),
        false => {
            let commit = span.commit();
            let published = api.running.broker.publish(events.clone()).await;
            let published = published.inspect_err(|error| {
                if matches!(error, BrokerError::Busy { .. }) {
                    api.busy.note();
                }
            })?;
            if let Some(commit) = commit {
                commit.end(SpanKind::Internal, SpanAbout::commit);
            }
            published
        }
    };
    let mut accepted = Vec::with_capacity(events.len());
    for (event, published) in events.iter().zip(published) {
        accepted.push(AcceptedEvent {
            id: event.id().to_owned(),
            source: event.source().to_owned(),
            sequence: published.sequence,
            duplicate: published.duplicate,
            differs: published.duplicate && differs(api, event, published.sequence, of).await?,
        });
    }
    Ok((api.running.config.http.publish_status, Json(Accepted { events: accepted })))
}

/// Whether a duplicate says something else than the event in the log: its producer may use an id
/// twice. False if retention has removed that.
async fn differs(api: &Api, event: &Event, sequence: u64, of: Timed) -> Result<bool, ApiError> {
    let first = api.running.broker.event(sequence).await?;
    let differs = first.is_some_and(|first| match of {
        Timed::ByProducer => !first.event.says_the_same_as(event),
        Timed::Here => !first.event.says_the_same_later(event),
    });
    if differs {
        api.metrics.duplicate_differs();
        if api.differing.is_first(event.source()) {
            tracing::warn!(
                source = event.source(),
                id = event.id(),
                sequence,
                trace_id = event.trace_context().map(TraceContext::trace_id_text),
                "an event came again with other content, and was not stored: give each event an id \
                 of its own"
            );
        }
    }
    Ok(differs)
}

/// What to send instead, if a body that is no CloudEvent by its headers looks like one.
async fn explain(
    error: ApiError,
    api: &Api,
    client: &Arc<Connection>,
    headers: &HeaderMap,
    body: Body,
) -> ApiError {
    if !error.is_unsupported_media_type() || !headers.contains_key(header::CONTENT_TYPE) {
        return error;
    }
    let Ok(intake) = read(api, client, headers, body).await else { return error };
    let content = intake.bytes.trim_ascii_start();
    if memchr::memmem::find(content, b"\"specversion\"").is_none() {
        return error;
    }
    match content.first() {
        Some(b'{') => ApiError::unsupported_media_type(
            "the body looks like a CloudEvent: send it as application/cloudevents+json",
        ),
        Some(b'[') => ApiError::unsupported_media_type(
            "the body looks like a batch of CloudEvents: send it as \
             application/cloudevents-batch+json",
        ),
        _ => error,
    }
}

/// Agrees to deliveries of an origin that the configuration names (CloudEvents HTTP Webhooks 1.0.2,
/// section 4).
pub(super) async fn agree(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let http = &api.running.config.http;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let origin = text(REQUEST_ORIGIN).filter(|origin| !origin.is_empty());
    let origin = origin.ok_or_else(|| {
        ApiError::invalid("OPTIONS asks whether an origin may deliver: send webhook-request-origin")
    })?;
    let is_allowed = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
    if !http.webhook_origins.iter().any(is_allowed) {
        return Err(ApiError::forbidden(
            "this origin may not deliver; add it to webhook_origins in [http] in usher.toml",
        ));
    }
    let rate = http.webhook_rate_per_minute.map_or("*".to_owned(), |rate| rate.to_string());
    let agreed = [
        (header::ALLOW, "POST, OPTIONS".to_owned()),
        (HeaderName::from_static("webhook-allowed-origin"), origin.to_owned()),
        (HeaderName::from_static("webhook-allowed-rate"), rate),
    ];
    Ok((agreed, "it may deliver\n"))
}

/// Reads the body within the configured limits, and decodes it.
pub(super) async fn read(
    api: &Api,
    client: &Arc<Connection>,
    headers: &HeaderMap,
    body: Body,
) -> Result<RequestBody, ApiError> {
    let http = &api.running.config.http;
    let encoding = Encoding::of(headers)?;
    let limits = (http.max_body_bytes, http.body_timeout);
    let body = body::read(headers, body, client, limits, &api.intake).await?;
    if encoding == Encoding::Identity {
        return Ok(body);
    }
    let decoding = api.decoders.acquire().await;
    let _decoding = decoding.map_err(|_| ApiError::unavailable("the router is stopping"))?;
    encoding.decode(body, client, http.max_body_bytes, &api.intake).await
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
            Self::Structured => {
                let json = body.json()?;
                if json.trim_ascii_start().starts_with(b"[") {
                    return Err(ApiError::invalid(
                        "the body is an array: send a batch as application/cloudevents-batch+json",
                    ));
                }
                vec![json::from_slice(json)?]
            }
            Self::Batch => {
                let json = body.json()?;
                if json.trim_ascii_start().starts_with(b"{") {
                    return Err(ApiError::invalid(
                        "the body is one event: send it as application/cloudevents+json, or in an \
                         array",
                    ));
                }
                json::batch_from_slice(json)?
            }
            Self::Binary => vec![http_binary::from_parts(headers, body.bytes.clone())?],
        })
    }
}

/// Refuses events with a source or type that is reserved for plugins or the router.
fn check_reserved(events: &[Event], is_batch: bool) -> Result<(), ApiError> {
    let refused = events.iter().map(Event::reserved_attribute).enumerate();
    match refused.filter_map(|(member, refusal)| Some((member, refusal?))).next() {
        None => Ok(()),
        Some((member, (attribute, what))) => Err(ApiError::invalid_event(
            attribute,
            format!("attribute \"{attribute}\" must not {what}; use one of your own"),
        )
        .of_member(is_batch.then_some(member))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
