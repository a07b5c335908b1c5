//! The event: immutable bytes in the compact encoding, and the offsets of its parts.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::encoding::{self, Core, Extent, Layout, Parts};
use crate::limits::FOREIGN_EXTENSION_NAME_MAX_BYTES;
use crate::trace_context::{TRACEPARENT, TRACESTATE};
use crate::value::{AttributeRef, ValueRef};
use crate::{EventError, TraceContext, Value};

/// A valid CloudEvent 1.0.2. Cheap to clone: its bytes are shared.
///
/// Equal events have the same attributes with the same values and types, and the same data.
#[derive(Clone)]
pub struct Event {
    bytes: Bytes,
    layout: Layout,
}

impl Event {
    /// Decodes an event and keeps the bytes. See [`encoding`] for the format.
    ///
    /// # Errors
    /// The bytes are malformed or break a CloudEvents rule.
    pub fn from_encoded(bytes: Bytes) -> Result<Self, EventError> {
        let layout = encoding::read(&bytes)?;
        Ok(Self { bytes, layout })
    }

    /// Encodes an event; `name_max_bytes` limits extension names.
    pub(crate) fn from_parts(parts: Parts<'_>, name_max_bytes: usize) -> Result<Self, EventError> {
        let (bytes, layout) = encoding::write(parts, name_max_bytes)?;
        Ok(Self { bytes: bytes.into(), layout })
    }

    /// The event in the compact encoding.
    pub fn encoded(&self) -> &Bytes {
        &self.bytes
    }

    /// CloudEvents `id`.
    pub fn id(&self) -> &str {
        self.core(Core::Id)
    }

    /// CloudEvents `source`.
    pub fn source(&self) -> &str {
        self.core(Core::Source)
    }

    /// CloudEvents `type`.
    pub fn ty(&self) -> &str {
        self.core(Core::Type)
    }

    /// CloudEvents `subject`.
    pub fn subject(&self) -> Option<&str> {
        self.core_text(Core::Subject)
    }

    /// CloudEvents `time`: RFC 3339, as written by the producer.
    pub fn time(&self) -> Option<&str> {
        self.core_text(Core::Time)
    }

    /// CloudEvents `datacontenttype`.
    pub fn datacontenttype(&self) -> Option<&str> {
        self.core_text(Core::DataContentType)
    }

    /// CloudEvents `dataschema`.
    pub fn dataschema(&self) -> Option<&str> {
        self.core_text(Core::DataSchema)
    }

    /// This event as the redrive of `old`: a copy with another `id` and with the extension
    /// `redriveof` set to the old event's id.
    ///
    /// # Errors
    /// The id is too long, or there are too many extensions.
    pub fn in_place_of(&self, old: &Self, id: &str) -> Result<Self, EventError> {
        const REDRIVE_OF: &str = "redriveof";
        let mut parts = self.core_parts();
        parts.set(Core::Id, id);
        let others = self.extension_refs().filter(|(name, _)| *name != REDRIVE_OF);
        parts.extensions.extend(others);
        parts.extensions.push((REDRIVE_OF, ValueRef::String(old.id())));
        Self::from_parts(parts, FOREIGN_EXTENSION_NAME_MAX_BYTES)
    }

    /// A copy of the event with another id and time.
    ///
    /// # Errors
    /// The id or the time breaks a rule, or the event becomes too large.
    pub fn at_time(&self, id: &str, time: &str) -> Result<Self, EventError> {
        let mut parts = self.core_parts();
        parts.set(Core::Id, id);
        parts.set(Core::Time, time);
        parts.extensions.extend(self.extension_refs());
        Self::from_parts(parts, FOREIGN_EXTENSION_NAME_MAX_BYTES)
    }

    /// A copy of the event with a part of its data, or with none of it; none, too, if `part` is larger than
    /// its data and so no part of it.
    #[must_use]
    pub fn with_part_of_data(&self, part: Option<&[u8]>) -> Self {
        let data_bytes = self.data_slice().map_or(0, <[u8]>::len);
        let part = part.filter(|part| self.layout.data.is_some() && part.len() <= data_bytes);
        let (bytes, layout) = encoding::write_part(&self.bytes, self.layout, part);
        Self { bytes: bytes.into(), layout }
    }

