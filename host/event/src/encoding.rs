//! The compact encoding: the one form an event has in memory and on disk. All integers are little
//! endian; text is UTF-8; there is no padding.
//!
//! ```text
//! offset  bytes
//! 0       1      version: 1
//! 1       1      what is present: bit 0 subject, 1 time, 2 datacontenttype, 3 dataschema, 4 data;
//!                the other bits are 0
//! 2       1      number of extensions, at most 64
//! 3       1      0
//! 4       4      where data starts, which is where the attributes end
//! 8              id, source, type, then those of subject, time, datacontenttype and dataschema
//!                that are present, in this order; each: length (2), text
//!                extensions, by name in byte order, no name twice; each:
//!                name length (1), name, kind (1), value length (2), value
//!                data, to the end; nothing where bit 4 is 0
//! ```
//!
//! Kinds and values of extensions: 0 boolean (one byte, 0 or 1), 1 integer (four bytes, two's
//! complement), 2 string, 3 binary, 4 URI, 5 URI reference, 6 timestamp (text as written).
//!
//! An event has exactly one encoding, so equal events have equal bytes. Reading checks the layout
//! and every CloudEvents rule, whoever wrote the bytes: what was read is a valid event.

use crate::limits::{
    ATTRIBUTE_MAX_BYTES, EVENT_MAX_BYTES, EXTENSIONS_MAX, FOREIGN_EXTENSION_NAME_MAX_BYTES,
};
use crate::value::ValueRef;
use crate::{EventError, rules};

/// The version this build writes, and the only one it reads.
pub const VERSION: u8 = 1;

const HEADER_BYTES: usize = 8;
const DATA_PRESENT: u8 = 1 << 4;

/// The attributes that CloudEvents defines, in the order of the encoding; the discriminant is
/// the place in [`Parts::core`] and [`Layout::core`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    Id,
    Source,
    Type,
    Subject,
    Time,
    DataContentType,
    DataSchema,
}

pub(crate) const CORE_COUNT: usize = 7;

impl Core {
    pub(crate) const ALL: [Self; CORE_COUNT] = [
        Self::Id,
        Self::Source,
        Self::Type,
        Self::Subject,
        Self::Time,
        Self::DataContentType,
        Self::DataSchema,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Source => "source",
            Self::Type => "type",
            Self::Subject => "subject",
            Self::Time => "time",
            Self::DataContentType => "datacontenttype",
            Self::DataSchema => "dataschema",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "source" => Self::Source,
            "type" => Self::Type,
            "subject" => Self::Subject,
            "time" => Self::Time,
            "datacontenttype" => Self::DataContentType,
            "dataschema" => Self::DataSchema,
            _ => return None,
        })
    }

    /// Its bit among what is present; `None` for those that always are.
    fn bit(self) -> Option<u8> {
        match self {
            Self::Id | Self::Source | Self::Type => None,
            Self::Subject => Some(1),
            Self::Time => Some(1 << 1),
            Self::DataContentType => Some(1 << 2),
            Self::DataSchema => Some(1 << 3),
        }
    }

    fn check(self, text: &str) -> Result<(), EventError> {
        let name = self.name();
        rules::check_not_empty(name, text)?;
        rules::check_string(name, text)?;
        match self {
            Self::Id | Self::Type | Self::Subject => Ok(()),
            Self::Source => rules::check_uri_reference(name, text),
            Self::Time => rules::check_timestamp(name, text),
            Self::DataContentType => rules::check_media_type(name, text),
            Self::DataSchema => rules::check_uri(name, text),
        }
    }
}

/// What an event is made of, borrowed from wherever it came from; not checked yet.
#[derive(Default)]
pub(crate) struct Parts<'a> {
    pub(crate) core: [Option<&'a str>; CORE_COUNT],
    pub(crate) extensions: Vec<(&'a str, ValueRef<'a>)>,
    pub(crate) data: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    pub(crate) fn set(&mut self, core: Core, text: &'a str) {
        if let Some(place) = self.core.get_mut(core as usize) {
            *place = Some(text);
        }
    }

    pub(crate) fn get(&self, core: Core) -> Option<&'a str> {
        self.core.get(core as usize).copied().flatten()
    }
}

/// Where everything lies in an event's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) core: [Span; CORE_COUNT],
    pub(crate) extensions: Span,
    pub(crate) data: Option<Span>,
}

