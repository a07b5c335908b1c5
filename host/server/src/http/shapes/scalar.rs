//! The two scalars that need a word of their own: points in time and whole CloudEvents.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use usher_event::Event;

use crate::app::rfc3339;

/// A point in time: Unix milliseconds, written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(u64);

impl Timestamp {
    /// From Unix milliseconds.
    pub(crate) const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// From RFC 3339; `None` for anything else, and for times before 1970.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }

    /// Unix milliseconds.
    pub(crate) const fn as_ms(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339(self.0))
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

/// An event in the CloudEvents JSON format.
#[derive(Clone, Debug)]
pub(crate) struct CloudEvent(pub(crate) Event);

impl Deref for CloudEvent {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.0
    }
}

impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CloudEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By way of a value, because a raw one can't be had inside `#[serde(flatten)]`. Only the
        // command line reads events from shapes, and it reads few.
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = serde_json::to_vec(&value).map_err(serde::de::Error::custom)?;
        usher_event::json::from_slice(&text).map(Self).map_err(serde::de::Error::custom)
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

    #[test]
    fn events_round_trip() {
        let text = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}"#;
        let event: CloudEvent = serde_json::from_str(text).unwrap();
        assert_eq!((event.id(), event.source(), event.ty()), ("1", "/s", "t"));
        let again: CloudEvent =
            serde_json::from_slice(&serde_json::to_vec(&event).unwrap()).unwrap();
        assert_eq!(again.encoded(), event.encoded());
    }
}
