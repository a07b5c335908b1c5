//! Spans to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! [`Exporter`] takes spans without waiting, up to a limit, and sends them in batches from a thread
//! of its own (the batch processor of the OpenTelemetry SDK). What the collector doesn't take is
//! dropped and counted: tracing never holds up an event.

mod exporter;
mod transport;

pub use exporter::{Exporter, ExporterError, SpanCounts, TracingOptions, probe};