/// A run of bytes. An absent attribute has an empty one, which no present attribute has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        Self { start: narrow_u32(start), end: narrow_u32(end) }
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Checks parts and writes them in one allocation; answers where everything lies, too, so that
/// nobody has to read what was just written. Extension names have at most `name_max_bytes`.
pub(crate) fn write(
    mut parts: Parts<'_>,
    name_max_bytes: usize,
) -> Result<(Vec<u8>, Layout), EventError> {
    if parts.extensions.len() > EXTENSIONS_MAX {
        return Err(EventError::too_large(
            None,
            format!("the event must have at most {EXTENSIONS_MAX} extensions"),
        )
        .found_a(parts.extensions.len().to_string()));
    }
    parts.extensions.sort_unstable_by_key(|(name, _)| *name);
    let (attributes_end, present) = check(&parts, name_max_bytes)?;
    let total = attributes_end + parts.data.map_or(0, <[u8]>::len);
    if total > EVENT_MAX_BYTES {
        return Err(too_long(total));
    }

    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&[VERSION, present, narrow_u8(parts.extensions.len()), 0]);
    out.extend_from_slice(&narrow_u32(attributes_end).to_le_bytes());
    let mut core = [Span::default(); CORE_COUNT];
    for (text, span) in parts.core.iter().zip(&mut core) {
        if let Some(text) = text {
            out.extend_from_slice(&narrow_u16(text.len()).to_le_bytes());
            *span = Span::new(out.len(), out.len() + text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    let extensions = Span::new(out.len(), attributes_end);
    for (name, value) in &parts.extensions {
        write_extension(&mut out, name, *value);
    }
    out.extend_from_slice(parts.data.unwrap_or_default());
    debug_assert_eq!(out.len(), total, "the length was computed wrong");
    let data = parts.data.map(|_| Span::new(attributes_end, total));
    Ok((out, Layout { core, extensions, data }))
}

/// Checks all parts; answers where the attributes will end, and what is present.
fn check(parts: &Parts<'_>, name_max_bytes: usize) -> Result<(usize, u8), EventError> {
    let mut present = if parts.data.is_some() { DATA_PRESENT } else { 0 };
    let mut end = HEADER_BYTES;
    for (core, text) in Core::ALL.iter().zip(&parts.core) {
        match (text, core.bit()) {
            (Some(text), bit) => {
                present |= bit.unwrap_or(0);
                end += 2 + value_length(core.name(), text.len())?;
                core.check(text)?;
            }
            (None, None) => return Err(EventError::rule(core.name(), "is required")),
            (None, Some(_)) => {}
        }
    }
    let mut previous = None;
    for (name, value) in &parts.extensions {
        if previous == Some(name) {
            return Err(EventError::rule(name, "is there twice"));
        }
        previous = Some(name);
        rules::check_name(name, name_max_bytes)?;
        end += 1 + name.len() + 1 + 2 + value_length(name, encoded_length(*value))?;
        check_value(name, *value)?;
    }
    Ok((end, present))
}

fn write_extension(out: &mut Vec<u8>, name: &str, value: ValueRef<'_>) {
    out.push(narrow_u8(name.len()));
    out.extend_from_slice(name.as_bytes());
    out.push(kind(value));
    out.extend_from_slice(&narrow_u16(encoded_length(value)).to_le_bytes());
    match value {
        ValueRef::Boolean(value) => out.push(value.into()),
        ValueRef::Integer(value) => out.extend_from_slice(&value.to_le_bytes()),
        ValueRef::Binary(bytes) => out.extend_from_slice(bytes),
        ValueRef::String(text)
        | ValueRef::Uri(text)
        | ValueRef::UriReference(text)
        | ValueRef::Timestamp(text) => out.extend_from_slice(text.as_bytes()),
    }
}

/// Checks layout and rules of encoded bytes and answers where everything lies.
pub(crate) fn read(bytes: &[u8]) -> Result<Layout, EventError> {
    if bytes.len() > EVENT_MAX_BYTES {
        return Err(too_long(bytes.len()));
    }
    let mut reader = Reader { bytes, at: 0 };
    let version = reader.byte("version")?;
    if version != VERSION {
        return Err(EventError::malformed(format!("not an event of encoding version {VERSION}"))
            .found_a(format!("version {version}")));
    }
    let present = reader.byte("presence bits")?;
    let extension_count = reader.byte("number of extensions")?;
    if present >= DATA_PRESENT << 1
        || usize::from(extension_count) > EXTENSIONS_MAX
        || reader.byte("header")? != 0
    {
        return Err(damaged("header"));
    }
    let data_start = reader.u32("start of data")? as usize;

    let mut core_spans = [Span::default(); CORE_COUNT];
    for (core, span) in Core::ALL.iter().zip(&mut core_spans) {
        if core.bit().is_none_or(|bit| present & bit != 0) {
            let length = usize::from(reader.u16(core.name())?);
            value_length(core.name(), length)?;
            *span = reader.span(length, core.name())?;
            core.check(utf8(core.name(), reader.get(*span))?)?;
        }
    }
    let extensions_start = reader.at;
    let mut previous = "";
    for _ in 0..extension_count {
        let (name, value) = reader.extension()?;
        rules::check_name(name, FOREIGN_EXTENSION_NAME_MAX_BYTES)?;
        if name <= previous {
            return Err(damaged("order of extensions"));
        }
        previous = name;
        check_value(name, value)?;
    }
    if reader.at != data_start {
        return Err(damaged("start of data"));
    }
    let data = Span::new(data_start, bytes.len());
    let has_data = present & DATA_PRESENT != 0;
    if !has_data && data_start != bytes.len() {
        return Err(damaged("end"));
    }
    Ok(Layout {
        core: core_spans,
        extensions: Span::new(extensions_start, data_start),
        data: has_data.then_some(data),
    })
}

/// The extensions in a run of bytes that [`read`] has checked.
pub(crate) fn extensions(bytes: &[u8]) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
    let mut reader = Reader { bytes, at: 0 };
    std::iter::from_fn(
        move || {
            if reader.at == reader.bytes.len() { None } else { reader.extension().ok() }
        },
    )
}

fn check_value(name: &str, value: ValueRef<'_>) -> Result<(), EventError> {
    match value {
        ValueRef::Boolean(_) | ValueRef::Integer(_) | ValueRef::Binary(_) => Ok(()),
        ValueRef::String(text) => rules::check_string(name, text),
        ValueRef::Uri(text) => rules::check_uri(name, text),
        ValueRef::UriReference(text) => rules::check_uri_reference(name, text),
        ValueRef::Timestamp(text) => rules::check_timestamp(name, text),
    }
}

fn kind(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Boolean(_) => 0,
        ValueRef::Integer(_) => 1,
        ValueRef::String(_) => 2,
        ValueRef::Binary(_) => 3,
        ValueRef::Uri(_) => 4,
        ValueRef::UriReference(_) => 5,
        ValueRef::Timestamp(_) => 6,
    }
}

