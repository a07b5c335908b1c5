//! Types of the API with a serialization of their own: points in time and whole CloudEvents.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use usher_event::{Event, format_time, read_time};
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A point in time: Unix milliseconds, written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From Unix milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// From RFC 3339; `None` for anything else, and for times before 1970.
    pub fn from_text(text: &str) -> Option<Self> {
        read_time(text).map(Self)
    }

    /// Unix milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_time(self.0))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_text(&text)
            .ok_or_else(|| serde::de::Error::custom("use RFC 3339, such as 2026-01-31T12:00:00Z"))
    }
}

impl ToSchema for Timestamp {}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339 in UTC, with milliseconds."))
            .into()
    }
}

/// An event in the CloudEvents JSON format. Its payload is passed through byte for byte: no number
/// is rounded, no member reordered, and nothing that the router stores is refused here.
#[derive(Clone, Debug)]
pub enum CloudEvent {
    /// An event that parses.
    Event(Event),
    /// JSON that breaks a rule of this version. Kept verbatim, so that it doesn't make the other
    /// events of a response unreadable.
    Unreadable(Box<RawValue>),
}

/// Placeholder for the attributes of an unreadable event.
const UNREADABLE: &str = "?";

impl CloudEvent {
    fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::Unreadable(_) => None,
        }
    }

    /// `type`.
    pub fn ty(&self) -> &str {
        self.event().map_or(UNREADABLE, Event::ty)
    }

    /// `source`.
    pub fn source(&self) -> &str {
        self.event().map_or(UNREADABLE, Event::source)
    }

    /// `subject`.
    pub fn subject(&self) -> Option<&str> {
        self.event().and_then(Event::subject)
    }

    /// The payload; for an unreadable event, its whole JSON.
    pub fn data(&self) -> Option<Bytes> {
        match self {
            Self::Event(event) => event.data(),
            Self::Unreadable(json) => Some(Bytes::copy_from_slice(json.get().as_bytes())),
        }
    }
}

impl CloudEvent {
    /// Takes its data away; all of it, if it is unreadable.
    pub fn hide_data(&mut self) {
        let hidden = self.event().map(|event| event.with_part_of_data(None));
        *self = hidden.map_or_else(|| Self::Unreadable(RawValue::NULL.to_owned()), Self::Event);
    }
}

impl From<Event> for CloudEvent {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Event(event) => event.serialize(serializer),
            Self::Unreadable(json) => json.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CloudEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let event = usher_event::json::from_slice(json.get().as_bytes());
        Ok(event.map_or(Self::Unreadable(json), Self::Event))
    }
}

impl ToSchema for CloudEvent {}

impl PartialSchema for CloudEvent {
    fn schema() -> RefOr<Schema> {
        let text =
            |min_length| ObjectBuilder::new().schema_type(Type::String).min_length(min_length);
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "CloudEvents 1.0.2 in the JSON format: the attributes, extensions among them, and \
                 `data` or `data_base64`.",
            ))
            .property("specversion", text(None).enum_values(Some(["1.0"])))
            .required("specversion")
            .property("id", text(Some(1)))
            .required("id")
            .property("source", text(Some(1)))
            .required("source")
            .property("type", text(Some(1)))
            .required("type")
            .property("subject", text(None))
            .property("time", Timestamp::schema())
            .property("datacontenttype", text(None))
            .property("dataschema", text(None))
            .property("data", serde_json::Value::schema())
            .property("data_base64", text(None))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        let time = Timestamp::from_ms(1_769_860_800_007);
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(text, "\"2026-01-31T12:00:00.007Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), time);
        assert_eq!(time.as_ms(), 1_769_860_800_007);
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for text in ["\"\"", "\"yesterday\"", "\"1969-12-31T23:59:59Z\"", "7"] {
            assert!(serde_json::from_str::<Timestamp>(text).is_err(), "{text}");
        }
    }

    /// Data that the router accepts and a general JSON parser refuses or alters.
    fn awkward_data() -> Vec<String> {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let texts = [
            "1e400",
            "-1e400",
            "1.10",
            "-0",
            "123456789012345678901234567890",
            r#""\ud800""#,
            r#"{"a":"\udc00\ud800"}"#,
            r#"{"b":1,"a":2,"b":3}"#,
            r#"{"\ud800":null}"#,
            r#""\u0000""#,
            "null",
            r#"{"a" :  [ 1 ,2 ] }"#,
        ];
        texts.map(str::to_owned).into_iter().chain([130, 10_000].map(deep)).collect()
    }

    #[test]
    fn data_passes_through_as_it_was_sent() {
        for data in awkward_data() {
            let text = format!(
                r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data}}}"#
            );
            let sent = usher_event::json::from_slice(text.as_bytes()).unwrap();
            let written = serde_json::to_string(&CloudEvent::from(sent)).unwrap();
            let read: CloudEvent = serde_json::from_str(&written).unwrap();
            assert_eq!((read.ty(), read.source()), ("t", "/s"));
            assert_eq!(read.data().as_deref(), Some(data.as_bytes()));
            assert_eq!(serde_json::to_string(&read).unwrap(), written);
        }
    }

    #[test]
    fn an_event_that_breaks_a_rule_hides_no_other() {
        let text = r#"[{"specversion":"2.0","data":1e400},
            {"specversion":"1.0","id":"1","source":"/s","type":"t"}]"#;
        let events: Vec<CloudEvent> = serde_json::from_str(text).unwrap();
        let types: Vec<_> = events.iter().map(CloudEvent::ty).collect();
        assert_eq!(types, ["?", "t"]);
        let raw = serde_json::to_string(&events[0]).unwrap();
        assert_eq!(raw, r#"{"specversion":"2.0","data":1e400}"#);
        assert_eq!(events[0].data().as_deref(), Some(raw.as_bytes()));
    }
}
