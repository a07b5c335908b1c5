//! What a listener is given: a CloudEvent and the circumstances of its delivery.

use serde::Deserialize;

use crate::Error;

/// One event for one subscription, at one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The event.
    pub event: Event,
    /// The name of the subscription, as `describe` or the operator gave it.
    pub subscription: String,
    /// 1 for the first attempt. Rises by one with each failed attempt.
    pub attempt: u32,
    /// The event's place in the log.
    pub sequence: u64,
    /// When the host will cut the call off: milliseconds since 1970-01-01 UTC.
    pub deadline_ms: u64,
    /// Whether an operator asked for this event to be delivered again.
    pub replay: bool,
}

impl Delivery {
    /// A key that is the same at every attempt and different for every other delivery. Give it to
    /// services that take idempotency keys, so that a second attempt doesn't act twice.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}-{}", self.sequence, self.subscription)
    }
}

/// A CloudEvent, as it lies in the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Unique within `source`.
    pub id: String,
    /// Where it happened: a URI reference.
    pub source: String,
    /// What happened: the attribute `type`.
    pub ty: String,
    /// What it is about, within the source.
    pub subject: Option<String>,
    /// When it happened: RFC 3339, as the producer wrote it.
    pub time: Option<String>,
    /// Media type of `data`. Absent means JSON.
    pub datacontenttype: Option<String>,
    /// URI of the schema that `data` follows.
    pub dataschema: Option<String>,
    /// All attributes CloudEvents itself doesn't define.
    pub extensions: Vec<Extension>,
    /// The payload's bytes.
    pub data: Option<Vec<u8>>,
}

impl Event {
    /// The payload, read from JSON. Works on an event without data for types that can be made of
    /// `null`, such as an `Option`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the data isn't JSON or not of this type. With `?` that rejects the
    /// event: it will be no better next time.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_slice(self.data.as_deref().unwrap_or(b"null")).map_err(|error| {
            Error::Invalid(format!("data of {} is not what was expected: {error}", self.ty))
        })
    }

    /// The value of an extension attribute.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&Value> {
        self.extensions.iter().find(|extension| extension.name == name).map(|found| &found.value)
    }

    /// What all events of one flow have in common: the attribute `correlationid`. The host sets it
    /// on whatever listeners emit.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        match self.extension("correlationid") {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// An attribute beyond those that CloudEvents itself defines.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// 1 to 20 characters of a-z and 0-9. Events from elsewhere may bring longer names.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// The value of an extension attribute; the cases are the CloudEvents type system.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Text without control characters.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// An absolute URI.
    Uri(String),
    /// A URI or relative reference.
    UriReference(String),
    /// RFC 3339.
    Timestamp(String),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: Option<&str>) -> Event {
        Event {
            ty: "t".into(),
            data: data.map(|text| text.as_bytes().to_vec()),
            ..Event::default()
        }
    }

    #[test]
    fn reads_typed_payloads() {
        assert_eq!(event(Some("[1,2]")).json::<Vec<u8>>(), Ok(vec![1, 2]));
        assert_eq!(event(Some("\"borrowed\"")).json::<&str>(), Ok("borrowed"));
        assert_eq!(event(None).json::<Option<u8>>(), Ok(None));
    }

    #[test]
    fn says_what_is_wrong_with_a_payload() {
        let Err(Error::Invalid(reason)) = event(Some("{")).json::<Vec<u8>>() else {
            panic!("accepted a torn payload")
        };
        assert!(reason.starts_with("data of t is not what was expected: "), "{reason}");
    }
}
