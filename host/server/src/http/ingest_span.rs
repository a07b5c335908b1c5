//! The span of a request that publishes, and the trace context of its events.

use http::{HeaderMap, StatusCode};
use usher_event::{
    Event, Span, SpanAbout, SpanKind, TRACEPARENT, TRACESTATE, TraceContext, event_attributes,
};

use super::problem::ApiError;
use super::state::Api;

/// The span of a request; none where tracing is off. One that is dropped ends as a request whose
/// client did not wait for the response.
pub(super) struct IngestSpan {
    span: Option<Span>,
    /// One of the API or of the configuration.
    path: String,
    /// The trace context of the request.
    of_request: Option<TraceContext>,
    /// The event, if it is one alone.
    only: Option<Event>,
    events: u64,
}

impl IngestSpan {
    /// Begins the span, below that of the client if it names one.
    pub(super) fn begin(api: &Api, path: &str, headers: &HeaderMap) -> Self {
        let of_request = traceparent(headers).and_then(TraceContext::parse);
        let span = api.running.tracing.begin(of_request);
        let path = span.as_ref().map(|_| path.to_owned()).unwrap_or_default();
        Self { span, path, of_request, only: None, events: 0 }
    }

    /// Gives trace context to events that have none: the span's, or that of the request where
    /// tracing is off. Where only the events have one, the span joins the first one's trace.
    pub(super) fn join(&mut self, headers: &HeaderMap, events: &mut [Event]) {
        if let Some(span) = &mut self.span {
            self.events = events.len() as u64;
            if self.of_request.is_none()
                && let Some(parent) = events.iter().find_map(Event::trace_context)
            {
                span.join(parent);
            }
        }
        let of_span = self.span.as_ref().map(|span| span.context().to_string());
        let of_request = self.of_request.and_then(|_| traceparent(headers));
        // It belongs to the trace of the request.
        let tracestate = self.of_request.and_then(|_| tracestate(headers));
        if let Some(traceparent) = of_span.as_deref().or(of_request) {
            for event in &mut *events {
                if let Some(traced) = event.with_trace(traceparent, tracestate.as_deref()) {
                    *event = traced;
                }
            }
        }
        if let (Some(_), [only]) = (&self.span, &*events) {
            self.only = Some(only.clone());
        }
    }

    /// Begins the span of the commit.
    pub(super) fn commit(&self) -> Option<Span> {
        self.span.as_ref().map(Span::child)
    }

    /// Ends the span with the response.
    pub(super) fn end(mut self, outcome: Result<StatusCode, &ApiError>) {
        let status = outcome.unwrap_or_else(ApiError::status);
        if matches!(status.as_u16(), 401 | 403 | 429) {
            // Otherwise anybody could have spans recorded.
            self.span = None;
        }
        let error = outcome.err().filter(|_| status.is_server_error());
        self.ended(Some(status), error.map(|error| error.detail().to_owned()));
    }

    fn ended(&mut self, status: Option<StatusCode>, error: Option<String>) {
        let Some(span) = self.span.take() else { return };
        span.end(SpanKind::Server, || {
            let mut attributes = match &self.only {
                Some(event) => event_attributes(event),
                None => vec![("messaging.batch.message_count", self.events.into())],
            };
            attributes.extend([
                ("http.request.method", "POST".into()),
                ("http.route", self.path.as_str().into()),
                ("messaging.system", "usher".into()),
                ("messaging.operation.type", "send".into()),
            ]);
            let code = status.map(|status| u64::from(status.as_u16()));
            attributes.extend(code.map(|code| ("http.response.status_code", code.into())));
            SpanAbout { name: format!("POST {}", self.path), attributes, error }
        });
    }
}

impl Drop for IngestSpan {
    fn drop(&mut self) {
        self.ended(None, Some("the client left before the response".to_owned()));
    }
}

/// The request's `traceparent`; several are none.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let only = all.next().filter(|_| all.next().is_none())?;
    only.to_str().ok()
}

/// Its `tracestate`; several fields are one list, in which a tab is as good as a space (W3C Trace
/// Context, section 3.3.1).
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok());
    let all: Vec<_> = all.collect::<Option<_>>()?;
    let joined = all.join(",").replace('\t', " ");
    Some(joined).filter(|joined| !joined.is_empty())
}