    /// The trace context that it carries (CloudEvents' distributed tracing extension).
    pub fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::parse(&self.attribute(TRACEPARENT)?)
    }

    /// A copy with this trace context, as extensions (CloudEvents' distributed tracing extension);
    /// `None` if it has one already, or `traceparent` is none (W3C Trace Context, section 3.2).
    pub fn with_trace(&self, traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        if self.extension_ref(TRACEPARENT).is_some() || TraceContext::parse(traceparent).is_none() {
            return None;
        }
        let with = |tracestate: Option<&str>| {
            let mut parts = self.core_parts();
            let others = self.extension_refs().filter(|(name, _)| *name != TRACESTATE);
            parts.extensions.extend(others);
            parts.extensions.push((TRACEPARENT, ValueRef::String(traceparent)));
            if let Some(tracestate) = tracestate {
                parts.extensions.push((TRACESTATE, ValueRef::String(tracestate)));
            }
            Self::from_parts(parts, FOREIGN_EXTENSION_NAME_MAX_BYTES).ok()
        };
        // What vendors add may be left out (W3C Trace Context, section 3.3.1.3), the trace may not.
        with(tracestate).or_else(|| with(None))
    }

    /// Whether the other event has the same attributes and data. Trace context doesn't count: a
    /// producer that sends an event again does so in another span.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.core_text(Core::Time) == other.core_text(Core::Time) && self.says_the_same_later(other)
    }

    /// The same, but for the time.
    pub fn says_the_same_later(&self, other: &Self) -> bool {
        let is_trace = |name: &str| name == TRACEPARENT || name == TRACESTATE;
        self.data_slice() == other.data_slice()
            && Core::ALL
                .into_iter()
                .filter(|core| *core != Core::Time)
                .all(|core| self.core_text(core) == other.core_text(core))
            && self
                .extension_refs()
                .filter(|(name, _)| !is_trace(name))
                .eq(other.extension_refs().filter(|(name, _)| !is_trace(name)))
    }

    /// The event's parts without extensions.
    fn core_parts(&self) -> Parts<'_> {
        let mut parts = Parts { data: self.data_slice(), ..Parts::default() };
        for core in Core::ALL {
            if let Some(text) = self.core_text(core) {
                parts.set(core, text);
            }
        }
        parts
    }

    /// Extension attributes, ordered by name.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, Value)> {
        self.extension_refs().map(|(name, value)| (name, self.own(value)))
    }

    /// The value of one extension attribute.
    pub fn extension(&self, name: &str) -> Option<Value> {
        self.extension_ref(name).map(|value| self.own(value))
    }

    /// Any attribute in its CloudEvents string form: `specversion`, core attributes and extensions,
    /// but not data.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.core_attribute(name) {
            Some(core) => core.map(Cow::Borrowed),
            None => self.extension_ref(name).map(ValueRef::to_text),
        }
    }

    /// Any attribute, as [`Event::attribute`] has it, but for Booleans and integers.
    pub fn attribute_ref(&self, name: &str) -> Option<AttributeRef<'_>> {
        if let Some(core) = self.core_attribute(name) {
            return core.map(|text| AttributeRef::Text(Cow::Borrowed(text)));
        }
        Some(match self.extension_ref(name)? {
            ValueRef::Boolean(value) => AttributeRef::Boolean(value),
            ValueRef::Integer(value) => AttributeRef::Integer(value),
            other => AttributeRef::Text(other.to_text()),
        })
    }

    /// Names of all attributes that it has.
    pub fn attribute_names(&self) -> impl Iterator<Item = &str> {
        let core = Core::ALL.into_iter().filter(|core| self.core_text(*core).is_some());
        let core = core.map(|core| -> &str { core.name() }).chain(["specversion"]);
        core.chain(self.extension_refs().map(|(name, _)| name))
    }

    /// `None` for an extension.
    fn core_attribute(&self, name: &str) -> Option<Option<&str>> {
        if name == "specversion" {
            return Some(Some("1.0"));
        }
        Core::from_name(name).map(|core| self.core_text(core))
    }

    /// The payload; shares the event's memory.
    pub fn data(&self) -> Option<Bytes> {
        self.layout.data.map(|span| self.bytes.slice(span.range()))
    }

    /// The payload, borrowed.
    pub fn data_slice(&self) -> Option<&[u8]> {
        self.layout.data.map(|span| self.slice(span))
    }

    /// Whether data is JSON: `datacontenttype` says so or is absent.
    pub fn has_json_type(&self) -> bool {
        self.datacontenttype().is_none_or(crate::media::is_json)
    }

    /// The event's identity, for deduplication. Computes a hash: cache the result.
    pub fn identity(&self) -> Identity {
        Identity::of(self.id(), self.source())
    }

    pub(crate) fn extension_refs(&self) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
        encoding::extensions(self.slice(self.layout.extensions))
    }

    fn extension_ref(&self, name: &str) -> Option<ValueRef<'_>> {
        self.extension_refs()
            .take_while(|(here, _)| *here <= name)
            .find_map(|(here, value)| (here == name).then_some(value))
    }

    fn core(&self, core: Core) -> &str {
        let span = self.layout.core.get(core as usize).copied().unwrap_or_default();
        // Validated when the event was made.
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }

    pub(crate) fn core_text(&self, core: Core) -> Option<&str> {
        Some(self.core(core)).filter(|text| !text.is_empty())
    }

    fn slice(&self, extent: Extent) -> &[u8] {
        self.bytes.get(extent.range()).unwrap_or_default()
    }

    fn own(&self, value: ValueRef<'_>) -> Value {
        match value {
            ValueRef::Boolean(value) => Value::Boolean(value),
            ValueRef::Integer(value) => Value::Integer(value),
            ValueRef::String(text) => Value::String(text.to_owned()),
            ValueRef::Binary(bytes) => Value::Binary(self.bytes.slice_ref(bytes)),
            ValueRef::Uri(text) => Value::Uri(text.to_owned()),
            ValueRef::UriReference(text) => Value::UriReference(text.to_owned()),
            ValueRef::Timestamp(text) => Value::Timestamp(text.to_owned()),
        }
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Event {}

/// Shows all attributes but only the length of data: payloads may be private.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Event");
        for core in Core::ALL {
            if let Some(text) = self.core_text(core) {
                fields.field(core.name(), &text);
            }
        }
        for (name, value) in self.extension_refs() {
            fields.field(name, &value.to_text());
        }
        fields.field("data_bytes", &self.data_slice().map(<[u8]>::len)).finish()
    }
}

