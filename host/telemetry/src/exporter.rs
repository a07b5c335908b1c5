//! Where spans go.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Uri};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind as OtelKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, SpanData,
    SpanEvents, SpanExporter as Export, SpanLinks, SpanProcessor as _,
};
use usher_event::{EndedSpan, SpanKind, SpanSink, SpanValue};
use usher_tls::TlsError;

use crate::transport::{Transport, Unreached};

/// Limit on spans that wait to be sent; further ones are dropped.
const QUEUE_MAX_SPANS: u64 = 16 * 1024;

/// Spans sent at once.
const BATCH_MAX_SPANS: usize = 512;

/// How often what has gathered is sent.
const SEND_EVERY: Duration = Duration::from_secs(1);

/// Time limit of one request to the collector; repeating it included, of one batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last batches may take when the router stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// How much of a text attribute, or of an error, is sent.
const TEXT_MAX_BYTES: usize = 1024;

/// Where spans are sent, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingOptions {
    /// The collector's OTLP endpoint; `/v1/traces` is appended.
    pub endpoint: Uri,
    /// Fields that are added to each request.
    pub headers: HeaderMap,
    /// Roots to verify the collector's certificate with, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// `service.name` of the router.
    pub service_name: String,
    /// Share of the traces to record, from 0 to 1, of those that begin here.
    pub sample_ratio: f64,
}

/// Why spans can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// There are no roots to verify the collector's certificate with.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The SDK refuses.
    #[error("spans can't be sent: {0}")]
    Build(#[from] ExporterBuildError),
}

/// What became of the spans since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Taken by the collector.
    pub exported: u64,
    /// Not taken, or the collector was not reached.
    pub failed: u64,
    /// Dropped because too many waited.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    waiting: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// Sends spans to a collector.
#[derive(Debug)]
pub struct Exporter {
    processor: BatchSpanProcessor,
    counters: Arc<Counters>,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    sample_ratio: f64,
}

impl Exporter {
    /// Starts the thread that sends. The collector needn't be there yet.
    ///
    /// # Errors
    /// There are no roots for an `https` endpoint, or the SDK refuses the options.
    pub fn start(options: &TracingOptions) -> Result<Self, ExporterError> {
        let unreached = Unreached::default();
        let inner = sender(options, &unreached)?;
        let counters = Arc::new(Counters::default());
        let (counted, fails) = (Arc::clone(&counters), AtomicBool::new(false));
        let counted = Counted { inner, counters: counted, unreached, fails };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(usize::try_from(QUEUE_MAX_SPANS).unwrap_or(usize::MAX))
            .with_max_export_batch_size(BATCH_MAX_SPANS)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let mut processor = BatchSpanProcessor::new(counted, config);
        let version = env!("CARGO_PKG_VERSION");
        processor.set_resource(
            &Resource::builder()
                .with_service_name(options.service_name.clone())
                .with_attribute(KeyValue::new("service.version", version))
                .build(),
        );
        Ok(Self {
            processor,
            counters,
            ids: RandomIdGenerator::default(),
            scope: InstrumentationScope::builder("usher").with_version(version).build(),
            sample_ratio: options.sample_ratio,
        })
    }

