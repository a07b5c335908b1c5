//! Emissions: the events a listener returns.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Extension, Value};

/// An event to emit. The host adds id, source, time, correlation, cause and trace context, and
/// refuses an emission that sets one of these itself.
///
/// At most 100 per delivery, 256 KiB each, 1 MiB in total.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "an emission is sent by returning it from `handle`"]
pub struct Emission {
    /// The kind of event: the attribute `type`.
    pub ty: String,
    /// What the event is about.
    pub subject: Option<String>,
    /// Media type of `data`.
    pub datacontenttype: Option<String>,
    /// URI of the schema of `data`.
    pub dataschema: Option<String>,
    /// Extension attributes.
    pub extensions: Vec<Extension>,
    /// The payload.
    pub data: Option<Vec<u8>>,
    /// Delay between the commit and the append to the log.
    pub delay: Option<Duration>,
}

impl Emission {
    /// An emission without data.
    pub fn new(ty: impl Into<String>) -> Self {
        Self { ty: ty.into(), ..Self::default() }
    }

    /// Sets what the event is about.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets the payload to a value serialised as JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] if JSON can't represent the value, such as a map with non-string keys.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, Error> {
        match serde_json::to_vec(value) {
            Ok(data) => Ok(self.data(data, "application/json")),
            Err(error) => Err(Error::Invalid(format!("can't write {} as JSON: {error}", self.ty))),
        }
    }

    /// Sets the payload and its media type.
    pub fn data(mut self, data: impl Into<Vec<u8>>, content_type: impl Into<String>) -> Self {
        self.data = Some(data.into());
        self.datacontenttype = Some(content_type.into());
        self
    }

    /// Sets the URI of the payload's schema.
    pub fn schema(mut self, uri: impl Into<String>) -> Self {
        self.dataschema = Some(uri.into());
        self
    }

    /// Adds an extension attribute; its name has 1 to 20 characters of a-z and 0-9.
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extensions.push(Extension { name: name.into(), value: value.into() });
        self
    }

    /// Delays the append to the log; at most 30 days. Use it for timers.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// The payload, parsed from JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it isn't JSON or not of this type.
    pub fn payload<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_slice(self.data.as_deref().unwrap_or(b"null"))
            .map_err(|error| Error::Invalid(format!("data of {}: {error}", self.ty)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn builds_up() {
        let emission = Emission::new("a.b")
            .subject("s")
            .json(&[1, 2])
            .unwrap()
            .schema("urn:x")
            .extension("partition", 3)
            .delay(Duration::from_secs(9));
        assert_eq!(emission.data.as_deref(), Some(b"[1,2]".as_slice()));
        assert_eq!(emission.datacontenttype.as_deref(), Some("application/json"));
        assert_eq!(emission.payload::<Vec<u8>>(), Ok(vec![1, 2]));
        assert_eq!(
            emission.extensions,
            [Extension { name: "partition".into(), value: Value::Integer(3) }]
        );
        assert_eq!(emission.delay, Some(Duration::from_secs(9)));
    }

    #[test]
    fn refuses_what_json_cannot_express() {
        let odd = HashMap::from([(vec![1], 1)]);
        assert!(matches!(Emission::new("x").json(&odd), Err(Error::Invalid(_))));
    }
}
