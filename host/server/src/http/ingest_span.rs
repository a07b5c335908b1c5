//! The span of a request that publishes, and the trace context of its events.

use http::{HeaderMap, StatusCode};
use usher_event::{
    Event, Span, SpanAbout, SpanAttributes, SpanKind, TraceContext, event_attributes,
};

use super::problem::ApiError;
use super::state::Api;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The span of a request; none where tracing is off.
pub(super) struct IngestSpan(Option<Begun>);

struct Begun {
    span: Span,
    attributes: SpanAttributes,
}

impl IngestSpan {
    /// Begins the span, below that of the client if it names one.
    pub(super) fn begin(api: &Api, headers: &HeaderMap) -> Self {
        let tracing = &api.running.tracing;
        let parent = || TraceContext::parse(text(headers, TRACEPARENT)?);
        let span = if tracing.is_on() { tracing.begin(parent()) } else { None };
        Self(span.map(|span| Begun { span, attributes: Vec::new() }))
    }

    /// Gives trace context to events that have none: the span's, or that of the request where
    /// tracing is off. Where only the events have one, the span joins the first one's trace.
    pub(super) fn join(&mut self, headers: &HeaderMap, events: &mut [Event]) {
        let of_request = text(headers, TRACEPARENT);
        let of_span = self.0.as_mut().map(|begun| {
            begun.attributes = match &*events {
                [only] => event_attributes(only),
                several => vec![("messaging.batch.message_count", (several.len() as u64).into())],
            };
            if of_request.is_none()
                && let Some(parent) = events.iter().find_map(Event::trace_context)
            {
                begun.span.join(parent);
            }
            begun.span.context().to_string()
        });
        let Some(traceparent) = of_span.as_deref().or(of_request) else { return };
        for event in events {
            if let Some(traced) = event.with_trace(traceparent, text(headers, TRACESTATE)) {
                *event = traced;
            }
        }
    }

    /// Begins the span of the commit.
    pub(super) fn commit(&self) -> Option<Span> {
        self.0.as_ref().map(|begun| begun.span.child())
    }

    /// Ends the span with the response. `path` is one of the API or of the configuration.
    pub(super) fn end(self, path: &str, outcome: Result<StatusCode, &ApiError>) {
        let Some(Begun { span, attributes }) = self.0 else { return };
        span.end(SpanKind::Server, || {
            let status = outcome.unwrap_or_else(ApiError::status);
            let mut all = vec![
                ("http.request.method", "POST".into()),
                ("http.route", path.into()),
                ("http.response.status_code", u64::from(status.as_u16()).into()),
                ("messaging.system", "usher".into()),
                ("messaging.operation.type", "send".into()),
            ];
            all.extend(attributes);
            let error = outcome.err().filter(|_| status.is_server_error());
            SpanAbout {
                name: format!("POST {path}"),
                attributes: all,
                error: error.map(|error| error.detail().to_owned()),
            }
        });
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
