//! System events: facts about the router's work that listeners can subscribe to.

use crate::trace::Lineage;
use crate::{
    Event, EventBuilder, EventError, PLUGIN_SOURCE_PREFIX, SYSTEM_SOURCE, SYSTEM_TYPE_PREFIX,
    Value, format_time,
};

/// A delivery became a dead letter.
pub const DELIVERY_DEAD_TYPE: &str = "dev.usher.delivery.dead";

/// A plugin was quarantined after repeated failures.
pub const PLUGIN_QUARANTINED_TYPE: &str = "dev.usher.plugin.quarantined";

/// A new version of a plugin was rolled back.
pub const PLUGIN_ROLLED_BACK_TYPE: &str = "dev.usher.plugin.rolled-back";

/// A system event.
#[derive(Clone, Copy, Debug)]
pub struct SystemEvent<'a> {
    /// CloudEvents `id`.
    pub id: &'a str,
    /// CloudEvents `type`.
    pub ty: &'a str,
    /// CloudEvents `subject`.
    pub subject: &'a str,
    /// CloudEvents `time`, as Unix milliseconds.
    pub time_ms: u64,
    /// The payload: JSON.
    pub data: &'a serde_json::Value,
}

impl SystemEvent<'_> {
    /// A system event that concerns no other event: the first of its flow.
    ///
    /// # Errors
    /// An attribute is too long.
    pub fn alone(&self) -> Result<Event, EventError> {
        self.built(|event| event)
    }

    /// A system event in the flow and trace of the event it concerns. `flow` is the sequence of the
    /// flow's first event.
    ///
    /// # Errors
    /// An attribute is too long.
    pub fn about(&self, parent: &Event, flow: u64) -> Result<Event, EventError> {
        let lineage = Lineage::of(parent, parent.trace_context(), flow, self.id);
        self.built(|event| {
            lineage.extensions().fold(event, |event, (name, text)| {
                event.extension(name, Value::String(text.to_owned()))
            })
        })
    }

    fn built(
        &self,
        extend: impl FnOnce(EventBuilder) -> EventBuilder,
    ) -> Result<Event, EventError> {
        let event = Event::builder(self.id, SYSTEM_SOURCE, self.ty)
            .subject(self.subject)
            .time(format_time(self.time_ms))
            .datacontenttype("application/json");
        extend(event).data(self.data.to_string()).build()
    }
}

impl Event {
    /// Whether the type is reserved for system events.
    pub fn has_system_type(&self) -> bool {
        self.ty().starts_with(SYSTEM_TYPE_PREFIX)
    }

    /// Whether the source is reserved for system events.
    pub fn has_system_source(&self) -> bool {
        let rest = self.source().strip_prefix(SYSTEM_SOURCE);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The attribute with a reserved value, which only plugins or the router may use, and the rule
    /// it breaks, continuing "must not".
    pub fn reserved_attribute(&self) -> Option<(&'static str, String)> {
        if self.source().starts_with(PLUGIN_SOURCE_PREFIX) {
            let what = format!("start with {PLUGIN_SOURCE_PREFIX}, which is for plugins' events");
            return Some(("source", what));
        }
        if self.has_system_source() {
            let what = format!("be {SYSTEM_SOURCE} or under it, which is for the router's events");
            return Some(("source", what));
        }
        if self.has_system_type() {
            let what = format!("start with {SYSTEM_TYPE_PREFIX}, which is for the router's events");
            return Some(("type", what));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_about_another_is_in_its_flow_and_trace() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = Event::builder("o-1", "/shop", "ticket.purchased")
            .extension("correlationid", Value::String("order".into()))
            .extension("traceparent", Value::String(traceparent.into()))
            .extension("tracestate", Value::String("a=b".into()));
        let data = json!({ "dead_letter": 4 });
        let system = SystemEvent {
            id: "dead-letter/4",
            ty: DELIVERY_DEAD_TYPE,
            subject: "printer/tickets",
            time_ms: 0,
            data: &data,
        };
        let event = system.about(&parent.build().unwrap(), 17).unwrap();
        assert!(event.has_system_type() && event.has_system_source());
        assert_eq!(event.subject(), Some("printer/tickets"));
        assert_eq!(event.time(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(event.attribute("causationid").as_deref(), Some("o-1"));
        assert_eq!(event.attribute("correlationid").as_deref(), Some("order"));
        let trace = event.attribute("traceparent").unwrap();
        assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && trace != traceparent);
        assert_eq!(event.attribute("tracestate").as_deref(), Some("a=b"));
        assert_eq!(event.data().unwrap(), r#"{"dead_letter":4}"#);

        let parent = Event::builder("o-1", "/shop", "ticket.purchased").build().unwrap();
        let event = system.about(&parent, 17).unwrap();
        assert_eq!(event.attribute("correlationid").as_deref(), Some("17"));
        assert_eq!(event.attribute("traceparent"), None);
    }

    #[test]
    fn only_whole_segments_of_the_source_count() {
        for (source, expected) in
            [("/usher", true), ("/usher/x", true), ("/usherette", false), ("/shop/usher", false)]
        {
            let event = Event::builder("1", source, "t").build().unwrap();
            assert_eq!(event.has_system_source(), expected, "{source}");
        }
    }
}
