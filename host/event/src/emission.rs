//! Events a listener hands back, and how the host turns them into events of their own.

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::cut;
use crate::{Delivery, Event, EventError, PluginName, Value, trace};

/// Sources under this path belong to the router; producers can't use them.
pub const PLUGIN_SOURCE_PREFIX: &str = "/plugins/";

/// An event as a listener hands it back: the host adds id, source, time, `correlationid`,
/// `causationid` and trace context.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Emission {
    /// CloudEvents `type`.
    pub ty: String,
    /// CloudEvents `subject`.
    pub subject: Option<String>,
    /// CloudEvents `datacontenttype`.
    pub datacontenttype: Option<String>,
    /// CloudEvents `dataschema`.
    pub dataschema: Option<String>,
    /// Extension attributes of the listener's own.
    pub extensions: Vec<(String, Value)>,
    /// The payload.
    pub data: Option<Bytes>,
    /// How long to wait, after the commit, before the event is appended to the log.
    pub delay_ms: Option<u64>,
}

/// An emission the host can't accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("emission {position} ({ty:?}): {reason}")]
pub struct EmissionError {
    /// Its place in the list handed back; the first is 0.
    pub position: usize,
    /// The type it claims, cut when it is long.
    pub ty: String,
    /// Attribute and rule.
    pub reason: EventError,
}

/// Extensions that say how an event came about: only the host knows.
const HOST_EXTENSIONS: [&str; 4] = ["causationid", "correlationid", "traceparent", "tracestate"];

impl Emission {
    /// The event this emission becomes. Deterministic but for `time`: the id is
    /// `SEQUENCE/PLUGIN/SUBSCRIPTION/POSITION`, so a re-run of the delivery yields the same id.
    ///
    /// `time` is RFC 3339.
    ///
    /// # Errors
    /// An attribute is not valid, or is one that only the host may set.
    pub fn into_event(
        self,
        delivery: &Delivery,
        plugin: &PluginName,
        position: usize,
        time: &str,
    ) -> Result<Event, EmissionError> {
        let Self { ty, subject, datacontenttype, dataschema, extensions, data, delay_ms: _ } = self;
        let refuse = |reason| EmissionError { position, ty: cut(&ty), reason };

        let parent = &delivery.event;
        let id =
            format!("{}/{plugin}/{}/{position}", delivery.sequence, delivery.subscription.local());
        let source = format!("{PLUGIN_SOURCE_PREFIX}{plugin}");
        let correlationid = parent
            .attribute("correlationid")
            .map_or_else(|| delivery.flow.to_string(), Cow::into_owned);
        let traceparent =
            parent.attribute("traceparent").and_then(|parent| trace::child(&parent, &id));
        let tracestate = traceparent.as_ref().and_then(|_| parent.attribute("tracestate"));

        let causationid = Value::String(parent.id().to_owned());
        let mut builder = Event::builder(id, source, ty.as_str())
            .time(time)
            .extension("correlationid", Value::String(correlationid))
            .extension("causationid", causationid);
        if let Some(traceparent) = traceparent {
            builder = builder.extension("traceparent", Value::String(traceparent));
        }
        if let Some(tracestate) = tracestate {
            builder = builder.extension("tracestate", Value::String(tracestate.into_owned()));
        }
        if let Some(subject) = subject {
            builder = builder.subject(subject);
        }
        if let Some(media_type) = datacontenttype {
            builder = builder.datacontenttype(media_type);
        }
        if let Some(uri) = dataschema {
            builder = builder.dataschema(uri);
        }
        if let Some(data) = data {
            builder = builder.data(data);
        }
        for (name, value) in extensions {
            if HOST_EXTENSIONS.contains(&name.as_str()) {
                return Err(refuse(EventError::rule(&name, "is set by the host alone")));
            }
            builder = builder.extension(name, value);
        }
        builder.build().map_err(refuse)
    }
}
