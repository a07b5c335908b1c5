//! Events a listener hands back, and how the host turns them into events of their own.

use bytes::Bytes;

use crate::{Delivery, Event, EventError, PluginName, Value};

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
    /// The type it claims.
    pub ty: String,
    /// Attribute and rule.
    pub reason: EventError,
}

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
        let _ = (delivery, plugin, time);
        Err(EmissionError { position, ty: self.ty, reason: EventError::todo() })
    }
}