    /// What became of the spans.
    pub fn counts(&self) -> SpanCounts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SpanCounts {
            exported: load(&self.counters.exported),
            failed: load(&self.counters.failed),
            dropped: load(&self.counters.dropped),
        }
    }

    /// Sends what waits, and stops. Blocks for at most a few seconds.
    pub fn stop(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(STOP_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// What sends batches.
fn sender(options: &TracingOptions, unreached: &Unreached) -> Result<SpanExporter, ExporterError> {
    let is_tls = options.endpoint.scheme_str() == Some("https");
    let (ca_file, headers) = (options.ca_file.as_deref(), options.headers.clone());
    let transport = Transport::new(is_tls, ca_file, SEND_TIMEOUT, headers, unreached.clone())?;
    let endpoint = options.endpoint.to_string();
    let sender = SpanExporter::builder()
        .with_http()
        .with_http_client(transport)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(SEND_TIMEOUT)
        .build()?;
    Ok(sender)
}

/// Sends no spans, to see whether the collector would take some.
///
/// # Errors
/// Why it would not.
pub async fn probe(options: &TracingOptions) -> Result<(), String> {
    let unreached = Unreached::default();
    let sender = sender(options, &unreached).map_err(|error| error.to_string())?;
    let sent = sender.export(Vec::new()).await;
    sent.map_err(|error| unreached.take().unwrap_or_else(|| error.to_string()))
}

impl SpanSink for Exporter {
    fn new_trace_id(&self) -> u128 {
        u128::from_be_bytes(self.ids.new_trace_id().to_bytes()).max(1)
    }

    fn is_sampled(&self, trace_id: u128) -> bool {
        // Of the lowest 56 bits, which are random (W3C Trace Context 2, section 4.4), the highest
        // values are recorded, as the consistent sampling of OpenTelemetry has it.
        const BITS: u32 = 56;
        let random = u64::try_from(trace_id & ((1 << BITS) - 1)).unwrap_or_default();
        random as f64 >= (1.0 - self.sample_ratio) * (1_u64 << BITS) as f64
    }

    fn new_span_id(&self) -> u64 {
        u64::from_be_bytes(self.ids.new_span_id().to_bytes()).max(1)
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn record(&self, span: EndedSpan) {
        if self.counters.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE_MAX_SPANS {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            if self.counters.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    "spans come faster than the collector takes them; some are dropped, see \
                     usher_spans in the metrics, and lower sample_ratio"
                );
            }
            return;
        }
        self.processor.on_end(self.data(span));
    }
}

impl Exporter {
    fn data(&self, span: EndedSpan) -> SpanData {
        let EndedSpan { context, parent, kind, name, began, ended, attributes, error } = span;
        let attribute = |(name, value)| {
            let value = match value {
                SpanValue::Text(text) => Value::from(cut(text)),
                SpanValue::Number(number) => Value::I64(i64::try_from(number).unwrap_or(i64::MAX)),
            };
            KeyValue::new(name, value)
        };
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(context.trace_id.to_be_bytes()),
                SpanId::from_bytes(context.span_id.to_be_bytes()),
                TraceFlags::new(context.flags),
                false,
                TraceState::default(),
            ),
            parent_span_id: parent
                .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span_id.to_be_bytes())),
            // Others made what the router receives, as far as can be told.
            parent_span_is_remote: parent.is_some()
                && matches!(kind, SpanKind::Server | SpanKind::Consumer),
            span_kind: match kind {
                SpanKind::Internal => OtelKind::Internal,
                SpanKind::Server => OtelKind::Server,
                SpanKind::Client => OtelKind::Client,
                SpanKind::Producer => OtelKind::Producer,
                SpanKind::Consumer => OtelKind::Consumer,
            },
            name: name.into(),
            start_time: began,
            end_time: ended,
            attributes: attributes.into_iter().map(attribute).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: error.map_or(Status::Unset, |error| Status::error(cut(error))),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn cut(text: String) -> String {
    usher_event::text::cut(text, TEXT_MAX_BYTES, usher_event::text::ELLIPSIS)
}

/// Counts what an exporter sends, and logs when the collector goes and comes.
#[derive(Debug)]
struct Counted {
    inner: SpanExporter,
    counters: Arc<Counters>,
    unreached: Unreached,
    fails: AtomicBool,
}

impl Export for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        self.counters.waiting.fetch_sub(count, Ordering::Relaxed);
        let sent = self.inner.export(batch).await;
        let (counter, fails) = match &sent {
            Ok(()) => (&self.counters.exported, false),
            Err(_) => (&self.counters.failed, true),
        };
        counter.fetch_add(count, Ordering::Relaxed);
        match (&sent, self.fails.swap(fails, Ordering::Relaxed)) {
            (Err(error), false) => {
                let reason = self.unreached.take().unwrap_or_else(|| error.to_string());
                tracing::warn!(
                    reason,
                    "the collector takes no spans; they are dropped until it does"
                );
            }
            (Ok(()), true) => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