/// Identifies an event: the first 16 bytes of a SHA-256 over the length of `source`, `source` and
/// `id`. All bytes depend on both, so finding two ids of one source that collide, to pass one event
/// off as a duplicate of another, takes about 2^64 attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity([u8; 16]);

impl Identity {
    /// The identity of the event with this id and source.
    pub fn of(id: &str, source: &str) -> Self {
        let hash = Sha256::new()
            .chain_update((source.len() as u64).to_le_bytes())
            .chain_update(source)
            .chain_update(id)
            .finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(bytes)
    }

    /// An identity from its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_finds_everything_where_writing_put_it() {
        let minimal = || Event::builder("1", "/s", "t");
        let events = [
            minimal(),
            minimal().data(""),
            minimal().subject("u").data("x"),
            minimal().dataschema("urn:a").extension("b", Value::Integer(1)),
            minimal()
                .time("2018-04-05T17:31:00Z")
                .datacontenttype("a/b")
                .extension("b", Value::Integer(1))
                .extension("a", Value::String(String::new()))
                .data("xyz"),
        ];
        for builder in events {
            let written = builder.build().unwrap();
            let read = Event::from_encoded(written.bytes.clone()).unwrap();
            assert_eq!(read.layout, written.layout, "{written:?}");
        }
    }

    #[test]
    fn an_event_in_anothers_place_names_it() {
        let old = Event::builder("1", "/s", "t").extension("b", Value::Integer(1)).data("old");
        let old = old.build().unwrap();
        let edited = Event::builder("1", "/s", "u").extension("b", Value::Integer(2)).data("new");
        let new = edited.build().unwrap().in_place_of(&old, "1/redrive/4").unwrap();
        assert_eq!((new.id(), new.source(), new.ty()), ("1/redrive/4", "/s", "u"));
        assert_eq!(new.attribute("redriveof").as_deref(), Some("1"));
        assert_eq!(new.extension("b"), Some(Value::Integer(2)));
        assert_eq!(new.data().unwrap(), "new");
        // A second redrive names its predecessor, not the original.
        let again = new.in_place_of(&new, "1/redrive/4/redrive/5").unwrap();
        assert_eq!(again.attribute("redriveof").as_deref(), Some("1/redrive/4"));
        assert_eq!(again.extensions().count(), 2);
    }

    #[test]
    fn at_another_time_all_else_is_the_same() {
        let event = Event::builder("1", "/s", "t").extension("b", Value::Integer(1)).data("x");
        let event = event.build().unwrap();
        let later = event.at_time("2", "2026-01-31T12:00:00Z").unwrap();
        assert_eq!((later.id(), later.time()), ("2", Some("2026-01-31T12:00:00Z")));
        let expected = Event::builder("2", "/s", "t").time("2026-01-31T12:00:00Z");
        assert_eq!(later, expected.extension("b", Value::Integer(1)).data("x").build().unwrap());
        assert!(event.at_time("3", "noon").is_err());
    }

    #[test]
    fn identity_is_the_head_of_one_hash_over_both() {
        // python3 -c 'import hashlib; print(hashlib.sha256(
        //     (5).to_bytes(8, "little") + b"/shop" + b"o-1").hexdigest()[:32])'
        let bytes = [
            0xfd, 0x4a, 0x80, 0x1b, 0x73, 0xbc, 0x18, 0x59, 0x1f, 0x9e, 0x9e, 0x8d, 0xad, 0x60,
            0xdd, 0x23,
        ];
        assert_eq!(Identity::of("o-1", "/shop"), Identity::from_bytes(bytes));
        assert_ne!(Identity::of("a", "b"), Identity::of("b", "a"));
        assert_ne!(Identity::of("bc", "a"), Identity::of("c", "ab"), "the border counts");

        // Every part of the hash depends on both id and source.
        let halves = |id, source| Identity::of(id, source).as_bytes().as_chunks::<8>().0.to_vec();
        let base = halves("o-1", "/shop");
        for other in [halves("o-1", "/till"), halves("o-2", "/shop")] {
            assert!(base[0] != other[0] && base[1] != other[1]);
        }
    }
}
