//! Builds events from owned parts, under the stricter rules for event producers.

use bytes::Bytes;

use crate::encoding::{Core, Parts};
use crate::limits::EXTENSION_NAME_MAX_BYTES;
use crate::{Event, EventError, Value};

/// Collects an event's parts; validated only by [`EventBuilder::build`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EventBuilder {
    id: String,
    source: String,
    ty: String,
    subject: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    extensions: Vec<(String, Value)>,
    data: Option<Bytes>,
}

impl Event {
    /// Starts an event with the required attributes.
    pub fn builder(
        id: impl Into<String>,
        source: impl Into<String>,
        ty: impl Into<String>,
    ) -> EventBuilder {
        EventBuilder::new(id.into(), source.into(), ty.into())
    }
}

impl EventBuilder {
    pub(crate) fn new(id: String, source: String, ty: String) -> Self {
        Self {
            id,
            source,
            ty,
            subject: None,
            time: None,
            datacontenttype: None,
            dataschema: None,
            extensions: Vec::new(),
            data: None,
        }
    }

    /// Sets `subject`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets `time`: RFC 3339.
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.time = Some(time.into());
        self
    }

    /// Sets `datacontenttype`: a media type.
    pub fn datacontenttype(mut self, media_type: impl Into<String>) -> Self {
        self.datacontenttype = Some(media_type.into());
        self
    }

    /// Sets `dataschema`: an absolute URI.
    pub fn dataschema(mut self, uri: impl Into<String>) -> Self {
        self.dataschema = Some(uri.into());
        self
    }

    /// Adds an extension attribute. Its name has 1 to 20 characters of a-z and 0-9; duplicates are
    /// an error.
    pub fn extension(mut self, name: impl Into<String>, value: Value) -> Self {
        self.extensions.push((name.into(), value));
        self
    }

    /// Sets the payload.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// Validates the parts and encodes the event.
    ///
    /// # Errors
    /// The first attribute that breaks a rule or limit.
    pub fn build(&self) -> Result<Event, EventError> {
        let mut parts = Parts { data: self.data.as_deref(), ..Parts::default() };
        parts.set(Core::Id, &self.id);
        parts.set(Core::Source, &self.source);
        parts.set(Core::Type, &self.ty);
        let optional = [
            (Core::Subject, &self.subject),
            (Core::Time, &self.time),
            (Core::DataContentType, &self.datacontenttype),
            (Core::DataSchema, &self.dataschema),
        ];
        for (core, text) in optional {
            if let Some(text) = text {
                parts.set(core, text);
            }
        }
        for (name, value) in &self.extensions {
            parts.extensions.push((name, value.borrow()));
        }
        Event::from_parts(parts, EXTENSION_NAME_MAX_BYTES)
    }
}
