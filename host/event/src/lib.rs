//! The core types of Usher: [`Event`], [`Delivery`], [`Verdict`], [`Emission`] and the [`Listener`]
//! trait, with the CloudEvents 1.0.2 codecs.
//!
//! No I/O, clock or executor. An [`Event`] is one immutable byte buffer (see [`encoding`]), shared
//! by reference count from the wire to the disk to the sandbox.

mod builder;
mod delivery;
mod digest;
mod emission;
mod error;
mod event;
mod given;
mod host;
mod http_reply;
mod listener;
pub mod media;
mod name;
#[cfg(feature = "openapi")]
mod openapi;
mod outcome;
mod quota;
mod request_span;
mod reserved;
mod rules;
mod span;
mod system;
mod time;
mod trace;
mod trace_context;
mod value;

pub mod encoding;
pub mod http_binary;
pub mod json;
pub mod limits;
pub mod text;

pub use self::time::{format_time, micros, millis, read_time};
pub use builder::EventBuilder;
pub use delivery::{Delivery, Failure, FailureClass, Verdict};
pub use digest::Digest;
pub use emission::{Emission, EmissionError};
pub use error::{BatchError, EventError, EventErrorKind};
pub use event::{Event, Identity};
pub use given::{
    Begin, ClockReadings, Content, Given, GivenAnswer, GivenBlob, GivenClock, GivenHttpError,
    GivenListing, GivenRandom, GivenUsage, Recording,
};
pub use host::{
    BlobChange, BlobInfo, BlobStore, StagedBlob, StateAddress, StatePage, StateRead, StateReader,
    StateSnapshot, StateUsage, StateWrite, StoreError,
};
pub use http_reply::{HttpReply, Replier, ReplyMeaning};
pub use listener::Listener;
pub use name::{NAME_MAX_BYTES, NameError, PluginName, ScheduleName, SubscriptionName, TokenName};
pub use outcome::{Effects, Outcome};
pub use quota::{Quota, QuotaError};
pub use request_span::RequestSpan;
pub use reserved::{PLUGIN_SOURCE_PREFIX, SYSTEM_SOURCE, SYSTEM_TYPE_PREFIX};
pub use rules::check_attribute_name;
pub use span::{
    EndedSpan, Span, SpanAbout, SpanAttributes, SpanKind, SpanSink, SpanValue, Tracing,
    event_attributes,
};
pub use system::{
    DELIVERY_DEAD_TYPE, PLUGIN_QUARANTINED_TYPE, PLUGIN_ROLLED_BACK_TYPE, SystemEvent,
};
pub use trace::LINEAGE_EXTENSIONS;
pub use trace_context::{TRACEPARENT, TRACESTATE, TraceContext};
pub use value::{AttributeRef, Value};
