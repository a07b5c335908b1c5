//! Emissions: events returned by a listener, and their conversion into full events.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::encoding::{Core, Parts};
use crate::error::cut;
use crate::limits::EXTENSION_NAME_MAX_BYTES;
use crate::trace::{LINEAGE_EXTENSIONS, Lineage};
use crate::value::ValueRef;
use crate::{
    Delivery, Event, EventError, PLUGIN_SOURCE_PREFIX, PluginName, SYSTEM_TYPE_PREFIX, Value,
};

/// An event returned by a listener. The host adds id, source, time, `correlationid`, `causationid`
/// and trace context.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Emission {
    /// CloudEvents `type`.
    pub ty: String,
    /// CloudEvents `subject`.
    pub subject: Option<String>,
    /// CloudEvents `datacontenttype`.
    pub datacontenttype: Option<String>,
    /// CloudEvents `dataschema`.
    pub dataschema: Option<String>,
    /// Extension attributes set by the listener.
    pub extensions: Vec<(String, Value)>,
    /// The payload.
    pub data: Option<Bytes>,
    /// Delay between the commit and the append to the log.
    pub delay_ms: Option<u64>,
}

/// An invalid emission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("emission {position} ({ty:?}): {reason}")]
pub struct EmissionError {
    /// Index in the returned list, from 0.
    pub position: usize,
    /// The claimed type, truncated.
    pub ty: String,
    /// The attribute and the rule it breaks.
    pub reason: EventError,
}

impl Emission {
    /// Converts the emission into an event. Deterministic except for `time`: the id is
    /// `SEQUENCE/PLUGIN/SUBSCRIPTION/POSITION`, so a re-run of the delivery yields the same id. A
    /// replay appends `/replay/RECORD`, so that its emissions aren't duplicates of the original
    /// ones.
    ///
    /// `time` is RFC 3339.
    ///
    /// # Errors
    /// An attribute is invalid, or may only be set by the host.
    pub fn into_event(
        self,
        delivery: &Delivery,
        plugin: &PluginName,
        position: usize,
        time: &str,
    ) -> Result<Event, EmissionError> {
        let refuse = |reason| EmissionError { position, ty: cut(&self.ty).into_owned(), reason };
        if self.ty.starts_with(SYSTEM_TYPE_PREFIX) {
            let rule = format!("must not start with {SYSTEM_TYPE_PREFIX}, which is for the router");
            return Err(refuse(EventError::rule("type", rule)));
        }
        let local = delivery.subscription.local();
        let mut id = format!("{}/{plugin}/{local}/{position}", delivery.sequence);
        if let Some(record) = delivery.replay {
            id.push_str(&format!("/replay/{record}"));
        }
        let source = format!("{PLUGIN_SOURCE_PREFIX}{plugin}");
        let lineage = Lineage::of(&delivery.event, delivery.trace(), delivery.flow, &id);

        let mut parts = Parts { data: self.data.as_deref(), ..Parts::default() };
        parts.set(Core::Id, &id);
        parts.set(Core::Source, &source);
        parts.set(Core::Type, &self.ty);
        parts.set(Core::Time, time);
        let optional = [
            (Core::Subject, &self.subject),
            (Core::DataContentType, &self.datacontenttype),
            (Core::DataSchema, &self.dataschema),
        ];
        for (core, text) in optional {
            if let Some(text) = text {
                parts.set(core, text);
            }
        }
        parts.extensions.reserve_exact(LINEAGE_EXTENSIONS.len() + self.extensions.len());
        let own = lineage.extensions().map(|(name, text)| (name, ValueRef::String(text)));
        parts.extensions.extend(own);
        for (name, value) in &self.extensions {
            if LINEAGE_EXTENSIONS.contains(&name.as_str()) {
                return Err(refuse(EventError::rule(name, "is set by the host alone")));
            }
            parts.extensions.push((name, value.borrow()));
        }
        Event::from_parts(parts, EXTENSION_NAME_MAX_BYTES).map_err(refuse)
    }
}