fn encoded_length(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Boolean(_) => 1,
        ValueRef::Integer(_) => 4,
        ValueRef::Binary(bytes) => bytes.len(),
        ValueRef::String(text)
        | ValueRef::Uri(text)
        | ValueRef::UriReference(text)
        | ValueRef::Timestamp(text) => text.len(),
    }
}

/// The length again, if it is within the limit.
#[inline]
fn value_length(name: &str, length: usize) -> Result<usize, EventError> {
    if length > ATTRIBUTE_MAX_BYTES {
        return Err(EventError::too_large(
            Some(name),
            format!("must have at most {ATTRIBUTE_MAX_BYTES} bytes"),
        )
        .found_a(length.to_string()));
    }
    Ok(length)
}

fn too_long(length: usize) -> EventError {
    EventError::too_large(None, format!("the event must have at most {EVENT_MAX_BYTES} bytes"))
        .found_a(length.to_string())
}

fn damaged(what: &str) -> EventError {
    EventError::malformed(format!("the encoded event is damaged: wrong {what}"))
}

#[inline]
fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, EventError> {
    std::str::from_utf8(bytes)
        .map_err(|e| EventError::rule(name, format!("must be UTF-8, but is not: {e}")))
}

// The limits keep every length and offset far below these maxima.
#[inline]
fn narrow_u8(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

#[inline]
fn narrow_u16(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[inline]
fn narrow_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    fn span(&mut self, length: usize, what: &str) -> Result<Span, EventError> {
        let end = self.at + length;
        if end > self.bytes.len() {
            return Err(EventError::malformed(format!("the encoded event ends within its {what}")));
        }
        let span = Span::new(self.at, end);
        self.at = end;
        Ok(span)
    }

    #[inline]
    fn get(&self, span: Span) -> &'a [u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }

    #[inline]
    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], EventError> {
        let span = self.span(length, what)?;
        Ok(self.get(span))
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], EventError> {
        self.take(N, what)?.try_into().map_err(|_| damaged(what))
    }

    #[inline]
    fn byte(&mut self, what: &str) -> Result<u8, EventError> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    #[inline]
    fn u16(&mut self, what: &str) -> Result<u16, EventError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    #[inline]
    fn u32(&mut self, what: &str) -> Result<u32, EventError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn extension(&mut self) -> Result<(&'a str, ValueRef<'a>), EventError> {
        let name_length = usize::from(self.byte("extensions")?);
        let name = self.take(name_length, "extensions")?;
        let name = std::str::from_utf8(name).map_err(|_| damaged("extension name"))?;
        let kind = self.byte("extensions")?;
        let length = usize::from(self.u16("extensions")?);
        value_length(name, length)?;
        let value = self.take(length, "extensions")?;
        let value = match (kind, value) {
            (0, [0]) => ValueRef::Boolean(false),
            (0, [1]) => ValueRef::Boolean(true),
            (1, &[a, b, c, d]) => ValueRef::Integer(i32::from_le_bytes([a, b, c, d])),
            (2, text) => ValueRef::String(utf8(name, text)?),
            (3, bytes) => ValueRef::Binary(bytes),
            (4, text) => ValueRef::Uri(utf8(name, text)?),
            (5, text) => ValueRef::UriReference(utf8(name, text)?),
            (6, text) => ValueRef::Timestamp(utf8(name, text)?),
            _ => return Err(damaged("extension value")),
        };
        Ok((name, value))
    }
}
