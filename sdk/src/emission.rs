//! What a listener answers with.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Extension, Value};

/// An event to emit. The host adds id, source, time, correlation, cause and trace context, and
/// refuses an emission that sets one of these itself.
///
/// At most 100 a delivery, 256 KiB each, 1 MiB together.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "an emission is sent by returning it from `handle`"]
pub struct Emission {
    /// What happened: the attribute `type`.
    pub ty: String,
    /// What it is about.
    pub subject: Option<String>,
    /// Media type of `data`.
    pub datacontenttype: Option<String>,
    /// URI of the schema that `data` follows.
    pub dataschema: Option<String>,
    /// Attributes of the listener's own.
    pub extensions: Vec<Extension>,
    /// The payload.
    pub data: Option<Vec<u8>>,
    /// How long to wait, after the commit, before it is appended to the log.
    pub delay: Option<Duration>,
}

impl Emission {
    /// An emission without data.
    pub fn new(ty: impl Into<String>) -> Self {
        Self { ty: ty.into(), ..Self::default() }
    }

    /// Sets what it is about.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets the payload to a value written as JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] if JSON can't express the value, as a map whose keys aren't text.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, Error> {
        match serde_json::to_vec(value) {
            Ok(data) => Ok(self.data(data, "application/json")),
            Err(error) => Err(Error::Invalid(format!("can't write {} as JSON: {error}", self.ty))),
        }
    }

    /// Sets the payload to bytes of some media type.
    pub fn data(mut self, data: impl Into<Vec<u8>>, content_type: impl Into<String>) -> Self {
        self.data = Some(data.into());
        self.datacontenttype = Some(content_type.into());
        self
    }

    /// Says which schema the payload follows.
    pub fn schema(mut self, uri: impl Into<String>) -> Self {
        self.dataschema = Some(uri.into());
        self
    }

    /// Adds an attribute: a name of 1 to 20 characters of a-z and 0-9.
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extensions.push(Extension { name: name.into(), value: value.into() });
        self
    }

    /// Has it appended to the log later; at most 30 days. This is how timers are made.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// The payload, read back from JSON.
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
