//! Lineage, propagated from an event to those it causes: causation id, correlation id and W3C trace
//! context (CloudEvents' distributed tracing extension).

use std::borrow::Cow;

use crate::trace_context::{TRACEPARENT, TRACESTATE};
use crate::{Event, TraceContext};

/// Lineage extensions; only the host sets them.
pub const LINEAGE_EXTENSIONS: [&str; 4] = ["causationid", "correlationid", TRACEPARENT, TRACESTATE];

/// The values of [`LINEAGE_EXTENSIONS`], in their order.
pub(crate) struct Lineage<'a>([Option<Cow<'a, str>>; 4]);

impl<'a> Lineage<'a> {
    /// Lineage of the event `id`, caused by `parent` as part of `trace`; `flow` is the sequence of
    /// the flow's first event.
    pub(crate) fn of(parent: &'a Event, trace: Option<TraceContext>, flow: u64, id: &str) -> Self {
        let correlationid = parent.attribute("correlationid");
        let correlationid = correlationid.unwrap_or_else(|| Cow::Owned(flow.to_string()));
        let traceparent = trace.map(|trace| trace.of_emission(id).to_string());
        // Of the same trace, or it means nothing.
        let tracestate = parent.trace_context().and_then(|_| parent.attribute(TRACESTATE));
        let causationid = Some(Cow::Borrowed(parent.id()));
        Self([causationid, Some(correlationid), traceparent.map(Cow::Owned), tracestate])
    }

    /// The extensions that are present, as name and text.
    pub(crate) fn extensions(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let pairs = LINEAGE_EXTENSIONS.into_iter().zip(&self.0);
        pairs.filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }
}
