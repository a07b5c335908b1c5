//! Spans: what the router did, when, and because of what, for those who trace it.
//!
//! A [`Span`] is under way until [`Span::end`]; its context travels in events and requests. Where
//! spans go is behind [`SpanSink`]. Names and attributes are those of the OpenTelemetry semantic
//! conventions where there are any.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use crate::{Event, TraceContext};

/// Where spans go.
pub trait SpanSink: Debug + Send + Sync {
    /// The id of a new trace; never zero.
    fn new_trace_id(&self) -> u128;

    /// Whether a trace that begins here is recorded: the same for the same id.
    fn is_sampled(&self, trace_id: u128) -> bool;

    /// The id of a new span; never zero.
    fn new_span_id(&self) -> u64;

    /// The time.
    fn now(&self) -> SystemTime;

    /// Takes a span that has ended. Must not block.
    fn record(&self, span: EndedSpan);
}

/// Whether, and where, spans are recorded. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracing(Option<Arc<dyn SpanSink>>);

/// The role of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work within the router.
    Internal,
    /// A request to the router.
    Server,
    /// A request of the router.
    Client,
    /// An event comes to be.
    Producer,
    /// An event is handled.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanValue {
    /// Text.
    Text(String),
    /// A whole number.
    Number(u64),
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// Attributes by their names.
pub type SpanAttributes = Vec<(&'static str, SpanValue)>;

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct EndedSpan {
    /// What it is known by.
    pub context: TraceContext,
    /// The span that caused it, in the same trace.
    pub parent: Option<TraceContext>,
    /// Its role.
    pub kind: SpanKind,
    /// What it is called.
    pub name: String,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What else is known of it.
    pub attributes: SpanAttributes,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A span under way. Dropping it records nothing.
#[derive(Clone, Debug)]
pub struct Span {
    sink: Arc<dyn SpanSink>,
    context: TraceContext,
    parent: Option<TraceContext>,
    began: SystemTime,
}

impl Tracing {
    /// Spans go to `sink`.
    pub fn new(sink: Arc<dyn SpanSink>) -> Self {
        Self(Some(sink))
    }

    /// Begins a span below `parent`, or one of a new trace; `None` if tracing is off. Whether it is
    /// recorded is the parent's choice.
    #[must_use]
    pub fn begin(&self, parent: Option<TraceContext>) -> Option<Span> {
        let sink = self.0.as_ref()?;
        Some(Span::below(sink, parent, || sink.new_trace_id()))
    }

    /// Begins a span below an event. One without trace context has a trace by its identity, so that
    /// all attempts at all its subscriptions are in one; `None` if tracing is off.
    pub fn begin_below(&self, event: &Event) -> Option<Span> {
        let sink = self.0.as_ref()?;
        let trace_id = || u128::from_be_bytes(*event.identity().as_bytes()).max(1);
        Some(Span::below(sink, event.trace_context(), trace_id))
    }
}

impl Span {
    fn below(
        sink: &Arc<dyn SpanSink>,
        parent: Option<TraceContext>,
        trace_id: impl FnOnce() -> u128,
    ) -> Self {
        let (sink, span_id) = (Arc::clone(sink), sink.new_span_id());
        let context = match parent {
            Some(parent) => TraceContext { span_id, ..parent },
            None => {
                let trace_id = trace_id();
                let flags = u8::from(sink.is_sampled(trace_id)) * TraceContext::SAMPLED;
                TraceContext { trace_id, span_id, flags }
            }
        };
        Self { began: sink.now(), context, parent, sink }
    }

    /// What the span is known by.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Begins a span below this one.
    #[must_use]
    pub fn child(&self) -> Self {
        let context = TraceContext { span_id: self.sink.new_span_id(), ..self.context };
        self.known_as(context)
    }

    /// Begins a span below this one that others know by `context`, such as one that an event has.
    #[must_use]
    pub fn known_as(&self, context: TraceContext) -> Self {
        let sink = Arc::clone(&self.sink);
        Self { began: sink.now(), context, parent: Some(self.context), sink }
    }

    /// Moves a span that has no children yet below another.
    pub fn join(&mut self, parent: TraceContext) {
        self.context = TraceContext { span_id: self.context.span_id, ..parent };
        self.parent = Some(parent);
    }

    /// Whether the span is recorded when it ends.
    pub fn is_recorded(&self) -> bool {
        self.context.is_sampled()
    }

    /// Ends the span. `about` is asked only if it is recorded.
    pub fn end(self, kind: SpanKind, about: impl FnOnce() -> SpanAbout) {
        if !self.is_recorded() {
            return;
        }
        let SpanAbout { name, attributes, error } = about();
        let Self { sink, context, parent, began } = self;
        let ended = sink.now();
        sink.record(EndedSpan { context, parent, kind, name, began, ended, attributes, error });
    }
}

/// What is known of a span when it ends.
#[derive(Clone, Debug, Default)]
pub struct SpanAbout {
    /// What it is called: few different names.
    pub name: String,
    /// What else is known of it.
    pub attributes: SpanAttributes,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl SpanAbout {
    /// The wait for a commit.
    pub fn commit() -> Self {
        Self { name: "commit".to_owned(), ..Self::default() }
    }
}

/// The attributes of an event (semantic conventions for CloudEvents).
pub fn event_attributes(event: &Event) -> SpanAttributes {
    let mut attributes = vec![
        ("cloudevents.event_id", event.id().into()),
        ("cloudevents.event_source", event.source().into()),
        ("cloudevents.event_type", event.ty().into()),
    ];
    if let Some(subject) = event.subject() {
        attributes.push(("cloudevents.event_subject", subject.into()));
    }
    attributes
}
