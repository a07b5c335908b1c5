//! Decodes events. The input is untrusted.

use super::{
    CORE_COUNT, Core, DATA_PRESENT, Extent, Layout, VERSION, check_value, too_long, value_length,
};
use crate::limits::{EVENT_MAX_BYTES, EXTENSIONS_MAX, FOREIGN_EXTENSION_NAME_MAX_BYTES};
use crate::value::ValueRef;
use crate::{EventError, rules};

/// Validates encoded bytes and returns their layout.
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

    let mut core_extents = [Extent::default(); CORE_COUNT];
    for (core, extent) in Core::ALL.iter().zip(&mut core_extents) {
        if core.bit().is_none_or(|bit| present & bit != 0) {
            let length = usize::from(reader.u16(core.name())?);
            value_length(core.name(), length)?;
            *extent = reader.extent(length, core.name())?;
            core.check(utf8(core.name(), reader.get(*extent))?)?;
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
    let data = Extent::new(data_start, bytes.len());
    let has_data = present & DATA_PRESENT != 0;
    if !has_data && data_start != bytes.len() {
        return Err(damaged("end"));
    }
    Ok(Layout {
        core: core_extents,
        extensions: Extent::new(extensions_start, data_start),
        data: has_data.then_some(data),
    })
}

/// The extensions in bytes that [`read`] has validated.
pub(crate) fn extensions(bytes: &[u8]) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
    let mut reader = Reader { bytes, at: 0 };
    std::iter::from_fn(
        move || {
            if reader.at == reader.bytes.len() { None } else { reader.extension().ok() }
        },
    )
}

fn damaged(what: &str) -> EventError {
    EventError::malformed(format!("the encoded event is damaged: wrong {what}"))
}

#[inline]
fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, EventError> {
    std::str::from_utf8(bytes)
        .map_err(|e| EventError::rule(name, format!("must be UTF-8, but is not: {e}")))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    fn extent(&mut self, length: usize, what: &str) -> Result<Extent, EventError> {
        let end = self.at + length;
        if end > self.bytes.len() {
            return Err(EventError::malformed(format!("the encoded event ends within its {what}")));
        }
        let extent = Extent::new(self.at, end);
        self.at = end;
        Ok(extent)
    }

    #[inline]
    fn get(&self, extent: Extent) -> &'a [u8] {
        self.bytes.get(extent.range()).unwrap_or_default()
    }

    #[inline]
    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], EventError> {
        let extent = self.extent(length, what)?;
        Ok(self.get(extent))
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
