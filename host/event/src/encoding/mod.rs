//! The compact encoding: the only form of an event in memory and on disk. Integers are
//! little-endian; text is UTF-8; there is no padding.
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
//! An event has exactly one encoding, so equal events have equal bytes. Decoding validates the
//! layout and every CloudEvents rule, so a decoded event is always valid.

mod parts;
mod read;
mod write;

pub(crate) use parts::{CORE_COUNT, Core, Parts};
pub(crate) use read::{extensions, read};
pub(crate) use write::{write, write_part};

use crate::limits::{ATTRIBUTE_MAX_BYTES, EVENT_MAX_BYTES};
use crate::value::ValueRef;
use crate::{EventError, rules};

/// The version this build writes, and the only one it reads.
pub const VERSION: u8 = 1;

const HEADER_BYTES: usize = 8;
const DATA_PRESENT: u8 = 1 << 4;

/// Offsets of an event's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) core: [Extent; CORE_COUNT],
    pub(crate) extensions: Extent,
    pub(crate) data: Option<Extent>,
}

/// A byte range. Absent attributes have an empty one; present attributes are never empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    start: u32,
    end: u32,
}

impl Extent {
    fn new(start: usize, end: usize) -> Self {
        Self { start: narrow_u32(start), end: narrow_u32(end) }
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
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

/// Returns `length` if it is within the limit.
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

// The limits keep all lengths and offsets below these maxima; the fallback is unreachable.
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
